"""Random squares of a whole batch painted over on the device."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, Num


def cutout(
    key: Key[Array, ""], images: Num[Array, "n h w c"], *, size: int, fill: Sequence[float] | np.ndarray = ()
) -> Num[Array, "n h w c"]:
    """Paint a square of each image over; part of it may lie outside the image.

    The centre is uniform over the h·w pixels; the square covers rows centre − size // 2 … centre − size // 2 + size − 1
    and columns alike, as far as they exist.

    Args:
        key: decides the centres, for each image on its own.
        images: [n, h, w, c]; uint8, or any floats.
        size: side of the square in pixels, ≥ 0; 0 returns the images.
        fill: one number a channel, in [0, 1] for uint8 (times 255, rounded) and as it is for floats; default black.

    Returns:
        [n, h, w, c] in the dtype of images.

    Raises:
        ValueError: if size is negative, or fill does not hold one number a channel, for uint8 in [0, 1].

    Reference: DeVries, Taylor 2017, section 3 (16 for CIFAR-10, 8 for CIFAR-100).
    *Deviation* from the authors' code: an odd size is kept, where they take the even number below. They paint zeros
    after normalisation: give the data's mean as `fill` for the same before it.
    """
    n, height, width, channels = images.shape
    paint = np.asarray(fill if len(fill) else np.zeros(channels), np.float64)
    if size < 0 or paint.shape != (channels,):
        raise ValueError(
            f"size is {size} and fill has shape {paint.shape}; size must be at least 0, and fill hold {channels} "
            "numbers, one a channel."
        )
    if size == 0:
        return images
    if images.dtype == jnp.uint8:
        if not ((paint >= 0) & (paint <= 1)).all():
            raise ValueError(
                f"fill is {paint.tolist()}; for uint8 images each number must be in [0, 1]: divide by 255."
            )
        paint = np.round(paint * 255)
    numbers = jax.random.uniform(key, (2, n), jnp.float32)
    rows = _covered(numbers[0], height, size)
    columns = _covered(numbers[1], width, size)
    inside = jax.lax.broadcast_in_dim(rows, images.shape, (0, 1)) & jax.lax.broadcast_in_dim(
        columns, images.shape, (0, 2)
    )
    return jnp.where(inside, jnp.broadcast_to(jnp.asarray(paint).astype(images.dtype), images.shape), images)


def _covered(numbers: Array, length: int, size: int) -> Array:
    """Whether the square covers each of `length` pixels of a side: bool [n, length], for numbers [n] in [0, 1)."""
    first = (numbers * length).astype(jnp.int32) - size // 2
    distance = jax.lax.broadcasted_iota(jnp.int32, (numbers.shape[0], length), 1) - jax.lax.broadcast_in_dim(
        first, (numbers.shape[0], length), (0,)
    )
    return (distance >= 0) & (distance < size)
