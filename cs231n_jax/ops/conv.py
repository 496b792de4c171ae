"""Two-dimensional convolution over NHWC images with HWIO kernels and explicit padding."""

from __future__ import annotations

from jax import lax
from jaxtyping import Array, Float

from cs231n_jax.ops.window import Padding, Pair, padding_pairs, pair

_LAYOUT = ("NHWC", "HWIO", "NHWC")


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
        groups: the channels and the filters are split into this many independent groups.

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
    return plain(x, kernel, stride, padding, dilation, groups)


def plain(x: Array, kernel: Array, stride: Pair, padding: Padding, dilation: Pair, groups: int) -> Array:
    """Return the convolution in lax's own form, differentiated by its rules."""
    return lax.conv_general_dilated(
        x, kernel, stride, padding, rhs_dilation=dilation, dimension_numbers=_LAYOUT, feature_group_count=groups
    )


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
