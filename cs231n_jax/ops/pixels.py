"""Pixels as numbers to compute with, and back in the type that they came in."""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Num

from cs231n_jax.ops.precision import at_least_float32


def to_unit(images: Num[Array, "*n"]) -> Float[Array, "*n"]:
    """Return pixels on the scale of [0, 1] in at least float32: unsigned bytes divided by 255, floats as they are.

    Raises:
        TypeError: if the images are neither uint8 nor floats.
    """
    if images.dtype == jnp.uint8:
        return images.astype(jnp.float32) / 255
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise TypeError(f"The images are {images.dtype}; they must be uint8 in 0…255 or floats in [0, 1].")
    return images.astype(at_least_float32(images.dtype))


def from_unit(pixels: Float[Array, "*n"], dtype: DTypeLike) -> Num[Array, "*n"]:
    """Return pixels clipped to [0, 1] and cast to a float, or as unsigned bytes rounded to the nearest."""
    pixels = jnp.clip(pixels, 0, 1)
    if jnp.dtype(dtype) == jnp.uint8:
        return jnp.round(pixels * 255).astype(jnp.uint8)
    return pixels.astype(dtype)
