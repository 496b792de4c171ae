"""Attention: how much each of Q queries takes from each of L places of a memory, and what it reads there.

    weights = softmax_l(score(query_q, key_l)),   context_q = Σ_l weights_ql · value_l

The scores are products or sums of what a model makes of its states: Luong's "dot" compares states as they are,
"general" is `dot` on keys W·h_l, Bahdanau's is `additive` on W·s and U·h_l. So keys are made once a memory, whatever
number of queries follow. Rows of a beam search are queries to the same memory: nothing is repeated for them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Integer

from cs231n_jax.ops.platform import by_platform
from cs231n_jax.ops.precision import at_least_float32

TERMS = 8  # of a sum, that a CPU adds up before it writes the sum
LARGE = 2**20  # numbers of all memories: 4 MB of float32, more than the caches next to the cores


class Memory(NamedTuple):
    """What is attended to: the outputs of an encoder, or the places of an image."""

    keys: Array  # [N, L, K], what queries are compared with
    values: Array  # [N, L, D], what is read
    lengths: Array | None = None  # int32 [N], the places that there are; None: all L
    exponentials: Array | None = None  # [K, N, L], of the keys: for `additive_of_exponentials`, without a tanh


def dot(query: Float[Array, "n q k"], keys: Float[Array, "n l k"]) -> Float[Array, "n q l"]:
    """Return the inner products of queries and keys, in at least float32.

    score_ql = query_q · key_l

    Args:
        query: [N, Q, K].
        keys: [N, L, K], of the same dtype.

    Raises:
        ValueError: the widths differ.

    Reference: Luong, Pham, Manning 2015, "Effective Approaches to Attention-based Neural Machine Translation",
    equation 8: "dot", and "general" where the keys are W_a·h_l.
    """
    _check_width(query.shape[-1], keys.shape[-1])
    return lax.dot_general(query, keys, (((2,), (2,)), ((0,), (0,))), preferred_element_type=_wide(query))


def additive(
    query: Float[Array, "n q k"], keys: Float[Array, "n l k"], vector: Float[Array, " k"]
) -> Float[Array, "n q l"]:
    """Return the scores of a network of one hidden layer, in at least float32.

    score_ql = vector · tanh(query_q + key_l)

    Args:
        query: W_a·s [N, Q, K].
        keys: U_a·h_l [N, L, K], of the same dtype.
        vector: v_a [K], of the same dtype.

    Raises:
        ValueError: the widths differ.

    Reference: Bahdanau, Cho, Bengio 2015, "Neural Machine Translation by Jointly Learning to Align and Translate",
    section A.1.2.
    """
    _check_width(query.shape[-1], keys.shape[-1])
    hidden = jnp.tanh(query[:, :, None] + keys[:, None])
    return lax.dot_general(hidden, vector, (((3,), (0,)), ((), ())), preferred_element_type=_wide(query))


def exponential(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Return e^{2x}, in at least float32, for `additive_of_exponentials`.

    Args:
        x: keys or queries, of any shape.

    Reference: tanh x = (e^{2x} − 1) / (e^{2x} + 1). *Deviation*: x beyond ±0.45·log of the largest number, ±40 in
    float32, counts as this bound, so that e^{2x} and e^{−2x} are finite.
    """
    x = x.astype(at_least_float32(x.dtype))
    bound = 0.45 * math.log(jnp.finfo(x.dtype).max)
    return jnp.exp(2 * jnp.clip(x, -bound, bound))


def exponentials_by_unit(keys: Float[Array, "n l k"]) -> Float[Array, "k n l"]:
    """Return `exponential` of the keys, turned so that what a unit brings to all scores lies side by side.

    Args:
        keys: U_a·h_l [N, L, K].

    Reference: `exponential`.
    """
    return jnp.moveaxis(exponential(keys), 2, 0)


def additive_of_exponentials(
    query: Float[Array, "n q k"], exponentials: Float[Array, "k n l"], vector: Float[Array, " k"]
) -> Float[Array, "n q l"]:
    """Return what `additive` returns, for keys that many queries follow on: no tanh is taken of a pair.

    tanh(x + y) = 1 − 2·e^{−2x} / (e^{2y} + e^{−2x}), so

    score_ql = Σ_k v_k − 2·Σ_k v_k·r_qk / (exponentials_kl + r_qk),   r = exponential(−query)

    Args:
        query: W_a·s [N, Q, K].
        exponentials: `exponentials_by_unit` of the keys, [K, N, L].
        vector: v_a [K].

    Raises:
        ValueError: the widths differ.

    Reference: Bahdanau, Cho, Bengio 2015, section A.1.2. *Deviation* from `additive`: it is rounded otherwise, by about
    1e-7·Σ|v| in float32; a key beyond the bound of `exponential` counts as this bound,
    while of a query that is beyond it all keys within ±30 get what they get by tanh.
    """
    _check_width(query.shape[2], len(exponentials))
    inverse = exponential(-query)
    shares = vector.astype(inverse.dtype)[None, None] * inverse
    rest = by_platform(shares, inverse, exponentials, cpu=_one_by_one, default=_at_once)
    return vector.astype(rest.dtype).sum() - 2 * rest


