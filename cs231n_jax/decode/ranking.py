"""The few largest of many."""

import jax.numpy as jnp
from jax import lax

from cs231n_jax.typing import Array

WIDTH = 32  # tokens of a chunk, or nearly: see `_dividing`
VECTOR = 8  # tokens: a chunk is a multiple of what a core compares at once
LARGE = 1024  # tokens; of fewer all are ranked


def largest(x: Array, k: int) -> tuple[Array, Array]:
    """The k largest of the last axis and their indices, [..., K]; of equal ones the first come first.

    It is lax.top_k with a wall behind it: XLA:CPU, which has a partial sort, sorts all where it can merge a slice of
    the result into the operation, and over a large vocabulary that takes far longer.
    """
    values, indices = lax.optimization_barrier(lax.top_k(x, k))
    return values, indices


def likeliest(logits: Array, before: Array, k: int, *, large: int = LARGE, width: int = WIDTH) -> tuple[Array, Array]:
    """The k likeliest continuations of N times B hypotheses by one of V tokens; of equal ones the first come first.

        totals[n, b, v] = before[n, b] + log_softmax(logits[n·B + b])[v]

    Over a large vocabulary the totals are not made. The tokens of a hypothesis are cut into chunks, and only the k
    chunks with the largest maxima are looked into: a continuation in another chunk has at least one in each of those
    before it. The maximum of a chunk's totals is the total of its largest logit, since rounding keeps the order.

    Args:
        logits: [N·B, V].
        before: log-probabilities of the hypotheses [N, B], of the same type; −∞ where there is none.
        k: at most B·V.
        large: from how many tokens on there are chunks.
        width: tokens of a chunk, about: a width near it that divides V is taken where there is one.

    Returns:
        their totals [N, K] and their places b·V + v, int32 [N, K]; the place of a total of −∞ is any.
    """
    (n, b), v = before.shape, logits.shape[-1]
    width = _dividing(v, width)
    chunked = v >= large and b * v >= k * width
    count, width = (-(-v // width), width) if chunked else (1, v)
    filled = jnp.pad(logits, ((0, 0), (0, count * width - v)), constant_values=-jnp.inf)
    chunks = lax.optimization_barrier(filled.reshape(n, b, count, width))
    peaks = jnp.max(chunks, -1)
    top = jnp.max(peaks, -1, keepdims=True)
    norm = jnp.log(jnp.sum(jnp.exp(chunks - top[..., None]), (2, 3)))[..., None]
    parts = [top, norm, before[..., None]]
    if not chunked:
        return largest(_totals(chunks[:, :, 0], parts).reshape(n, b * v), k)
    chosen = jnp.sort(largest(_totals(peaks, parts).reshape(n, b * count), k)[1], -1)
    inside = _rows(chunks.reshape(n, b * count, width), chosen)
    totals = _totals(inside, [_rows(part, chosen // count) for part in parts])
    values, index = largest(totals.reshape(n, k * width), k)
    chunk = jnp.take_along_axis(chosen, index // width, 1)
    token = jnp.minimum(chunk % count * width + index % width, v - 1)  # what a chunk was filled with is no token
    return values, chunk // count * v + token


def _dividing(v: int, width: int) -> int:
    """Whole vectors near `width` that divide V, where there are such: then no chunk is filled, by a copy of all."""
    near = range(VECTOR * -(-width // (2 * VECTOR)), 2 * width + 1, VECTOR)
    return min((each for each in near if v % each == 0), key=lambda each: abs(each - width), default=width)


def _totals(logits: Array, parts: list[Array]) -> Array:
    top, norm, before = parts
    return logits - top - norm + before


def _rows(x: Array, index: Array) -> Array:
    """x[n, index[n, i]] for [N, K, D] and [N, I]."""
    return jnp.take_along_axis(x, index[..., None], 1)
