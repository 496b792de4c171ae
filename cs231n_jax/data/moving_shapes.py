"""Made-up clips of one shape that moves; which way and how fast, no single frame can tell.

The picture's edges are joined (what leaves on the right comes back on the left) and a clip begins at a place that is
drawn without regard to the motion, so in every frame all places are as likely whatever the motion is. In half of the
clips the shape turns to another motion; the label of a clip is the motion that it begins with, that of a frame the
motion that led to it (of the first: that which follows).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cs231n_jax.data.made_up import Chance, draw

EXAMPLES = 2000
FRAMES, SIDE = 10, 32
SPEEDS = (1, 3)  # pixels a frame
DIRECTIONS = {"right": (0, 1), "left": (0, -1), "down": (1, 0), "up": (-1, 0)}
CLASSES = tuple(f"{direction} {speed}" for direction in DIRECTIONS for speed in SPEEDS)
VELOCITIES = np.array([np.multiply(step, speed) for step in DIRECTIONS.values() for speed in SPEEDS])  # [8, 2]
SHAPES = ("square", "disk", "diamond", "cross")
NOISE = 64  # brightness of the background: 0 … 63, standing still


class Script(NamedTuple):
    """All that a clip is made from."""

    shape: str
    radius: int  # pixels
    brightness: int
    row: int  # where the centre begins
    column: int
    noise: int  # names the background
    motions: tuple[int, ...]  # by frame, the class of the motion that led to it


class Clip(NamedTuple):
    """video: uint8 [T, H, W, 1]; label: that of the clip; frame_label: int32 [T]."""

    video: np.ndarray
    label: int
    frame_label: np.ndarray


def clip(seed: int, split: str, index: int) -> Clip:
    """Example `index` of a split, a function of the arguments alone; no clip begins with a frame of another split's."""
    return render(draw(_script, lambda script: repr(script[:-1]), seed, split, index))


def _script(chance: Chance) -> Script:
    first, other = chance.below(8), chance.below(7)
    turn = FRAMES // 2 + chance.below(3) if chance.percent(50) else FRAMES
    motions = (first,) * turn + ((other + (other >= first)),) * (FRAMES - turn)
    return Script(
        shape=chance.one(SHAPES),
        radius=3 + chance.below(4),
        brightness=128 + chance.below(128),
        row=chance.below(SIDE),
        column=chance.below(SIDE),
        noise=chance.below(2**31),
        motions=motions,
    )


def render(script: Script) -> Clip:
    """The clip that a script describes."""
    motions = np.array(script.motions, np.int32)
    places = np.cumsum(np.concatenate([[(script.row, script.column)], VELOCITIES[motions[1:]]]), axis=0)
    axis = np.arange(SIDE)
    down = (axis - places[:, :1] + SIDE // 2) % SIDE - SIDE // 2  # [T, H]: rows from the centre, the short way round
    right = (axis - places[:, 1:] + SIDE // 2) % SIDE - SIDE // 2
    inside = _inside(script.shape, np.abs(down)[:, :, None], np.abs(right)[:, None, :], script.radius)
    words = np.random.Philox(key=script.noise).random_raw(SIDE * SIDE // 8)
    background = (words.astype("<u8").view(np.uint8) % NOISE).reshape(SIDE, SIDE)
    video = np.where(inside, np.uint8(script.brightness), background)
    return Clip(video[..., None], int(motions[0]), motions)


def _inside(shape: str, down: np.ndarray, right: np.ndarray, radius: int) -> np.ndarray:
    """Which pixels [T, H, W] belong to the shape, from their distances to its centre."""
    match shape:
        case "square":
            return np.maximum(down, right) <= radius
        case "disk":
            return down**2 + right**2 <= radius**2 + 1
        case "diamond":
            return down + right <= radius + 1
        case _:
            return (np.minimum(down, right) <= 1) & (np.maximum(down, right) <= radius + 1)
