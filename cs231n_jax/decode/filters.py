"""What sampling may choose from: pure functions from logits to logits, in which −∞ means never.

They compose: `chain(temperature(0.8), top_k(40), top_p(0.9))`. The sampled distribution is softmax of the result, so
what is kept is renormalised by itself.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from cs231n_jax.decode.ranking import largest
from cs231n_jax.ops.precision import at_least_float32
from cs231n_jax.typing import Array

Filter = Callable[[Array], Array]  # logits [..., V] -> logits [..., V], at least float32

LOWEST = 1e-6  # temperature: below, float32 could not tell it from none


def temperature(value: float) -> Filter:
    """Sharpen (below 1) or flatten (above 1) the distribution: p ∝ exp(logits / value).

    Args:
        value: 0, or at least 1e-6. 0 is the limit: the largest logit alone is kept, of equal ones the first, so that
            sampling is greedy.

    Raises:
        ValueError: the value is negative, smaller than 1e-6, or not finite.
    """
    if value == 0:
        return top_k(1)
    if not LOWEST <= value < math.inf:
        allowed = f"0 (always the likeliest) or a finite number of at least {LOWEST:g}"
        raise ValueError(f"temperature is {value}; it must be {allowed}")

    def scale(logits: Array) -> Array:
        logits = _wide(logits)
        return (logits - jnp.max(logits, -1, keepdims=True)) / value  # nothing overflows

    return scale


def top_k(k: int) -> Filter:
    """Keep the k largest logits.

    Args:
        k: how many, at least 1; where there are fewer tokens, all are kept. Of equal logits the first come first, so
            that exactly k are left.

    Raises:
        ValueError: k is below 1.

    *Deviation* from transformers and torchtune, which keep all that equal the k-th.

    Reference: Fan et al. 2018, "Hierarchical Neural Story Generation", section 5.1.
    """
    if k < 1:
        raise ValueError(f"top_k is {k}; it must be at least 1, or leave it out to keep all tokens")

    def keep(logits: Array) -> Array:
        index = largest(logits, min(k, logits.shape[-1]))[1]
        return _only(logits, index, jnp.ones_like(index, bool))

    return keep


def top_p(p: float) -> Filter:
    """Keep the nucleus: the smallest set of tokens whose probability is at least p.

    The tokens are taken from the likeliest on, of equal ones the first first, until Σ P(x) ≥ p; so at least one is
    kept. p = 1 keeps all, also those that rounding would lose.

    Args:
        p: in (0, 1].

    Raises:
        ValueError: p is outside (0, 1].

    Reference: Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration", equations 2 and 3.
    """
    if not 0 < p <= 1:
        raise ValueError(f"top_p is {p}; it must lie in (0, 1], and 1 keeps all tokens")

    def keep(logits: Array) -> Array:
        logits = _wide(logits)
        order = jnp.argsort(logits, axis=-1, descending=True, stable=True)
        reached = jnp.cumsum(jax.nn.softmax(jnp.take_along_axis(logits, order, -1)), -1)
        is_first = jax.lax.broadcasted_iota(jnp.int32, logits.shape, logits.ndim - 1) == 0
        return _only(logits, order, is_first | (jnp.roll(reached, 1, -1) < p))

    return keep if p < 1 else _wide


def chain(*filters: Filter) -> Filter:
    """One filter after the other, the first first; none: the logits as they are, in at least float32."""

    def apply(logits: Array) -> Array:
        logits = _wide(logits)
        for one in filters:
            logits = one(logits)
        return logits

    return apply


def standard(temperature_value: float = 1.0, k: int = 0, p: float = 1.0) -> Filter:
    """The usual three in the usual order: temperature, then top-k, then the nucleus of what is left.

    Args:
        temperature_value: as for `temperature`.
        k: as for `top_k`; 0 leaves it out.
        p: as for `top_p`; 1 leaves it out.

    Raises:
        ValueError: one of them is out of range.
    """
    return chain(temperature(temperature_value), *([top_k(k)] if k else []), top_p(p))


def _wide(logits: Array) -> Array:
    return logits.astype(at_least_float32(logits.dtype))


def _only(logits: Array, index: Array, kept: Array) -> Array:
    """Logits, −∞ but at the `index` [..., K] of those that are `kept` [..., K]."""
    logits = _wide(logits)
    marks = jnp.zeros(logits.shape, bool)
    return jnp.where(jnp.put_along_axis(marks, index, kept, -1, inplace=False), logits, -jnp.inf)
