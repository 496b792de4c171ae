"""The geometry that convolution and pooling share: strides, explicit padding, output sizes."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]


def pair(value: int | Sequence[int], name: str) -> Pair:
    """Return `(value, value)` for an integer, or a sequence of two integers as a tuple.

    Args:
        value: an integer, or one integer for the height and one for the width; each at least 1.
        name: what the value is called in an error message.

    Raises:
        ValueError: if there are not two values or one of them is no integer or too small.
    """
    both = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(both) != 2 or not all(isinstance(v, Integral) and v >= 1 for v in both):
        raise ValueError(f"{name} is {value!r}; it must be an integer or (height, width), each at least 1.")
    return both


def padding_pairs(padding: int | Sequence[Sequence[int]]) -> Padding:
    """Return padding as `((top, bottom), (left, right))`.

    Args:
        padding: zeros on every side, or explicit pairs for the two axes; non-negative.

    Raises:
        ValueError: for anything else; there is no "SAME", because its meaning changes with the stride.
    """
    if isinstance(padding, int):
        padding = ((padding, padding), (padding, padding))
    if isinstance(padding, str) or len(padding) != 2 or any(isinstance(p, int) or len(p) != 2 for p in padding):
        raise ValueError(f"padding is {padding!r}; it must be an integer or ((top, bottom), (left, right)).")
    (top, bottom), (left, right) = padding
    if min(top, bottom, left, right) < 0:
        raise ValueError(f"padding is {padding!r}; every entry must be at least 0, so crop the input instead.")
    return (top, bottom), (left, right)


def output_size(size: int, window: int, stride: int, before: int, after: int, dilation: int = 1) -> int:
    """Return the number of places of a window: ⌊(size + before + after − dilation·(window − 1) − 1) / stride⌋ + 1."""
    return (size + before + after - dilation * (window - 1) - 1) // stride + 1
