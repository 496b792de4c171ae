"""The parts of a convolution that XLA:CPU does slowly, written as matrix products and small convolutions.

All of it is plain `lax` and computes what the rules of `lax.conv_general_dilated` compute; only the order of the sums
differs. It holds for one group without dilation and is meant for float32.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from cs231n_jax.ops.buffers import after, held
from cs231n_jax.ops.window import Padding, Pair, output_size

LAYOUT = ("NHWC", "HWIO", "NHWC")
_FEW_CHANNELS = 8  # with shorter rows the stacked copies cost more than they save


def plain(x: Array, kernel: Array, stride: Pair, padding: Padding, dilation: Pair = (1, 1), groups: int = 1) -> Array:
    """Return the convolution in lax's own form, differentiated by its rules."""
    return lax.conv_general_dilated(
        x, kernel, stride, padding, rhs_dilation=dilation, dimension_numbers=LAYOUT, feature_group_count=groups
    )


def is_small(image: tuple, kernel: tuple) -> bool:
    """Whether the image is smaller than the kernel: then XLA:CPU falls to a loop that is some 50 times slower."""
    return image[1] < kernel[0] or image[2] < kernel[1]


def small_image(x: Array, kernel: Array, stride: Pair, padding: Padding) -> Array:
    """Return the convolution as one product of the image's columns with the kernel."""
    taps = _live_taps(x.shape, kernel.shape, stride, padding)
    columns = _columns(x, kernel.shape, stride, padding)
    live = kernel[slice(*taps[0]), slice(*taps[1])].reshape(-1, kernel.shape[3])
    return lax.dot_general(columns, live, (((3,), (0,)), ((), ())))


def gradients(x: Array, kernel: Array, dy: Array, stride: Pair, padding: Padding) -> tuple[Array, Array]:
    """Return the gradients of a convolution with respect to the images and the kernel."""
    dy = held(dy, kernel[0, 0, 0, 0])
    dx = _input_gradient(x, kernel, dy, stride, padding)
    if x.shape[3] < _FEW_CHANNELS:
        fixed = lax.optimization_barrier(x)
        (dkernel,) = jax.linear_transpose(lambda k: plain(fixed, k, stride, padding), kernel)(dy)
    elif stride == (1, 1) and not is_small(x.shape, kernel.shape):
        dkernel = _product_of_shifts(x, dy, kernel.shape, padding)
    else:
        dkernel = _product_of_columns(x, dy, kernel.shape, stride, padding)
    return dx, dkernel


def _product_of_shifts(x: Array, dy: Array, kernel: tuple, padding: Padding) -> Array:
    """Return the kernel's gradient at stride 1 as one product.

    The kw shifts of x along the width and the kh shifts of dy along the height, side by side in the channels, make a
    product (kw·C × NHQ)·(NHQ × kh·O) that holds every pair of taps once: no flop is wasted, and kh + kw copies are
    made where columns would take kh·kw.
    """
    kh, kw, c, o = kernel
    (top, _), (left, _) = padding
    (h, w), (p, q) = x.shape[1:3], dy.shape[1:3]
    across = [_placed(x, (0, 0), (left - b, q - w - left + b), b, kw) for b in range(kw)]
    down = [_placed(dy, (a - top, h - p - a + top), (0, 0), a, kh) for a in range(kh)]
    stacks = lax.optimization_barrier((after(_stack(across), dy), _stack(down)))
    return _product(*stacks).reshape(kw, c, kh, o).transpose(2, 0, 1, 3)


def _product_of_columns(x: Array, dy: Array, kernel: tuple, stride: Pair, padding: Padding) -> Array:
    """Return the kernel's gradient as the product of the image's columns (im2col) with dy."""
    kh, kw, c, o = kernel
    (a, a_end), (b, b_end) = _live_taps(x.shape, kernel, stride, padding)
    columns, dy = lax.optimization_barrier((after(_columns(x, kernel, stride, padding), dy), dy))
    product = _product(columns, dy).reshape(a_end - a, b_end - b, c, o)
    return jnp.pad(product, ((a, kh - a_end), (b, kw - b_end), (0, 0), (0, 0)))


def _input_gradient(x: Array, kernel: Array, dy: Array, stride: Pair, padding: Padding) -> Array:
    if is_small(dy.shape, kernel.shape) and stride == (1, 1):
        (dx,) = jax.linear_transpose(lambda images: small_image(images, kernel, stride, padding), x)(dy)
    elif stride != (1, 1) and min(kernel.shape[:2]) > 1:
        dx = _by_phases(kernel, dy, x.shape, stride, padding)
    else:
        (dx,) = jax.linear_transpose(lambda images: plain(images, kernel, stride, padding), x)(dy)
    return dx


