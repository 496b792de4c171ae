"""Whether attention looks at the thing that is spoken of, where the places of things are known."""

from typing import NamedTuple

import numpy as np


class Pointing(NamedTuple):
    """Shares in 0 … 1 over words."""

    score: float  # of words whose attention is largest in a cell of the box
    chance: float  # mean share of the grid that those cells are
    words: int

    def __float__(self) -> float:
        return self.score


def pointing(weights: np.ndarray, boxes: np.ndarray, grid: tuple[int, int], image: tuple[int, int]) -> Pointing:
    """Pointing accuracy: share of words whose largest weight lies in a cell that the box of the thing overlaps.

    Args:
        weights: where each word looked, float [M, L], the L cells row by row.
        boxes: of the thing that each word names, in pixels [M, 4]: first row and column, and those after the last.
        grid: rows and columns of cells, h·w = L.
        image: height and width in pixels; each cell is a grid's share of them.

    Raises:
        ValueError: the arrays are not of these shapes, or there is no word.

    Reference: Zhang et al. 2016, "Top-down Neural Attention by Excitation Backprop", section 4.1 (the pointing game:
    hits / (hits + misses) of maxima). *Deviation*: on cells, where they have pixels and a tolerance of 15.
    """
    if not len(weights) or weights.shape != (len(boxes), grid[0] * grid[1]) or boxes.shape[1:] != (4,):
        raise ValueError(
            f"weights {list(weights.shape)} and boxes {list(boxes.shape)} do not belong to words over {grid[0]}×"
            f"{grid[1]} cells: give [M, {grid[0] * grid[1]}] and [M, 4] with M ≥ 1"
        )
    inside = covered(boxes, grid, image)
    hits = inside[np.arange(len(weights)), weights.argmax(-1)]
    return Pointing(float(hits.mean()), float(inside.mean()), len(weights))


def covered(boxes: np.ndarray, grid: tuple[int, int], image: tuple[int, int]) -> np.ndarray:
    """Which cells of a grid boxes overlap: bool [M, h·w].

    Args:
        boxes: [M, 4] in pixels.
        grid: rows and columns.
        image: height and width in pixels.
    """
    each = []
    for axis in (0, 1):
        edges = np.arange(grid[axis] + 1) * image[axis] / grid[axis]
        each.append((edges[:-1] < boxes[:, axis + 2, None]) & (edges[1:] > boxes[:, axis, None]))
    rows, columns = each
    return (rows[:, :, None] & columns[:, None, :]).reshape(len(boxes), -1)
