"""Images in as many channels as a network knows: grey ones in three, coloured ones in grey."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np

from cs231n_jax.data.base import ArraySource, PixelStatistics, Source

LUMA = (19595, 38470, 7471)  # of red, green and blue in grey, of 2¹⁶: ITU-R BT.601, as Pillow has it
AT_ONCE = 1000  # images whose grey is computed in wide numbers


def seen_in(source: Source, channels: int) -> Source:
    """Images in 3 channels or in 1; those that have so many are left as they are.

    Grey ones come in three equal channels, without a copy of them. Of coloured ones the grey, as Pillow's "L" makes
    it, is kept in memory beside them.

    Args:
        source: of labelled images in memory or mapped into it, grey or coloured.
        channels: 1 or 3.

    Raises:
        ValueError: the source has no such images.
    """
    if source.info.shapes.get("image", ())[2:] == (channels,):
        return source
    images = source.arrays.get("image") if isinstance(source, ArraySource) else None
    if not isinstance(source, ArraySource) or images is None or images.shape[3:] not in ((1,), (3,)):
        raise ValueError(
            f"data.channels is for labelled images in grey or in colour; set it to 0 for {source.info.name}"
        )
    info = source.info
    if channels == 3:
        seen, mean, std = np.broadcast_to(images, (*images.shape[:-1], 3)), 3 * info.mean, 3 * info.std
    else:
        seen = grey(images)
        (statistics := PixelStatistics()).add(seen)
        mean, std = statistics.result()
    mark = hashlib.sha256(f"{info.fingerprint}×{channels}".encode()).hexdigest()
    shapes = {**info.shapes, "image": seen.shape[1:]}
    info = dataclasses.replace(info, shapes=shapes, fingerprint=mark, mean=mean, std=std)
    return ArraySource({**source.arrays, "image": seen}, info, source.noticed)


def grey(images: np.ndarray) -> np.ndarray:
    """(19595·red + 38470·green + 7471·blue + 2¹⁵) / 2¹⁶, rounded down: uint8 [N, H, W, 3] -> uint8 [N, H, W, 1]."""
    made = np.empty((*images.shape[:-1], 1), np.uint8)
    for start in range(0, len(images), AT_ONCE):
        wide = images[start : start + AT_ONCE] @ np.array(LUMA, np.uint32)
        made[start : start + AT_ONCE, ..., 0] = (wide + 2**15) >> 16
    return made
