"""Bounds on gradients, and what to do with those that are no numbers."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from cs231n_jax.optim.base import (
    GradientTransformation,
    Number,
    Transformation,
    all_finite,
    at_least_float32,
    cast_like,
    check_count,
    check_range,
    float_dtype,
    global_norm,
    increment,
    run_update,
    scalar,
    stateless,
)
from cs231n_jax.optim.leaves import cast, floats
from cs231n_jax.typing import PyTree


def clip_by_value(limit: Number) -> GradientTransformation:
    """g ← min(max(g, −limit), limit), element by element; NaN stays NaN.

    Args:
        limit: > 0.

    Raises:
        ValueError: a limit that is not above 0.

    Reference: torch.nn.utils.clip_grad_value_; optax.clip.
    """
    check_range("limit", limit, 0.0, open_low=True)

    def clip(g: Array) -> Array:
        bound = jnp.asarray(scalar(limit, g.dtype)).astype(g.dtype)
        return jnp.clip(g, -bound, bound)

    return stateless(lambda updates, params: jax.tree.map(clip, floats(updates)))


class ClipState(NamedTuple):
    """What `clip_by_global_norm` remembers."""

    gradient_norm: Float[Array, ""]  # shape=(), float32 (float64 under x64): before clipping
    clip_factor: Float[Array, ""]  # shape=(), the same: what gradients were multiplied by, 1 where they fit


def clip_by_global_norm(max_norm: Number, *, eps: Number = 0.0) -> GradientTransformation:
    """g ← g·min(1, max_norm / (‖g‖ + eps)), with one norm over all leaves; the state tells norm and factor.

    Args:
        max_norm: > 0.
        eps: ≥ 0; torch has 1e-6, which makes a clipped gradient a little shorter than max_norm.

    Raises:
        ValueError: a number out of range.

    Reference: Pascanu, Mikolov, Bengio 2013, algorithm 1; torch.nn.utils.clip_grad_norm_.
    *Deviation*: a gradient whose norm is NaN passes unchanged, so that the fault stays where it arose for
    `drop_nonfinite` or a person to find; optax turns one NaN into NaN everywhere. One whose norm is infinite, because
    the sum of squares overflowed, becomes zero (an infinite element NaN).
    """
    check_range("max_norm", max_norm, 0.0, open_low=True)
    check_range("eps", eps, 0.0)

    def init(params: PyTree) -> ClipState:
        del params
        return ClipState(jnp.zeros((), float_dtype()), jnp.ones((), float_dtype()))

    def update(updates: PyTree, state: ClipState, params: PyTree = None) -> tuple[PyTree, ClipState]:
        del state, params
        norm = global_norm(updates)
        limit = jnp.asarray(scalar(max_norm, norm.dtype)).astype(norm.dtype)
        fits = (norm + scalar(eps, norm.dtype) <= limit) | jnp.isnan(norm)
        total = jnp.where(fits, limit, norm + scalar(eps, norm.dtype))
        factor = limit / total  # 1 where it fits

        def clip(g: Array) -> Array:
            wide = at_least_float32(g.dtype)
            return cast(cast(g, wide) * cast(factor, wide), g.dtype)

        return jax.tree.map(clip, floats(updates)), ClipState(norm.astype(float_dtype()), factor.astype(float_dtype()))

    return GradientTransformation(init, update)


class DropState(NamedTuple):
    """What `drop_nonfinite` remembers."""

    inner: PyTree  # the state of the transformation after the last update that was kept
    dropped: Int[Array, ""]  # shape=(), int32: updates dropped since the start
    dropped_in_a_row: Int[Array, ""]  # shape=(), int32: of these, the last ones without one kept between


def drop_nonfinite(inner: Transformation, max_consecutive: int) -> GradientTransformation:
    """Drop an update whole where a gradient is NaN or infinite: zero updates, and the state inside stays as it was.

    After more than `max_consecutive` in a row nothing moves any more, finite or not, until whoever reads
    `measurements(state)["dropped_in_a_row"]` stops the run. A train step that keeps other state (batch statistics)
    has to leave that as it was, too: ask `all_finite(gradients)`. It should ask `all_finite(new state)` as well: a
    finite gradient whose square overflows a slot (1.9e19 in float32) is let through here, and Adam stands still ever
    after.

    Args:
        inner: what is done with finite gradients; weight decay belongs inside.
        max_consecutive: ≥ 0.

    Raises:
        ValueError: a number that is negative or not whole.

    *Deviation*: optax.apply_if_finite lets the non-finite update through after `max_consecutive_errors`.
    """
    check_count("max_consecutive", max_consecutive, 0)

    def init(params: PyTree) -> DropState:
        return DropState(inner.init(params), jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def update(updates: PyTree, state: DropState, params: PyTree = None, **extra: Any) -> tuple[PyTree, DropState]:
        good = all_finite(updates) & (state.dropped_in_a_row <= max_consecutive)

        # A branch, where selecting every leaf would make XLA keep a copy of the whole old state.
        def keep(updates: PyTree, inner_state: PyTree, params: PyTree) -> tuple[PyTree, PyTree]:
            new, inner_state = run_update(inner, updates, inner_state, params, extra)
            return cast_like(new, updates), inner_state

        def drop(updates: PyTree, inner_state: PyTree, params: PyTree) -> tuple[PyTree, PyTree]:
            del params
            return jax.tree.map(jnp.zeros_like, updates), inner_state

        moved, inner_state = lax.cond(good, keep, drop, updates, state.inner, params)
        return moved, DropState(
            inner_state,
            jnp.where(good, state.dropped, increment(state.dropped)),
            jnp.where(good, jnp.zeros_like(state.dropped), increment(state.dropped_in_a_row)),
        )

    return GradientTransformation(init, update)
