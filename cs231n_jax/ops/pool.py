"""Max and average pooling over NHWC images with explicit padding."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from cs231n_jax.ops.buffers import held
from cs231n_jax.ops.platform import by_platform
from cs231n_jax.ops.precision import at_least_float32
from cs231n_jax.ops.window import Padding, Pair, output_size, padding_pairs, pair

_MANY_TAPS = 25  # from here on XLA's own loop over windows is left to itself


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

    Among equal maxima the first in row order takes the whole gradient, as in torch and in XLA.

    *Deviation* from jax: on CPU, windows of up to 25 pixels are strided slices instead of `reduce_window`, whose
    derivative is some ten times slower. That derivative is our own, so forward mode (`jax.jvp`) raises.
    """
    window, stride, padding = _geometry(x.shape, window, stride, padding, ceil_mode)
    if np.prod(window) > _MANY_TAPS:
        return _over_windows(-jnp.inf, lax.max, x, window=window, stride=stride, padding=padding)
    return _max_pool(x, window, stride, padding)


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
    general = functools.partial(_over_windows, 0.0, lax.add, window=window, stride=stride, padding=padding)
    if np.prod(window) > _MANY_TAPS:
        total = general(x.astype(wide))
    else:
        by_taps = functools.partial(_over_taps, 0.0, lax.add, window=window, stride=stride, padding=padding)
        total = by_platform(x.astype(wide), cpu=by_taps, default=general)
    counts = [
        _counts(x.shape[1 + a], window[a], stride[a], total.shape[1 + a], declared[a], count_include_pad)
        for a in (0, 1)
    ]
    weight = jnp.asarray(1.0 / np.outer(*counts), wide)
    return (total * lax.broadcast_in_dim(weight, total.shape, (1, 2))).astype(x.dtype)


def global_avg_pool(x: Float[Array, "n h w c"]) -> Float[Array, "n c"]:
    """Take the mean of each channel over the whole image, in at least float32; returns the dtype of x."""
    return x.astype(at_least_float32(x.dtype)).mean((1, 2)).astype(x.dtype)


def _over_windows(start: float, combine: Callable, x: Array, *, window: Pair, stride: Pair, padding: Padding) -> Array:
    return lax.reduce_window(x, start, combine, (1, *window, 1), (1, *stride, 1), ((0, 0), *padding, (0, 0)))


def _over_taps(start: float, combine: Callable, x: Array, *, window: Pair, stride: Pair, padding: Padding) -> Array:
    return functools.reduce(combine, _taps(x, start, window, stride, padding))


def _taps(x: Array, fill: float, window: Pair, stride: Pair, padding: Padding) -> list[Array]:
    """Return, for each place in the window, the pixels that all windows have there: [n, p, q, c]."""
    x = lax.pad(x, jnp.asarray(fill, x.dtype), ((0, 0, 0), *((*ends, 0) for ends in padding), (0, 0, 0)))
    n, h, w, c = x.shape
    down, across = h - window[0] + 1, w - window[1] + 1
    return [
        lax.slice(x, (0, a, b, 0), (n, a + down, b + across, c), (1, *stride, 1))
        for a in range(window[0])
        for b in range(window[1])
    ]


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _max_pool(x: Array, window: Pair, stride: Pair, padding: Padding) -> Array:
    general = functools.partial(_over_windows, -jnp.inf, lax.max, window=window, stride=stride, padding=padding)
    by_taps = functools.partial(_over_taps, -jnp.inf, lax.max, window=window, stride=stride, padding=padding)
    return by_platform(x, cpu=by_taps, default=general)


def _max_pool_fwd(x: Array, window: Pair, stride: Pair, padding: Padding) -> tuple[Array, Array]:
    return _max_pool(x, window, stride, padding), x


def _max_pool_bwd(window: Pair, stride: Pair, padding: Padding, x: Array, dy: Array) -> tuple[Array]:
    def general(x: Array, dy: Array) -> Array:
        forward = functools.partial(_over_windows, -jnp.inf, lax.max, window=window, stride=stride, padding=padding)
        return jax.vjp(forward, x)[1](dy)[0]

    by_taps = functools.partial(_scatter_to_maxima, window=window, stride=stride, padding=padding)
    return (by_platform(x, dy, cpu=by_taps, default=general),)


_max_pool.defvjp(_max_pool_fwd, _max_pool_bwd)


def _scatter_to_maxima(x: Array, dy: Array, window: Pair, stride: Pair, padding: Padding) -> Array:
    """Give each window's dy to its first maximum, place after place in the window."""
    best, *others = _taps(x, -jnp.inf, window, stride, padding)
    where = jnp.zeros(best.shape, jnp.int8)
    for place, pixels in enumerate(others, 1):
        better = (pixels > best) | (pixels != pixels)  # a NaN is the maximum of its window
        best, where = jnp.where(better, pixels, best), jnp.where(better, jnp.int8(place), where)
    where = held(where, where[0, 0, 0, 0])
    shares = []
    for place, (a, b) in enumerate(np.ndindex(*window)):
        share = jnp.where(where == jnp.int8(place), dy, jnp.zeros_like(dy))
        ends = [(0, 0, 0)]
        for i, tap in enumerate((a, b)):
            before = tap - padding[i][0]
            covered = (dy.shape[1 + i] - 1) * stride[i] + 1
            ends.append((before, x.shape[1 + i] - before - covered, stride[i] - 1))
        shares.append(lax.pad(share, jnp.zeros((), dy.dtype), (*ends, (0, 0, 0))))
    return functools.reduce(lax.add, shares)


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
