"""Parameters that join in later: frozen until an update, trained from there on."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from cs231n_jax.optim.base import GradientTransformation, Transformation, check_count, increment, run_update
from cs231n_jax.optim.leaves import is_float0
from cs231n_jax.optim.masking import freeze
from cs231n_jax.typing import PyTree


class StartState(NamedTuple):
    """What `start_at` remembers."""

    count: Int[Array, ""]  # shape=(), int32: updates done
    inner: PyTree  # the state of the transformation


def start_at(inner: Transformation, start: int) -> GradientTransformation:
    """`inner` from update number `start` on; before it u ← 0, and the state of `inner` stays as its init made it.

    So a parameter is frozen to the last bit, as by `freeze`, and no moment or count of `inner` moves: its first update
    is number `start`, with the corrections and the rate that a schedule has for the first.

    Args:
        inner: ours or optax's.
        start: updates before it begins, ≥ 0; for 0 it is `inner`.

    Returns:
        a transformation; gradients that are not finite are nothing to it before the start.

    Raises:
        ValueError: start is no whole number, or negative.
    """
    check_count("start", start, 0)

    def init(params: PyTree) -> StartState:
        return StartState(jnp.zeros((), jnp.int32), inner.init(params))

    def update(updates: PyTree, state: StartState, params: PyTree = None, **extra: Any) -> tuple[PyTree, StartState]:
        begun = state.count >= start

        def chosen(now: Any, before: Any) -> Any:
            return now if is_float0(now) else jnp.where(begun, now, before)

        new, moved = run_update(inner, updates, state.inner, params, extra)
        still, _ = freeze().update(new, freeze().init(new))
        kept = jax.tree.map(chosen, moved, state.inner)
        return jax.tree.map(chosen, new, still), StartState(increment(state.count), kept)

    return GradientTransformation(init, update)