def _at_once(shares: Array, inverse: Array, exponentials: Array) -> Array:
    shares, inverse = (jnp.moveaxis(x, 2, 0)[..., None] for x in (shares, inverse))
    return (shares / (exponentials[:, :, None] + inverse)).sum(0)


def _one_by_one(shares: Array, inverse: Array, exponentials: Array) -> Array:
    """Unit by unit: a loop that XLA:CPU compiles into one pass over the exponentials, in half the time of its sum."""

    def add(unit: Array, sums: Array) -> Array:
        share, one = _slice(shares, unit, 2), _slice(inverse, unit, 2)
        return sums + share / (jnp.swapaxes(_slice(exponentials, unit, 0), 0, 1) + one)

    return _sum(len(exponentials), add, (*shares.shape[:2], exponentials.shape[2]), exponentials.dtype)


def weigh(scores: Float[Array, "n q l"], lengths: Integer[Array, " n"] | None = None) -> Float[Array, "n q l"]:
    """Return the softmax of scores over the places that there are; exactly 0 elsewhere.

    Args:
        scores: [N, Q, L].
        lengths: how many of the L places there are in each memory, [N]; all by default. Where there is none, all
            weights are 0.

    Returns:
        [N, Q, L], each row with sum 1.

    Reference: Bahdanau, Cho, Bengio 2015, equation 6; Luong, Pham, Manning 2015, equation 7.
    """
    if lengths is None:
        return jax.nn.softmax(scores, axis=-1)
    there = lax.broadcasted_iota(jnp.int32, scores.shape, 2) < lengths.astype(jnp.int32)[:, None, None]
    lowest = jnp.full_like(scores, jnp.finfo(scores.dtype).min)
    return jnp.where(there, jax.nn.softmax(jnp.where(there, scores, lowest), axis=-1), jnp.zeros_like(scores))


def read(weights: Float[Array, "n q l"], values: Float[Array, "n l d"]) -> Float[Array, "n q d"]:
    """Return the weighted sums of values, summed in at least float32, in the dtype of the values.

    Args:
        weights: [N, Q, L].
        values: [N, L, D]; finite also where the weights are 0.

    Reference: Bahdanau, Cho, Bengio 2015, equation 5.
    """
    wide = weights.astype(values.dtype)
    sums = lax.dot_general(wide, values, (((2,), (1,)), ((0,), (0,))), preferred_element_type=_wide(values))
    return sums.astype(values.dtype)


def read_for_few(weights: Float[Array, "n q l"], values: Float[Array, "n l d"]) -> Float[Array, "n q d"]:
    """Return what `read` returns, for a few queries to each of many memories, faster on a CPU.

    XLA:CPU makes one small product after the other, on one core; here all memories are read place by place. Other
    platforms, a single query and little memory get `read`. *Deviation* from it: the order of the sums.

    Args:
        weights: [N, Q, L].
        values: [N, L, D]; finite also where the weights are 0.

    Reference: Bahdanau, Cho, Bengio 2015, equation 5.
    """
    if weights.shape[1] == 1 or values.size < LARGE:
        return read(weights, values)
    return by_platform(weights, values, cpu=_place_by_place, default=read)


def _place_by_place(weights: Array, values: Array) -> Array:
    wide = _wide(values)
    weights = weights.astype(values.dtype)

    def add(place: Array, sums: Array) -> Array:
        return sums + _slice(weights, place, 2).astype(wide) * _slice(values, place, 1).astype(wide)

    shape = *weights.shape[:2], values.shape[2]
    return _sum(values.shape[1], add, shape, wide).astype(values.dtype)


def _sum(count: int, add: Callable[[Array, Array], Array], shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    return lax.fori_loop(0, count, add, jnp.zeros(shape, dtype), unroll=TERMS)


def _slice(x: Array, index: Array, axis: int) -> Array:
    return lax.dynamic_slice_in_dim(x, index, 1, axis)


def _wide(x: Array) -> jnp.dtype:
    return at_least_float32(x.dtype)


def _check_width(query: int, key: int) -> None:
    if query != key:
        raise ValueError(f"queries have {query} units and keys {key}: bring them to one width, by a matrix")