def _by_phases(kernel: Array, dy: Array, image: tuple, stride: Pair, padding: Padding) -> Array:
    """Return the image's gradient of a strided convolution without inserting zeros into dy.

    The pixels whose row and column leave the same remainders by the stride see the same taps of the kernel. So one
    convolution of stride 1 with a kernel of about k / stride taps gives each remainder its own channels, and moving
    those channels into space (depth to space) gives the gradient.
    """
    n, h, w, c = image
    ends, steps = [], []
    for axis in (0, 1):
        k, s, before = kernel.shape[axis], stride[axis], padding[axis][0]
        first, last = -((k - 1 - before) // s), (s - 1 + before) // s  # offsets of dy that some remainder sees
        low = s * last - before
        edges = [(0, 0, 0)] * kernel.ndim
        edges[axis] = (low, s * (last - first + 1) - low - k, 0)
        kernel = lax.pad(kernel, jnp.zeros((), kernel.dtype), edges)
        places = -(-image[1 + axis] // s)
        ends.append((-first, places + last - dy.shape[1 + axis]))
        steps.append((last - first + 1, s, places))
    (taps, s, rows), (taps_w, s_w, columns) = steps
    o = dy.shape[3]
    phases = lax.rev(kernel.reshape(taps, s, taps_w, s_w, c, o), (0, 2))
    phases = phases.transpose(0, 2, 5, 1, 3, 4).reshape(taps, taps_w, o, s * s_w * c)
    dx = plain(dy, phases, (1, 1), (ends[0], ends[1]))
    dx = dx.reshape(n, rows, columns, s, s_w, c).transpose(0, 1, 3, 2, 4, 5)
    return dx.reshape(n, rows * s, columns * s_w, c)[:, :h, :w]


def _live_taps(image: tuple, kernel: tuple, stride: Pair, padding: Padding) -> tuple[Pair, Pair]:
    """Return, for each axis, the least range of taps outside which every tap sees only padding."""
    ranges = []
    for i in (0, 1):
        live = [tap for tap in range(kernel[i]) if _seen(tap, image[1 + i], kernel[i], stride[i], padding[i])]
        ranges.append((live[0], live[-1] + 1) if live else (0, 1))
    return ranges[0], ranges[1]


def _seen(tap: int, size: int, window: int, stride: int, padding: Pair) -> tuple[slice, Pair] | None:
    """Return which pixels of one axis a tap sees and how many outputs lie before and after, or None."""
    outputs = output_size(size, window, stride, *padding)
    offset = tap - padding[0]
    first, last = max(0, -(offset // stride)), min(outputs - 1, (size - 1 - offset) // stride)
    if last < first:
        return None
    pixels = slice(first * stride + offset, last * stride + offset + 1)
    return pixels, (first, outputs - 1 - last)


def _columns(x: Array, kernel: tuple, stride: Pair, padding: Padding) -> Array:
    """Return im2col: [n, p, q, taps·c], the pixels under each live tap side by side in the channels."""
    (n, h, w, c), (rows, cols) = x.shape, _live_taps(x.shape, kernel, stride, padding)
    taps = [(a, b) for a in range(*rows) for b in range(*cols)]
    parts = []
    for slot, (a, b) in enumerate(taps):
        down = _seen(a, h, kernel[0], stride[0], padding[0])
        across = _seen(b, w, kernel[1], stride[1], padding[1])
        if down and across:
            (ys, above), (xs, beside) = down, across
            under = lax.slice(x, (0, ys.start, xs.start, 0), (n, ys.stop, xs.stop, c), (1, *stride, 1))
            parts.append(_placed(under, above, beside, slot, len(taps)))
    if not parts:
        p, q = (output_size(x.shape[1 + i], kernel[i], stride[i], *padding[i]) for i in (0, 1))
        return jnp.zeros((n, p, q, len(taps) * c), x.dtype)
    return _stack(parts)


def _placed(image: Array, rows: Pair, columns: Pair, slot: int, slots: int) -> Array:
    """Pad or crop the image, and put it into one of several slots of channels with zeros in the others."""
    c = image.shape[3]
    ends = ((0, 0), rows, columns, (slot * c, (slots - 1 - slot) * c))
    return lax.pad(image, jnp.zeros((), image.dtype), [(*end, 0) for end in ends])


def _stack(parts: list[Array]) -> Array:
    """Add arrays of which only one is not zero at any place: one fused loop, in half the time of a concatenation."""
    return functools.reduce(lax.add, parts)


def _product(left: Array, right: Array) -> Array:
    """Contract everything but the channels."""
    left, right = left.reshape(-1, left.shape[-1]), right.reshape(-1, right.shape[-1])
    return lax.dot_general(left, right, (((0,), (0,)), ((), ())))
