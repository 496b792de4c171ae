"""The parts of a convolution that XLA:CPU does slowly, written as matrix products and small convolutions.

All of it is plain `lax` and computes what the rules of `lax.conv_general_dilated` compute; only the order of the sums
differs. It holds for one group without dilation and is meant for float32.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from cs231n_jax.ops.buffers import after
from cs231n_jax.ops.window import Padding, Pair, output_size

LAYOUT = ("NHWC", "HWIO", "NHWC")
_FEW = 8  # rows of fewer channels are copied too slowly for stacks to pay
_WIDE = 5  # stacks of more shifts than this cost more than they save
_NARROW = 32  # images of so few channels gain even from a detour with more arithmetic


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
    columns, (a, a_end), (b, b_end) = _columns(x, kernel.shape, stride, padding)
    live = kernel[a:a_end, b:b_end].reshape(-1, kernel.shape[3])
    return lax.dot_general(columns, live, (((3,), (0,)), ((), ())))


def gradients(x: Array, kernel: Array, dy: Array, stride: Pair, padding: Padding) -> tuple[Array, Array]:
    """Return the gradients of a convolution with respect to the images and the kernel."""
    dy = lax.optimization_barrier(dy)  # written before it is read: not computed again for each shift
    return _input_gradient(x, kernel, dy, stride, padding), _kernel_gradient(x, kernel, dy, stride, padding)


def _kernel_gradient(x: Array, kernel: Array, dy: Array, stride: Pair, padding: Padding) -> Array:
    kh, kw, c, o = kernel.shape
    if is_small(x.shape, kernel.shape) or kh == kw == 1 or (stride != (1, 1) and max(kh, kw) <= 3 and c >= _FEW):
        return _product_of_columns(x, dy, kernel.shape, stride, padding)
    if stride == (1, 1) and max(kh, kw) <= _WIDE and min(c, o) >= _FEW:
        return _product_of_shifts(x, dy, kernel.shape, padding)
    x = lax.optimization_barrier(x)
    return jax.linear_transpose(lambda filters: plain(x, filters, stride, padding), kernel)(dy)[0]


def _input_gradient(x: Array, kernel: Array, dy: Array, stride: Pair, padding: Padding) -> Array:
    kh, kw, c, _ = kernel.shape
    forward = plain
    if kh == kw == 1 or (stride == (1, 1) and is_small(dy.shape, kernel.shape)):
        forward = small_image
    elif stride != (1, 1):
        phases = [_phases(kernel.shape[i], stride[i], padding[i][0]) for i in (0, 1)]
        work = phases[0].taps * phases[1].taps * stride[0] * stride[1] / (kh * kw)
        if work <= 1.5 or (work <= 2 and c <= _NARROW):
            return _by_phases(kernel, dy, x.shape, stride, phases)
    return jax.linear_transpose(lambda images: forward(images, kernel, stride, padding), x)(dy)[0]


def _product_of_shifts(x: Array, dy: Array, kernel: tuple, padding: Padding) -> Array:
    """Return the kernel's gradient at stride 1 as one product.

    The kw shifts of x along the width and the kh shifts of dy along the height, side by side in the channels, make a
    product (kw·C × NHQ)·(NHQ × kh·O) that holds every pair of taps once: no flop is wasted, and kh + kw copies are
    made where columns would take kh·kw.
    """
    kh, kw, c, o = kernel
    (top, _), (left, _) = padding
    (h, w), (p, q) = x.shape[1:3], dy.shape[1:3]
    across = _stack([(x, (0, 0), (left - b, q - w - left + b)) for b in range(kw)])
    down = _stack([(dy, (a - top, h - p - a + top), (0, 0)) for a in range(kh)])
    product = _product(*lax.optimization_barrier((after(across, dy), down)))
    return product.reshape(kw, c, kh, o).transpose(2, 0, 1, 3)


def _product_of_columns(x: Array, dy: Array, kernel: tuple, stride: Pair, padding: Padding) -> Array:
    """Return the kernel's gradient as the product of the image's columns with dy."""
    kh, kw, c, o = kernel
    columns, (a, a_end), (b, b_end) = _columns(x, kernel, stride, padding)
    product = _product(*lax.optimization_barrier((after(columns, dy), dy))).reshape(a_end - a, b_end - b, c, o)
    return jnp.pad(product, ((a, kh - a_end), (b, kw - b_end), (0, 0), (0, 0)))


class _Phases(NamedTuple):
    """What the pixels of an axis that leave the same remainder by the stride see of dy and of the kernel."""

    first: int  # the least offset in dy that any remainder sees
    last: int  # the greatest
    lead: int  # zeros before the kernel, so that its taps fall into rows of `stride`

    @property
    def taps(self) -> int:
        return self.last - self.first + 1


def _phases(window: int, stride: int, before: int) -> _Phases:
    last = (stride - 1 + before) // stride
    return _Phases(first=-((window - 1 - before) // stride), last=last, lead=stride * last - before)


def _by_phases(kernel: Array, dy: Array, image: tuple, stride: Pair, phases: list[_Phases]) -> Array:
    """Return the image's gradient of a strided convolution without inserting zeros into dy.

    The pixels whose row and column leave the same remainders by the stride see the same taps of the kernel. So one
    convolution of stride 1 with a kernel of about k / stride taps gives each remainder its own channels, and moving
    those channels into space (depth to space) gives the gradient.
    """
    (n, h, w, c), (_, p, q, o), (down, across) = image, dy.shape, phases
    rows, columns = -(-h // stride[0]), -(-w // stride[1])
    ends = [(a.lead, a.taps * s - a.lead - k, 0) for a, s, k in zip(phases, stride, kernel.shape)]
    kernel = lax.pad(kernel, jnp.zeros((), kernel.dtype), (*ends, (0, 0, 0), (0, 0, 0)))
    kernel = lax.rev(kernel.reshape(down.taps, stride[0], across.taps, stride[1], c, o), (0, 2))
    kernel = kernel.transpose(0, 2, 5, 1, 3, 4).reshape(down.taps, across.taps, o, -1)
    around = ((-down.first, rows + down.last - p), (-across.first, columns + across.last - q))
    dx = plain(dy, kernel, (1, 1), around).reshape(n, rows, columns, *stride, c)
    return dx.transpose(0, 1, 3, 2, 4, 5).reshape(n, rows * stride[0], columns * stride[1], c)[:, :h, :w]


def _columns(x: Array, kernel: tuple, stride: Pair, padding: Padding) -> tuple[Array, Pair, Pair]:
    """Return the pixels under each tap side by side in the channels (im2col), and which taps those are on each axis.

    One axis after the other: kh + kw copies, where all taps at once would be kh·kw. Taps that see only padding are
    left out.
    """
    ranges = []
    for i in (1, 0):
        seen = [_seen(tap, x.shape[1 + i], kernel[i], stride[i], padding[i]) for tap in range(kernel[i])]
        live = [tap for tap, pixels in enumerate(seen) if pixels.start < pixels.stop] or [0]
        ranges.append((live[0], live[-1] + 1))
        x = lax.optimization_barrier(_under(x, i, seen[live[0] : live[-1] + 1], stride[i]))
    return x, ranges[1], ranges[0]


class _Seen(NamedTuple):
    """Which pixels of one axis a tap sees, and how many outputs before and after see padding with it."""

    start: int
    stop: int
    before: int
    after: int


def _seen(tap: int, size: int, window: int, stride: int, padding: Pair) -> _Seen:
    outputs = output_size(size, window, stride, *padding)
    offset = tap - padding[0]
    first, last = max(0, -(offset // stride)), min(outputs - 1, (size - 1 - offset) // stride)
    if last < first:
        return _Seen(0, 0, outputs, 0)
    return _Seen(first * stride + offset, last * stride + offset + 1, first, outputs - 1 - last)


def _under(x: Array, axis: int, seen: list[_Seen], stride: int) -> Array:
    """Stack what the taps see along the height (axis 0) or the width (1)."""
    parts = []
    for pixels in seen:
        ends = [(0, 0), (0, 0)]
        ends[axis] = (pixels.before, pixels.after)
        parts.append((lax.slice_in_dim(x, pixels.start, pixels.stop, stride, 1 + axis), *ends))
    return _stack(parts)


def _stack(parts: list[tuple[Array, Pair, Pair]]) -> Array:
    """Pad or crop images by their rows and columns and put them side by side in the channels.

    Each is padded to all channels and they are added: one fused loop, in half the time of a concatenation.
    """
    padded = []
    for slot, (image, rows, columns) in enumerate(parts):
        c = image.shape[3]
        ends = ((0, 0), rows, columns, (slot * c, (len(parts) - 1 - slot) * c))
        padded.append(lax.pad(image, jnp.zeros((), image.dtype), [(*end, 0) for end in ends]))
    return functools.reduce(lax.add, padded)


def _product(left: Array, right: Array) -> Array:
    """Contract everything but the channels."""
    left, right = left.reshape(-1, left.shape[-1]), right.reshape(-1, right.shape[-1])
    return lax.dot_general(left, right, (((0,), (0,)), ((), ())))
