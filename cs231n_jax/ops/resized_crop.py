"""Random crops of any size and shape of a whole batch on the device, each resized to one size."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, Num

from cs231n_jax.ops import pixels

TRIES = 10


class Boxes(NamedTuple):
    """Where n crops lie, in pixels."""

    top: Int[Array, " n"]
    left: Int[Array, " n"]
    height: Int[Array, " n"]  # ≥ 1
    width: Int[Array, " n"]  # ≥ 1


def random_resized_crop(
    key: Key[Array, ""],
    images: Num[Array, "n h w c"],
    *,
    size: tuple[int, int] | None = None,
    area: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Num[Array, "n s t c"]:
    """Cut a rectangle of random area, shape and place out of each image and resize it.

    The area is uniform in `area` times that of the image, the logarithm of width / height uniform between those of
    `ratio`. Of ten draws the first that fits into the image is taken, at a uniform place; where none fits, the largest
    centred rectangle whose shape is as near to the image's as `ratio` allows.

    Args:
        key: decides the rectangles, for each image on its own.
        images: [n, h, w, c]; uint8, or floats in [0, 1].
        size: (height, width) of the result; by default that of the images.
        area: smallest and largest share of the image's area, 0 < low ≤ high ≤ 1.
        ratio: smallest and largest width / height, 0 < low ≤ high.

    Returns:
        [n, s, t, c] in the dtype of images, by `resize_boxes`.

    Raises:
        ValueError: if area, ratio or size is out of range.
        TypeError: if the images are neither uint8 nor floats.

    Reference: Szegedy et al. 2015, section 6 (8 % to 100 % of the area, 3/4 to 4/3); torchvision's RandomResizedCrop,
    whose rule for draws that do not fit this is.
    """
    if not 0 < area[0] <= area[1] <= 1:
        raise ValueError(f"area is {area}; it must be (low, high) with 0 < low ≤ high ≤ 1.")
    if not 0 < ratio[0] <= ratio[1] < math.inf:
        raise ValueError(f"ratio is {ratio}; it must be (low, high) with 0 < low ≤ high.")
    n, height, width, _ = images.shape
    boxes = random_boxes(key, n, (height, width), area, ratio)
    return resize_boxes(images, boxes, size=size or (height, width))


def random_boxes(
    key: Key[Array, ""], n: int, shape: tuple[int, int], area: tuple[float, float], ratio: tuple[float, float]
) -> Boxes:
    """Draw the rectangles of `random_resized_crop`, torchvision's, for n images of shape (height, width)."""
    height, width = shape
    numbers = jax.random.uniform(key, (2 * TRIES + 2, n), jnp.float32)
    areas = height * width * (area[0] + (area[1] - area[0]) * numbers[:TRIES])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    shapes = jnp.exp(low + (high - low) * numbers[TRIES : 2 * TRIES])
    widths = jnp.round(jnp.sqrt(areas * shapes)).astype(jnp.int32)
    heights = jnp.round(jnp.sqrt(areas / shapes)).astype(jnp.int32)
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    first = jnp.argmax(fits, axis=0, keepdims=True)
    any_fits = fits.any(0)

    def choose(drawn: Array, other: int) -> Array:
        taken = jnp.take_along_axis(drawn, first, axis=0)[0]
        return jnp.where(any_fits, taken, jnp.full_like(taken, other))

    whole_height, whole_width = _largest(shape, ratio)
    heights, widths = choose(heights, whole_height), choose(widths, whole_width)

    def place(number: Array, room: Array) -> Array:
        drawn = (number * (room + 1).astype(jnp.float32)).astype(jnp.int32)
        return jnp.where(any_fits, jnp.minimum(drawn, room), room // 2)

    return Boxes(place(numbers[-2], height - heights), place(numbers[-1], width - widths), heights, widths)


def resize_boxes(images: Num[Array, "n h w c"], boxes: Boxes, *, size: tuple[int, int]) -> Num[Array, "n s t c"]:
    """Resize the rectangle of each image by a triangle filter: bilinear, and antialiased where it shrinks.

    y[i] = Σ_j w_ij·x[j] along each axis, w_ij ∝ max(0, 1 − |j + ½ − (i + ½)·s| / max(1, s)) over the pixels j of the
    rectangle, Σ_j w_ij = 1, s = rectangle / size. So two products of matrices for each image.

    Args:
        images: [n, h, w, c]; uint8, or floats in [0, 1].
        boxes: the rectangles, inside the images.
        size: (height, width) of the result.

    Returns:
        [n, s, t, c] in the dtype of images; computed in at least float32, bytes rounded to the nearest.

    Raises:
        ValueError: if size is not positive.
        TypeError: if the images are neither uint8 nor floats.

    Reference: torch's `interpolate(mode="bilinear", antialias=True)`; Pillow's BILINEAR, up to its fixed-point weights.
    """
    if min(size) < 1:
        raise ValueError(f"size is {size}; height and width must be at least 1.")
    x = pixels.to_unit(images)
    rows = _weights(boxes.top, boxes.height, images.shape[1], size[0]).astype(x.dtype)
    columns = _weights(boxes.left, boxes.width, images.shape[2], size[1]).astype(x.dtype)
    # In full precision, so that an accelerator gives the pixels of a CPU.
    x = jnp.einsum("nsh,nhwc->nswc", rows, x, precision="highest")
    x = jnp.einsum("ntw,nswc->nstc", columns, x, precision="highest")
    return pixels.from_unit(x, images.dtype)


def _weights(start: Array, length: Array, pixels_in: int, pixels_out: int) -> Float[Array, "n o i"]:
    shape = (start.shape[0], pixels_out, pixels_in)

    def along(x: Array, axis: int) -> Array:
        return jax.lax.broadcast_in_dim(x.astype(jnp.float32), shape, (axis,))

    scale = along(length, 0) / np.float32(pixels_out)
    centres = (along(jnp.arange(pixels_out), 1) + 0.5) * scale
    places = along(jnp.arange(pixels_in), 2) - along(start, 0)
    inside = (places >= 0) & (places < along(length, 0))
    triangle = jnp.maximum(0, 1 - jnp.abs(places + 0.5 - centres) / jnp.maximum(1, scale))
    weights = jnp.where(inside, triangle, jnp.zeros_like(triangle))
    return weights / weights.sum(-1, keepdims=True)


def _largest(shape: tuple[int, int], ratio: tuple[float, float]) -> tuple[int, int]:
    """Height and width of the largest rectangle in an image whose shape lies in `ratio`; one pixel at least."""
    height, width = shape
    if width / height < ratio[0]:
        return max(1, round(width / ratio[0])), width
    if width / height > ratio[1]:
        return height, max(1, round(height * ratio[1]))
    return height, width
