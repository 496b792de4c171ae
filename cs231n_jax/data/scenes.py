"""Made-up pictures of coloured shapes, whose places are known: for captions, questions, and what a network attends to.

A scene has three to six objects, no two of one colour and shape, on a noisy grey ground; none covers another.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cs231n_jax.data.made_up import Chance, draw

SIDE = 64  # pixels
CELLS = 4  # an object keeps to its own cell of a grid of 4×4
CELL = SIDE // CELLS
COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 180, 60),
    "blue": (50, 80, 230),
    "yellow": (235, 215, 50),
    "purple": (160, 60, 190),
    "white": (245, 245, 245),
}
SHAPES = ("square", "disk", "triangle", "cross")
SIZES = {"small": 4, "large": 7}  # pixels from the centre to the edge
NOISE = 48  # brightness of the ground: 64 … 111
APART = 12  # pixels between centres that make "left of" and the like plain
RELATIONS = {"left of": (0, -1), "right of": (0, 1), "above": (-1, 0), "below": (1, 0)}


class Thing(NamedTuple):
    """One object: what it is, and the pixel of its centre."""

    size: str
    colour: str
    shape: str
    row: int
    column: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """First row and column, and those after the last."""
        radius = SIZES[self.size]
        return self.row - radius, self.column - radius, self.row + radius + 1, self.column + radius + 1


class Scene(NamedTuple):
    """All that a picture is made from."""

    things: tuple[Thing, ...]
    noise: int  # names the ground


def scene(seed: int, split: str, index: int) -> Scene:
    """Example `index` of a split, a function of the arguments alone; no arrangement of objects is in two splits."""
    return draw(_scene, lambda made: repr(made.things), seed, split, index)


def _scene(chance: Chance) -> Scene:
    kinds: set[tuple[str, str]] = set()
    cells: set[int] = set()
    things = []
    for _ in range(3 + chance.below(4)):
        colour, shape = chance.one(tuple(COLOURS)), chance.one(SHAPES)
        cell = chance.below(CELLS**2)
        if (colour, shape) in kinds or cell in cells:
            continue  # fewer objects, at least one: never two alike and never one over another
        kinds.add((colour, shape))
        cells.add(cell)
        size = chance.one(tuple(SIZES))
        room = CELL - 2 * SIZES[size]
        row, column = ((place * CELL + SIZES[size] + chance.below(room)) for place in divmod(cell, CELLS))
        things.append(Thing(size, colour, shape, row, column))
    return Scene(tuple(things), chance.below(2**31)) if len(things) >= 3 else _scene(chance)


def related(a: Thing, b: Thing, relation: str) -> bool:
    """Whether a is left of b (right of, above, below): by 12 pixels at least, and more than it is off the other way."""
    down, right = RELATIONS[relation]
    along = (a.row - b.row) * down + (a.column - b.column) * right
    across = (a.row - b.row) * right + (a.column - b.column) * down
    return along >= APART and along > abs(across)


def render(made: Scene) -> np.ndarray:
    """The picture of a scene, uint8 [64, 64, 3]."""
    words = np.random.Philox(key=made.noise).random_raw(SIDE * SIDE // 8)
    ground = 64 + (words.astype("<u8").view(np.uint8) % NOISE).reshape(SIDE, SIDE, 1)
    picture = np.repeat(ground, 3, axis=-1).astype(np.uint8)
    axis = np.arange(SIDE)
    for thing in made.things:
        down, right = axis[:, None] - thing.row, axis[None, :] - thing.column
        picture[_inside(thing.shape, down, right, SIZES[thing.size])] = COLOURS[thing.colour]
    return picture


def _inside(shape: str, down: np.ndarray, right: np.ndarray, radius: int) -> np.ndarray:
    """Which pixels belong to a shape, from their distances to its centre."""
    box = np.maximum(abs(down), abs(right)) <= radius
    match shape:
        case "square":
            return box
        case "disk":
            return down**2 + right**2 <= radius**2 + 1
        case "triangle":  # its top in the middle
            return box & (2 * abs(right) <= down + radius)
        case _:
            return box & (np.minimum(abs(down), abs(right)) <= radius // 3)
