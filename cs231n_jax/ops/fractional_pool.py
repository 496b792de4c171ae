"""Fractional max pooling: maxima over regions of one to three pixels, whose borders are drawn at random."""

from __future__ import annotations

import functools
import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from cs231n_jax.ops.window import pair

Sequence = Literal["random", "pseudorandom"]
Draw = Literal["batch", "row"]


def fractional_max_pool(
    key: PRNGKeyArray | None,
    x: Float[Array, "n h w c"],
    ratio: float = math.sqrt(2.0),
    *,
    size: int | tuple[int, int] | None = None,
    overlapping: bool = True,
    sequence: str = "random",
    draw: str = "batch",
) -> Float[Array, "n p q c"]:
    """Take the maximum of each region between random borders; borders of rows and of columns are independent.

    y[n, i, j, c] = max of x[n, r, s, c] over a_{i−1} ≤ r < a_i, b_{j−1} ≤ s < b_j; overlapping: r ≤ a_i, s ≤ b_j too

    Args:
        key: PRNG key; None for fixed borders, the pseudorandom ones of u = ½.
        x: images [n, h, w, c].
        ratio: how many pixels there are for one of the output along an axis, in (1, 2).
        size: height and width of the output instead; one number or a pair. Default: ⌊h / ratio⌋, ⌊w / ratio⌋, or one
            more where an image of few pixels needs it.
        overlapping: whether neighbouring regions share the pixels of their border.
        sequence: "random" or "pseudorandom", see the functions of that name.
        draw: "batch" for one pair of sequences for all images, "row" for one an image.

    Returns:
        [n, p, q, c] in the dtype of x.

    Raises:
        ValueError: if an argument is none of the allowed values, or no sequence of ones and twos reaches the size.

    Among equal maxima the first in row order takes the whole gradient, as in `pool.max_pool`.

    Reference: Graham 2014, "Fractional Max-Pooling", section 2.
    *Deviation* from the paper: each sequence ends one later where regions are disjoint, or they would leave the last
    row and the last column out. At inference the paper draws as well and averages several passes; with key=None there
    is a single deterministic one. *Deviation* from torch: there a pair of sequences an image and a channel, and
    windows all of one size, so that only their places are fractional.
    """
    height, width = output_size(x.shape[1:3], ratio, size, overlapping)
    if sequence not in ("random", "pseudorandom"):
        raise ValueError(f"sequence is {sequence!r}; it must be 'random' or 'pseudorandom'.")
    if draw not in ("batch", "row"):
        raise ValueError(f"draw is {draw!r}; it must be 'batch' (borders for the whole batch) or 'row' (for an image).")
    if key is None:
        rows, columns = (
            pseudorandom_sequence(0.5, x.shape[1 + a], out, overlapping=overlapping)[None]
            for a, out in enumerate((height, width))
        )
        return max_between(x, rows, columns, overlapping=overlapping)
    count = x.shape[0] if draw == "row" else 1
    rows, columns = (
        jax.vmap(lambda one, a=a, out=out: _drawn(one, sequence, x.shape[1 + a], out, overlapping))(
            jax.random.split(jax.random.fold_in(key, a), count)
        )
        for a, out in enumerate((height, width))
    )
    return max_between(x, rows, columns, overlapping=overlapping)


