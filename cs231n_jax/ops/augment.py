"""Random crops and flips of a whole batch on the device, and the normalisation of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Key, Num

from cs231n_jax.ops.precision import at_least_float32

_MODES = {"zeros": "constant", "reflect": "reflect"}


def random_crop(
    key: Key[Array, ""], images: Num[Array, "n h w c"], *, padding: int, mode: str = "zeros"
) -> Num[Array, "n h w c"]:
    """Pad each image on all sides and cut the original size out again at a random place.

    Args:
        key: decides the place, uniform over the (2·padding + 1)² places, for each image on its own.
        images: [n, h, w, c] of any dtype.
        padding: pixels added on every side, ≥ 0.
        mode: "zeros" adds black, "reflect" mirrors the image without repeating its edge.

    Returns:
        [n, h, w, c] in the dtype of images; pixels are only moved, so the result is the same on every device.

    Raises:
        ValueError: for another mode, a padding that is negative or not whole, or a reflection longer than the image.

    Reference: He et al. 2016 ("Deep residual learning"), section 4.2: 4 pixels of zeros on CIFAR-10.
    """
    return _crop(images, jax.random.uniform(key, (2, images.shape[0]), jnp.float32), padding, mode)


def random_crop_flip(key: Key[Array, ""], images: Num[Array, "n h w c"], *, padding: int) -> Num[Array, "n h w c"]:
    """`random_crop` over zeros, then `random_flip`, with one draw of random numbers: a third of the compile time.

    Args, returns and raises as those two.
    """
    numbers = jax.random.uniform(key, (3, images.shape[0]), jnp.float32)
    return _flip(_crop(images, numbers[:2], padding, "zeros"), numbers[2])


def _crop(images: Array, numbers: Array, padding: int, mode: str) -> Array:
    """Crop at the places that numbers [2, n] in [0, 1) stand for."""
    height, width = images.shape[1:3]
    if mode not in _MODES:
        raise ValueError(f"mode is {mode!r}; it must be 'zeros' or 'reflect'.")
    if not isinstance(padding, Integral) or padding < 0 or (mode == "reflect" and padding >= min(height, width)):
        raise ValueError(
            f"padding is {padding}; it must be a whole number of at least 0, and a reflection shorter than the image."
        )
    if padding == 0:
        return images
    widths = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    padded = jnp.pad(images, widths, mode=_MODES[mode])
    places = (numbers * (2 * padding + 1)).astype(jnp.int32)  # uniform to 2⁻²³

    def cut(image: Array, place: Array) -> Array:
        return jax.lax.dynamic_slice(image, (place[0], place[1], np.int32(0)), images.shape[1:])

    return jax.vmap(cut)(padded, places.T)


def random_flip(key: Key[Array, ""], images: Num[Array, "n h w c"]) -> Num[Array, "n h w c"]:
    """Mirror each image left to right with probability ½.

    Args:
        key: decides which images.
        images: [n, h, w, c] of any dtype.

    Returns:
        [n, h, w, c] in the dtype of images.
    """
    return _flip(images, jax.random.uniform(key, (images.shape[0],), jnp.float32))


def _flip(images: Array, numbers: Array) -> Array:
    """Mirror the images whose number [n] in [0, 1) is below ½."""
    return flip_where(images, numbers < 0.5)


def flip_where(images: Num[Array, "n h w c"], flips: Bool[Array, " n"]) -> Num[Array, "n h w c"]:
    """Mirror left to right the images whose flag is set.

    Args:
        images: [n, h, w, c] of any dtype.
        flips: [n], which images; those of `data.pipeline.alternating_flips` for the alternating flip.

    Returns:
        [n, h, w, c] in the dtype of images.
    """
    return jnp.where(jax.lax.broadcast_in_dim(flips, images.shape, (0,)), images[:, :, ::-1], images)


def standardize(
    images: Num[Array, "*n c"],
    mean: Sequence[float] | np.ndarray,
    std: Sequence[float] | np.ndarray,
    dtype: DTypeLike = jnp.float32,
) -> Num[Array, "*n c"]:
    """Return (x − mean) / std for each channel, where x is in [0, 1].

    Args:
        images: [..., c]; unsigned bytes are divided by 255 first, floats are taken as they are.
        mean: one number a channel, on the scale of [0, 1].
        std: one number a channel, > 0, on the same scale.
        dtype: of the result; the arithmetic is at least float32.

    Returns:
        [..., c] in `dtype`.

    Raises:
        ValueError: if mean or std do not have one number a channel or a std is not positive.
        TypeError: if the images are neither uint8 nor floats.
    """
    mean, std = np.asarray(mean, np.float64), np.asarray(std, np.float64)
    if mean.shape != images.shape[-1:] or std.shape != images.shape[-1:]:
        raise ValueError(
            f"mean has shape {mean.shape} and std {std.shape}; the images have {images.shape[-1]} channels, "
            "so each must hold that many numbers."
        )
    if not (std > 0).all():
        raise ValueError(f"std is {std.tolist()}; every entry must be positive.")
    if images.dtype == jnp.uint8:
        mean, std = mean * 255, std * 255
    elif not jnp.issubdtype(images.dtype, jnp.floating):
        raise TypeError(f"The images are {images.dtype}; they must be uint8 in 0…255 or floats in [0, 1].")
    wide = at_least_float32(dtype)
    if images.dtype == jnp.float64:
        wide = images.dtype
    axis = (images.ndim - 1,)
    centred = images.astype(wide) - jax.lax.broadcast_in_dim(jnp.asarray(mean, wide), images.shape, axis)
    return (centred * jax.lax.broadcast_in_dim(jnp.asarray(1 / std, wide), images.shape, axis)).astype(dtype)
