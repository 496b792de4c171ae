"""What an optimizer did in its last update, kept in its state and read from there."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from cs231n_jax.optim.base import GradientTransformation, float_dtype, global_norm, require_params, square_sum
from cs231n_jax.typing import PyTree

NAMES = ("learning_rate", "gradient_norm", "clip_factor", "update_ratio", "dropped", "dropped_in_a_row")


class NormState(NamedTuple):
    """What `measure_gradient_norm` remembers."""

    gradient_norm: Float[Array, ""]  # shape=(), float32 (float64 under x64): of the last update


def measure_gradient_norm() -> GradientTransformation:
    """Updates pass unchanged; the state tells ‖g‖ over all leaves. `clip_by_global_norm` does this by itself.

    The norm is not computed again where the caller gives it to the update, as `gradient_norm=`.
    """

    def init(params: PyTree) -> NormState:
        del params
        return NormState(jnp.zeros((), float_dtype()))

    def update(
        updates: PyTree, state: NormState, params: PyTree = None, gradient_norm: Array | None = None
    ) -> tuple[PyTree, NormState]:
        del state, params
        norm = global_norm(updates) if gradient_norm is None else gradient_norm
        return updates, NormState(norm.astype(float_dtype()))

    return GradientTransformation(init, update)


class RatioState(NamedTuple):
    """What `measure_update_ratio` remembers."""

    update_ratio: Float[Array, ""]  # shape=(), float32 (float64 under x64): of the last update


def measure_update_ratio() -> GradientTransformation:
    """Updates pass unchanged; the state tells ‖update‖ / ‖params‖ over all leaves. The last part of a chain.

    While all parameters are zero it tells ‖update‖. It costs more than an update: on two CPU cores and 25.6 million
    parameters momentum takes 2.3 times as long with it, and 1.2 times with the gradient's norm
    (docs/benchmarks/optimizers.md).

    Reference: the cs231n notes, "Ratio of weights:updates": about 1e-3 is healthy.
    """

    def init(params: PyTree) -> RatioState:
        del params
        return RatioState(jnp.zeros((), float_dtype()))

    def update(updates: PyTree, state: RatioState, params: PyTree = None) -> tuple[PyTree, RatioState]:
        del state
        require_params(params, "measure_update_ratio")
        moved, size = square_sum(updates).astype(float_dtype()), square_sum(params).astype(float_dtype())
        return updates, RatioState(jnp.sqrt(moved / jnp.where(size > 0, size, 1)))

    return GradientTransformation(init, update)


def measurements(state: PyTree) -> dict[str, Array]:
    """The numbers that the parts of an optimizer's state tell about its last update, wherever they are nested.

    Args:
        state: the state of any transformation, ours or one around ours.

    Returns:
        some of learning_rate, gradient_norm, clip_factor, update_ratio, dropped and dropped_in_a_row; where several
        parts tell the same, as under a `partition`, those inside a dict are named "learning_rate/NAME".
    """
    found: dict[str, dict[str, Array]] = {}
    _collect(state, "", found)
    named = ((name, group, x) for name, groups in found.items() for group, x in groups.items())
    return {name if len(found[name]) == 1 else name + group: x for name, group, x in named}


def _collect(state: Any, group: str, found: dict[str, dict[str, Array]]) -> None:
    if isinstance(state, dict):
        for name, part in state.items():
            _collect(part, f"{group}/{name}", found)
    elif hasattr(state, "_fields"):
        for name, part in zip(state._fields, state):
            if name in NAMES:
                found.setdefault(name, {}).setdefault(group, part)
            else:
                _collect(part, group, found)
    elif isinstance(state, tuple | list):
        for part in state:
            _collect(part, group, found)