def output_size(
    image: tuple[int, ...], ratio: float, size: int | tuple[int, int] | None = None, overlapping: bool = True
) -> tuple[int, int]:
    """Return the height and width that an image comes out with: the size given, or ⌊h / ratio⌋, ⌊w / ratio⌋.

    Where rounding down leaves more than two pixels to a region (3 pixels at a ratio of 1.9) it is rounded up.

    Args:
        image: height and width.
        ratio: in (1, 2); not looked at where a size is given.
        size: height and width of the output, or None.
        overlapping: as in `fractional_max_pool`.

    Raises:
        ValueError: if ratio is out of range, or no sequence of ones and twos reaches the size.
    """
    if size is None and not 1.0 < ratio < 2.0:
        raise ValueError(f"ratio is {ratio}; it must lie above 1 and below 2. Other pooling has whole ratios.")
    rounded = tuple(max(math.floor(s / ratio), (s - overlapping + 1) // 2) for s in image)
    height, width = rounded if size is None else pair(size, "size")
    for pixels, out in zip(image, (height, width)):
        steps(pixels, out, overlapping)
    return height, width


def random_sequence(key: PRNGKeyArray, size: int, out: int, *, overlapping: bool) -> Int[Array, " m"]:
    """Return borders a_0 … a_out whose increments are the right number of ones and twos in random order.

    Args:
        key: PRNG key.
        size: pixels along the axis, ≥ 1.
        out: regions along the axis, ≥ 1.
        overlapping: whether a region holds the border to the next one too: a_out = size − 1, else a_out = size.

    Returns:
        [out + 1] int32, a_0 = 0: the index of the first pixel of region i is a_{i−1}. All orders are equally probable.

    Raises:
        ValueError: if no such sequence exists.

    Reference: Graham 2014, section 2.1 ("random"); a_i there is ours plus one.
    """
    twos = steps(size, out, overlapping) - out
    increments = jax.random.permutation(key, np.repeat(np.array([2, 1], np.int32), [twos, out - twos]))
    return jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(increments, dtype=jnp.int32)])


def pseudorandom_sequence(u: float | Float[Array, ""], size: int, out: int, *, overlapping: bool) -> Int[Array, " m"]:
    """Return borders a_i = ⌈α·(i + u)⌉ − ⌈α·u⌉, i = 0 … out: the increments are spread as evenly as can be.

    Args:
        u: in (0, 1).
        size: pixels along the axis, ≥ 1.
        out: regions along the axis, ≥ 1.
        overlapping: as in `random_sequence`.

    Returns:
        [out + 1] int32, a_0 = 0.

    Raises:
        ValueError: if no such sequence exists.

    Reference: Graham 2014, section 2.1 ("pseudorandom").
    *Deviation*: α is a_out / out exactly, so that for every u the sequence ends where it should: the paper's shift of
    the whole sequence to start and end with the image is then the same at both ends. In integers, so never rounded.
    """
    total = steps(size, out, overlapping)
    phase = jnp.clip(jnp.ceil(total * jnp.asarray(u, jnp.float32)).astype(jnp.int32) - 1, 0, total - 1)
    return (total * jnp.arange(out + 1, dtype=jnp.int32) + phase) // out - phase // out


def steps(size: int, out: int, overlapping: bool) -> int:
    """Return a_out, what the increments of a sequence sum to; raises ValueError unless ones and twos can do so."""
    total = size - overlapping
    if not 1 <= out <= total <= 2 * out:
        kind = "overlapping" if overlapping else "disjoint"
        least = (total + 1) // 2
        allowed = f"a size from {least} to {total}" if total > 0 else "no size at all"
        raise ValueError(
            f"{size} pixels cannot be pooled to {out} by {kind} regions, which allow {allowed}; choose another size or "
            "ratio, or larger images."
        )
    return total


def max_between(
    x: Float[Array, "n h w c"],
    rows: Int[Array, "g p"],
    columns: Int[Array, "g q"],
    *,
    overlapping: bool,
) -> Float[Array, "n p-1 q-1 c"]:
    """Take the maximum of each region between given borders.

    Args:
        x: images [n, h, w, c].
        rows: int32 borders a_0 … a_p along the height, of sequences as above: one for all images (g = 1) or one for
            each (g = n).
        columns: the same along the width.
        overlapping: whether a region holds the pixels of its end border too.

    Returns:
        [n, p − 1, q − 1, c] in the dtype of x.

    The derivative is our own, because XLA's derivative of a gather is a scatter, which is slow on CPU: a pixel lies in
    at most two regions along an axis, so that its gradient is again gathered. Forward mode (`jax.jvp`) raises.
    """
    return _max_between(x, rows, columns, overlapping)


def _drawn(key: Array, sequence: str, size: int, out: int, overlapping: bool) -> Array:
    if sequence == "random":
        return random_sequence(key, size, out, overlapping=overlapping)
    return pseudorandom_sequence(jax.random.uniform(key, dtype=jnp.float32), size, out, overlapping=overlapping)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _max_between(x: Array, rows: Array, columns: Array, overlapping: bool) -> Array:
    return functools.reduce(jnp.maximum, _taps(x, rows, columns, overlapping))


