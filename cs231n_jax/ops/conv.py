"""Two-dimensional convolution over NHWC images with HWIO kernels and explicit padding."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cs231n_jax.ops import conv_cpu
from cs231n_jax.ops.platform import by_platform
from cs231n_jax.ops.window import Padding, Pair, padding_pairs, pair


def conv(
    x: Float[Array, "n h w c"],
    kernel: Float[Array, "kh kw i o"],
    *,
    stride: int | Pair = 1,
    padding: int | Padding = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Float[Array, "n p q o"]:
    """Cross-correlate images with a bank of filters.

    y[n, p, q, o] = Σ_{a, b, i} x[n, p·stride + a·dilation − top, q·stride + b·dilation − left, i] · kernel[a, b, i, o]

    Args:
        x: images [n, h, w, c].
        kernel: filters [kh, kw, c / groups, o], of the same dtype as x.
        stride: step of the window, ≥ 1; one number or (height, width).
        padding: zeros around the image, ≥ 0; one number or ((top, bottom), (left, right)).
        dilation: distance between the taps of a filter, ≥ 1; one number or (height, width).
        groups: into how many independent groups the channels and the filters are split, ≥ 1.

    Returns:
        [n, p, q, o] in the dtype of x, p = ⌊(h + top + bottom − dilation·(kh − 1) − 1) / stride⌋ + 1, q likewise.

    Raises:
        TypeError: if x and kernel differ in dtype.
        ValueError: if channels, groups and kernel do not fit, or the window is larger than the padded image.

    *Deviation* from the textbook and with every deep-learning library: the filter is not flipped.
    """
    stride, dilation, padding = pair(stride, "stride"), pair(dilation, "dilation"), padding_pairs(padding)
    _check(x.shape, kernel.shape, padding, dilation, groups)
    if x.dtype != kernel.dtype:
        raise TypeError(f"The images are {x.dtype} and the kernel is {kernel.dtype}; cast one to the other.")
    if x.dtype == jnp.float32 and dilation == (1, 1) and groups == 1:
        return _fast(x, kernel, stride, padding)
    return conv_cpu.plain(x, kernel, stride, padding, dilation, groups)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _fast(x: Array, kernel: Array, stride: Pair, padding: Padding) -> Array:
    return _forward(x, kernel, stride, padding)


def _fast_fwd(x: Array, kernel: Array, stride: Pair, padding: Padding) -> tuple[Array, tuple[Array, Array]]:
    return _forward(x, kernel, stride, padding), (x, kernel)


def _fast_bwd(stride: Pair, padding: Padding, saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    return _backward(*saved, dy, stride=stride, padding=padding)


_fast.defvjp(_fast_fwd, _fast_bwd)


def _forward(x: Array, kernel: Array, stride: Pair, padding: Padding) -> Array:
    general = functools.partial(conv_cpu.plain, stride=stride, padding=padding)
    if not conv_cpu.is_small(x.shape, kernel.shape):
        return general(x, kernel)
    columns = functools.partial(conv_cpu.small_image, stride=stride, padding=padding)
    return by_platform(x, kernel, cpu=columns, default=general)


@functools.partial(jax.jit, static_argnames=("stride", "padding"))
def _backward(x: Array, kernel: Array, dy: Array, *, stride: Pair, padding: Padding) -> tuple[Array, Array]:
    """Choose the gradient when it is lowered, because only then the platform is known.

    Compiled as a function of its own, it is traced and lowered once for all layers of a shape.
    """
    general = functools.partial(_plain_gradients, stride=stride, padding=padding)
    fast = functools.partial(conv_cpu.gradients, stride=stride, padding=padding)
    return by_platform(x, kernel, dy, cpu=fast, default=general)


def _plain_gradients(x: Array, kernel: Array, dy: Array, stride: Pair, padding: Padding) -> tuple[Array, Array]:
    (dx,) = jax.linear_transpose(lambda images: conv_cpu.plain(images, kernel, stride, padding), x)(dy)
    (dkernel,) = jax.linear_transpose(lambda filters: conv_cpu.plain(x, filters, stride, padding), kernel)(dy)
    return dx, dkernel


def _check(image: tuple, kernel: tuple, padding: Padding, dilation: Pair, groups: int) -> None:
    channels, features = image[3], kernel[3]
    if groups < 1 or channels % groups or features % groups:
        raise ValueError(f"groups is {groups}; it must divide the {channels} channels and the {features} filters.")
    if kernel[2] != channels // groups:
        raise ValueError(
            f"The kernel has {kernel[2]} input channels; {channels} channels in {groups} groups need "
            f"{channels // groups}, so the kernel must be [{kernel[0]}, {kernel[1]}, {channels // groups}, {features}]."
        )
    for axis in (0, 1):
        padded, window = image[1 + axis] + sum(padding[axis]), dilation[axis] * (kernel[axis] - 1) + 1
        if window > padded:
            raise ValueError(
                f"The window covers {window} pixels and the padded image has {padded} on axis {1 + axis}; "
                "use a smaller kernel or more padding."
            )
