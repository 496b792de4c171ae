"""Max and average pooling over NHWC images with explicit padding."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from cs231n_jax.ops.precision import at_least_float32
from cs231n_jax.ops.window import Padding, Pair, output_size, padding_pairs, pair


def max_pool(
    x: Float[Array, "n h w c"],
    window: int | Pair,
    *,
    stride: int | Pair | None = None,
    padding: int | Padding = 0,
    ceil_mode: bool = False,
) -> Float[Array, "n p q c"]:
    """Take the maximum of each window; padding counts as −∞.

    Args:
        x: images [n, h, w, c].
        window: height and width of the window, ≥ 1; one number or a pair.
        stride: step of the window, ≥ 1; default: the window.
        padding: one number or ((top, bottom), (left, right)), each smaller than the window.
        ceil_mode: whether a last, partial window is added where the windows leave pixels over.

    Returns:
        [n, p, q, c] in the dtype of x.

    Raises:
        ValueError: if the padding is not smaller than the window, or the window larger than the padded image.
    """
    window, stride, padding = _geometry(x.shape, window, stride, padding, ceil_mode)
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, *window, 1), (1, *stride, 1), ((0, 0), *padding, (0, 0)))


def avg_pool(
    x: Float[Array, "n h w c"],
    window: int | Pair,
    *,
    stride: int | Pair | None = None,
    padding: int | Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Float[Array, "n p q c"]:
    """Take the mean of each window, in at least float32.

    Args:
        x: images [n, h, w, c].
        window: height and width of the window, ≥ 1; one number or a pair.
        stride: step of the window, ≥ 1; default: the window.
        padding: zeros: one number or ((top, bottom), (left, right)), each smaller than the window.
        ceil_mode: whether a last, partial window is added where the windows leave pixels over.
        count_include_pad: whether zeros of the padding count in the divisor. What a partial window (`ceil_mode`) has
            beyond the padding never counts.

    Returns:
        [n, p, q, c] in the dtype of x.

    Raises:
        ValueError: if the padding is not smaller than the window, or the window larger than the padded image.
    """
    declared = padding_pairs(padding)
    window, stride, padding = _geometry(x.shape, window, stride, padding, ceil_mode)
    wide = at_least_float32(x.dtype)
    total = lax.reduce_window(
        x.astype(wide), 0.0, lax.add, (1, *window, 1), (1, *stride, 1), ((0, 0), *padding, (0, 0))
    )
    counts = [
        _counts(x.shape[1 + a], window[a], stride[a], total.shape[1 + a], declared[a], count_include_pad)
        for a in (0, 1)
    ]
    weight = jnp.asarray(1.0 / np.outer(*counts), wide)
    return (total * lax.broadcast_in_dim(weight, total.shape, (1, 2))).astype(x.dtype)


def global_avg_pool(x: Float[Array, "n h w c"]) -> Float[Array, "n c"]:
    """Take the mean of each channel over the whole image, in at least float32; returns the dtype of x."""
    return x.astype(at_least_float32(x.dtype)).mean((1, 2)).astype(x.dtype)


def _geometry(image: tuple, window, stride, padding, ceil_mode: bool) -> tuple[Pair, Pair, Padding]:
    """Check the arguments and return them as pairs, the padding widened at the end by what `ceil_mode` adds."""
    window = pair(window, "window")
    stride = window if stride is None else pair(stride, "stride")
    ends = []
    for axis, (before, after) in enumerate(padding_pairs(padding)):
        size, k, s = image[1 + axis], window[axis], stride[axis]
        if max(before, after) >= k:
            raise ValueError(f"padding is {padding!r}; it must be smaller than the window, which is {window}.")
        if k > size + before + after:
            raise ValueError(
                f"The window covers {k} pixels and the padded image has {size + before + after} on axis {1 + axis}; "
                "use a smaller window or more padding."
            )
        extra = 0
        if ceil_mode:
            left_over = (size + before + after - k) % s
            starts_inside = (output_size(size, k, s, before, after)) * s < size + before
            extra = s - left_over if left_over and starts_inside else 0
        ends.append((before, after + extra))
    return window, stride, (ends[0], ends[1])


def _counts(size: int, window: int, stride: int, positions: int, padding: Pair, include_pad: bool) -> np.ndarray:
    """Return how many pixels of each window count in the divisor, along one axis."""
    start = np.arange(positions) * stride - padding[0]
    low, high = (-padding[0], size + padding[1]) if include_pad else (0, size)
    return np.minimum(start + window, high) - np.maximum(start, low)
