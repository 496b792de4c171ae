"""Averages of the parameters along the way, kept in the state of the optimizer."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Int

from cs231n_jax.optim.base import (
    GradientTransformation,
    Number,
    at_least_float32,
    check_count,
    check_range,
    check_state_dtype,
    float_dtype,
    increment,
    require_params,
    scalar,
)
from cs231n_jax.optim.leaves import floats
from cs231n_jax.typing import PyTree


class AverageState(NamedTuple):
    """What `track_ema` and `track_mean` remember."""

    count: Int[Array, ""]  # shape=(), int32: updates done
    average: PyTree  # like params: the average of the parameters after each update


def track_ema(decay: Number = 0.999, *, state_dtype: DTypeLike | None = None) -> GradientTransformation:
    """average ← decay·average + (1 − decay)·(params + updates); updates pass unchanged. The last part of a chain.

    The average starts as the initial parameters, so it needs no correction.

    Args:
        decay: in [0, 1); the lecture has 0.995.
        state_dtype: of the average; that of the parameters by default. In bfloat16 give float32.

    Raises:
        ValueError: decay is out of range.

    Reference: cs231n, "Polyak averaging": x_test = 0.995·x_test + 0.005·x.
    """
    check_range("decay", decay, 0.0, 1.0, open_high=True)
    return _track(lambda count: 1 - decay, state_dtype)


def track_mean(start: int = 0, *, state_dtype: DTypeLike | None = None) -> GradientTransformation:
    """The plain mean of the parameters after every update from number `start` on; until then, the parameters.

    Args:
        start: updates done before the mean begins, ≥ 0.
        state_dtype: of the average; that of the parameters by default.

    Raises:
        ValueError: a start that is negative or not whole.

    Reference: Polyak, Juditsky 1992, equation 2.
    """
    check_count("start", start, 0)
    return _track(lambda count: 1 / jnp.maximum(count - start, 1).astype(float_dtype()), state_dtype)


def average_of(state: PyTree) -> PyTree:
    """The average that `track_ema` or `track_mean` keeps, found anywhere in the state of an optimizer.

    Raises:
        ValueError: there is none, or more than one.
    """
    found = [s for s in jax.tree.leaves(state, is_leaf=_is_average) if _is_average(s)]
    if len(found) != 1:
        raise ValueError(f"the optimizer's state holds {len(found)} averages of the parameters; it must hold one")
    return found[0].average


def _is_average(state: Any) -> bool:
    return isinstance(state, AverageState)


def _track(share: Any, state_dtype: DTypeLike | None) -> GradientTransformation:
    """average ← average + share(count)·(new − average), where count is that of the update at hand, from 1."""
    check_state_dtype(state_dtype)

    def init(params: PyTree) -> AverageState:
        # A copy: the train step donates parameters and state, and a buffer can be donated once.
        return AverageState(jnp.zeros((), jnp.int32), jax.tree.map(lambda p: jnp.array(p, state_dtype), floats(params)))

    def update(updates: PyTree, state: AverageState, params: PyTree = None) -> tuple[PyTree, AverageState]:
        require_params(params, "an average of the parameters")
        count = increment(state.count)
        params = floats(params)

        def advance(u: Array, p: Array, a: Array) -> Array:
            wide = max(at_least_float32(p.dtype), at_least_float32(a.dtype), key=lambda d: d.itemsize)
            new = (p.astype(wide) + u.astype(wide)).astype(p.dtype).astype(wide)
            old = a.astype(wide)
            return (old + scalar(share(count), wide) * (new - old)).astype(a.dtype)

        return updates, AverageState(count, jax.tree.map(advance, floats(updates), params, state.average))

    return GradientTransformation(init, update)
