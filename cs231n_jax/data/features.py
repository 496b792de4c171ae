"""Features of pictures in the place of the pictures: what a frozen network makes of them, computed elsewhere."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import numpy as np

from cs231n_jax.data.base import ArraySource, First, Info, Source, fingerprint
from cs231n_jax.data.pictured import Pictured

BLOCK = 64  # pictures that are read at once


def images(source: Source) -> np.ndarray:
    """The pictures of a source, each once: uint8 [I, H, W, C]; of the first examples of a source those of all.

    Raises:
        ValueError: the source has none.
    """
    whole = source.whole if isinstance(source, First) else source
    if isinstance(whole, Pictured):
        return whole.images
    found = whole.arrays.get("image") if isinstance(whole, ArraySource) else None
    if found is None or found.dtype != np.uint8:
        raise ValueError(
            f"{source.info.name} has {', '.join(source.info.shapes)} and no pictures for a network to look at: set "
            "encoder.model to '' for it"
        )
    return found


def pictures(source: Source) -> tuple[np.ndarray, str]:
    """`images`, and the SHA-256 of what they are."""
    found, whole = images(source), source.whole if isinstance(source, First) else source
    return found, fingerprint({"image": found}, ()) if isinstance(whole, Pictured) else whole.info.fingerprint


class Kept:
    """Features on the disk as numbers to compute with: what is taken of them is float32, multiplied by `scale`.

    Args:
        array: float16 or float32 [I, …, D], mapped into memory.
        scale: a factor for all.
        mean: what is taken from each first, float32 [D].
    """

    def __init__(self, array: np.ndarray, scale: float, mean: np.ndarray | None = None):
        self.array, self.scale, self.mean = array, np.float32(scale), mean
        self.shape, self.dtype = array.shape, np.dtype(np.float32)

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, which: Any) -> np.ndarray:
        taken = self.array[which].astype(np.float32)
        return (taken if self.mean is None else taken - self.mean) * self.scale


def mean(array: np.ndarray) -> np.ndarray:
    """The mean over pictures and places of features [I, …, D]: float32 [D], summed in float64."""
    others = tuple(range(array.ndim - 1))
    sums = (array[i : i + BLOCK].sum(others, dtype=np.float64) for i in range(0, len(array), BLOCK))
    return (sum(sums, np.zeros(array.shape[-1])) / (array.size // array.shape[-1])).astype(np.float32)


def put(source: Source, features: Kept, mark: str) -> Source:
    """The same source with features for pictures: batches have them as float32 in "image".

    Args:
        source: with I pictures.
        features: [I, …], in the order of `pictures`.
        mark: what stands for the way they were computed; a part of the new fingerprint.
    """
    if isinstance(source, First):
        return First(put(source.whole, features, mark), len(source))
    whole: Any = source
    info = _info(source.info, features, mark)
    if isinstance(whole, Pictured):
        kept = whole.owner, whole.types, whole.noticed, whole.people
        return Pictured(whole.arrays, info, whole.texts, features, *kept)
    arrays: Any = {**whole.arrays, "image": features}
    return ArraySource(arrays, info, whole.noticed)


def _info(info: Info, features: Kept, mark: str) -> Info:
    return dataclasses.replace(
        info,
        shapes={**info.shapes, "image": features.shape[1:]},
        fingerprint=hashlib.sha256(f"{info.fingerprint} {mark}".encode()).hexdigest(),
        mean=(),
        std=(),
    )