def _max_between_fwd(x: Array, rows: Array, columns: Array, overlapping: bool) -> tuple[Array, tuple]:
    return _max_between(x, rows, columns, overlapping), (x, rows, columns)


def _max_between_bwd(overlapping: bool, saved: tuple, dy: Array) -> tuple[Array, None, None]:
    x, rows, columns = saved
    # Adding zeros that XLA cannot know to be zero keeps these gathers apart from those of the forward pass: shared,
    # they would be written to memory pixel by pixel, which is far slower than fused with what reads them.
    rows, columns = (a + a[:, -1:] // (size + 1) for a, size in zip((rows, columns), x.shape[1:3]))
    where = _first_maximum(_taps(x, rows, columns, overlapping))
    # A branch never taken, as a_p ≤ size: XLA writes its argument out, where it would repeat the search for each pixel.
    where = jax.lax.cond(rows[0, -1] > x.shape[1], lambda w: -w, lambda w: w, where)
    width = 2 + overlapping  # places along an axis of a region
    dx = jnp.zeros_like(x)
    for row, row_place in _regions_of_pixels(rows, x.shape[1], overlapping):
        for column, column_place in _regions_of_pixels(columns, x.shape[2], overlapping):
            place = row_place[:, :, None] * width + column_place[:, None]
            inside = (row_place[:, :, None] >= 0) & (column_place[:, None] >= 0)
            place = jnp.where(inside, place, -1).astype(jnp.int8)[..., None]
            share = jnp.where(_gathered(where, row, column) == place, _gathered(dy, row, column), jnp.zeros_like(dx))
            dx = dx + share
    return dx, None, None


_max_between.defvjp(_max_between_fwd, _max_between_bwd)


def _taps(x: Array, rows: Array, columns: Array, overlapping: bool) -> list[Array]:
    """Return, for each place in a region in row order, the pixels that all regions have there.

    Where a region is shorter its last pixel stands again, which changes no maximum and is never the first one.
    """
    return [_gathered(x, r, c) for r in _places(rows, overlapping) for c in _places(columns, overlapping)]


def _places(borders: Array, overlapping: bool) -> list[Array]:
    start, last = borders[:, :-1], borders[:, 1:] - int(not overlapping)
    return [jnp.minimum(start + place, last) for place in range(2 + overlapping)]


def _gathered(x: Array, rows: Array, columns: Array) -> Array:
    """x[n, rows, columns, c] of each image by indices [g, p] and [g, q]: [n, p, q, c]."""
    n, h, w, c = x.shape
    shape = (n, rows.shape[1], columns.shape[1], c)
    at = (rows[:, :, None] * w + columns[:, None]).reshape(len(rows), -1)
    pixels = x.reshape(n, h * w, c)
    if len(rows) == 1:
        return pixels.at[:, at[0]].get(mode="promise_in_bounds").reshape(shape)
    return jax.vmap(lambda image, i: image.at[i].get(mode="promise_in_bounds"))(pixels, at).reshape(shape)


def _first_maximum(taps: list[Array]) -> Array:
    """The place of the first maximum, int8; a NaN is the maximum of its region."""
    best, where = taps[0], jnp.zeros(taps[0].shape, jnp.int8)
    for place, pixels in enumerate(taps[1:], 1):
        better = (pixels > best) | ((pixels != pixels) & (best == best))
        best, where = jnp.where(better, pixels, best), jnp.where(better, jnp.int8(place), where)
    return where


def _regions_of_pixels(borders: Array, size: int, overlapping: bool) -> list[tuple[Array, Array]]:
    """The regions that each pixel of an axis lies in and its place there, both [g, size]; a place < 0 says in none."""
    pixel = jnp.arange(size, dtype=jnp.int32)[None]
    region = (pixel[:, :, None] >= borders[:, None, 1:-1]).sum(-1, dtype=jnp.int32)
    start = jnp.take_along_axis(borders, region, 1)
    if not overlapping:
        return [(region, pixel - start)]
    before = jnp.maximum(region - 1, 0)
    is_border = (region > 0) & (pixel == start)
    place = jnp.where(is_border, pixel - jnp.take_along_axis(borders, before, 1), -1)
    return [(region, pixel - start), (before, place)]
