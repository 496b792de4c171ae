"""The steps that optimizers are made of: each turns updates into updates and keeps what it needs to know.

Every leaf is computed in float32, or in its own dtype where that is wider; updates leave in the dtype in which they
came, slots are kept in the dtype of the parameters unless `state_dtype` says otherwise. (In bfloat16 a slot that
averages over a thousand updates stands still, because each changes it by less than its last digit: give
`state_dtype=jnp.float32` there.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from cs231n_jax.optim.base import (
    GradientTransformation,
    Number,
    cast_like,
    check_range,
    check_rate,
    check_state_dtype,
    float_dtype,
    increment,
    require_params,
    scalar,
    stateless,
    widen,
    zeros_like,
)
from cs231n_jax.optim.leaves import cast, floats
from cs231n_jax.optim.masking import masked
from cs231n_jax.typing import PyTree, Schedule


def scale(factor: Number) -> GradientTransformation:
    """u ← factor·u."""
    check_range("factor", factor)

    def update(updates: PyTree, params: PyTree) -> PyTree:
        del params
        return jax.tree.map(lambda u: _times(factor, u), floats(updates))

    return stateless(update)


class LearningRateState(NamedTuple):
    """What `scale_by_learning_rate` remembers."""

    count: Int[Array, ""]  # shape=(), int32: updates done by a schedule; a constant rate needs none and stays at 0
    learning_rate: Float[Array, ""]  # shape=(), float32 (float64 under x64): the rate of the last update


def scale_by_learning_rate(learning_rate: Number | Schedule) -> GradientTransformation:
    """u ← −learning_rate(count)·u, downhill; the state tells which rate was used.

    Args:
        learning_rate: a number ≥ 0, or a schedule: updates done so far -> rate.

    Raises:
        ValueError: a negative rate.
    """
    check_rate(learning_rate)

    def init(params: PyTree) -> LearningRateState:
        floats(params)
        return LearningRateState(jnp.zeros((), jnp.int32), jnp.zeros((), float_dtype()))

    def update(updates: PyTree, state: LearningRateState, params: PyTree = None) -> tuple[PyTree, LearningRateState]:
        del params
        value = learning_rate(state.count) if callable(learning_rate) else learning_rate
        rate = jnp.asarray(value).astype(float_dtype())
        new_state = LearningRateState(increment(state.count) if callable(learning_rate) else state.count, rate)
        downhill = -rate
        return jax.tree.map(lambda u: _times(downhill, u), floats(updates)), new_state

    return GradientTransformation(init, update)


class TraceState(NamedTuple):
    """What `trace` remembers."""

    trace: PyTree  # like params: the running sum b of the momentum


def trace(
    momentum: Number, *, nesterov: bool = False, rearranged: bool = False, state_dtype: DTypeLike | None = None
) -> GradientTransformation:
    """b ← momentum·b + u, and the new b is the update.

    Before `scale_by_learning_rate` this is the momentum of torch and optax; after it, that of Sutskever.

    Args:
        momentum: in [0, 1).
        nesterov: the update is u + momentum·b instead, with the new b.
        rearranged: the update is (1 + momentum)·b − momentum·b_old, the lecture's form of Nesterov's; the same as
            `nesterov` in exact arithmetic.
        state_dtype: of b; that of the parameters by default.

    Raises:
        ValueError: momentum is out of range, state_dtype no dtype of floats, or both forms are asked for.

    Reference: Sutskever, Martens, Dahl, Hinton 2013, equations 1–4; torch.optim.SGD.
    *Deviation*: torch's `dampening` is absent; `chain(scale(1 - d), trace(momentum))` is it but for the first update,
    which torch leaves undamped.
    """
    check_range("momentum", momentum, 0.0, 1.0, open_high=True)
    check_state_dtype(state_dtype)
    if nesterov and rearranged:
        raise ValueError("nesterov and rearranged are two forms of the same update; ask for one")

    def init(params: PyTree) -> TraceState:
        return TraceState(zeros_like(params, state_dtype))

    def advance(u: Array, b: Array) -> Array:
        u, b = widen(u, b)
        return scalar(momentum, b.dtype) * b + u

    def form(u: Array, b: Array, old: Array) -> Array:
        dtype = u.dtype
        u, b, old = widen(u, b, old)
        rho = scalar(momentum, b.dtype)
        if nesterov:
            b = u + rho * b
        elif rearranged:
            b = (1 + rho) * b - rho * old
        return cast(b, dtype)

    def update(updates: PyTree, state: TraceState, params: PyTree = None) -> tuple[PyTree, TraceState]:
        del params
        updates = floats(updates)
        new = jax.tree.map(advance, updates, state.trace)
        return jax.tree.map(form, updates, new, state.trace), TraceState(cast_like(new, state.trace))

    return GradientTransformation(init, update)


def add_decayed_weights(
    weight_decay: Number, mask: PyTree | Callable[[PyTree], PyTree] | None = None
) -> GradientTransformation:
    """u ← u + weight_decay·params.

    In front of an optimizer's own step this is L2 regularisation with the loss ½·weight_decay·‖params‖², which the
    moments then see; between that step and the learning rate it is decoupled decay.

    Args:
        weight_decay: ≥ 0.
        mask: a tree of booleans like the parameters, or a function from the parameters to one; false: no decay.

    Raises:
        ValueError: a negative decay, or an update without parameters.

    Reference: Loshchilov, Hutter 2019, algorithms 1 and 2.
    """
    check_range("weight_decay", weight_decay, 0.0)

    def update(updates: PyTree, params: PyTree) -> PyTree:
        require_params(params, "add_decayed_weights")

        def decayed(u: Array, p: Array) -> Array:
            wide_u, wide_p = widen(u, p)
            return cast(wide_u + scalar(weight_decay, wide_p.dtype) * wide_p, u.dtype)

        return jax.tree.map(decayed, floats(updates), floats(params))

    everywhere = stateless(update)
    return everywhere if mask is None else masked(everywhere, mask)


def _times(factor: Number, u: Array) -> Array:
    (wide,) = widen(u)
    return cast(scalar(factor, wide.dtype) * wide, u.dtype)
