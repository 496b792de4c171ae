"""Constraints that parameters satisfy after every update, by projection."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array

from cs231n_jax.optim.base import (
    GradientTransformation,
    Number,
    check_range,
    require_params,
    scalar,
    stateless,
    widen,
)
from cs231n_jax.optim.leaves import floats
from cs231n_jax.typing import PyTree


def max_norm(limit: Number) -> GradientTransformation:
    """u ← w·min(1, limit / ‖w‖₂) − params with w = params + u, a norm for each output unit.

    The incoming weights of a unit are what one index of a kernel's last axis selects: a column of a dense kernel
    [in, out], a filter of a convolution's [h, w, in, out]. Leaves of fewer than two axes, biases among them, pass
    unchanged, and so does the update of a unit that stays inside the ball. It has to be the last of a chain, behind
    the learning rate.

    Args:
        limit: c > 0, the radius of the ball; the paper takes 3 to 4.

    Returns:
        a transformation without memory that needs the parameters.

    Raises:
        ValueError: a limit that is not above 0, or an update without parameters.

    Reference: Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov 2014, section 5.1.
    *Deviation*: the paper bounds hidden units; here every kernel is bounded, the output layer's too, unless a mask or
    partition leaves it out. The constraint holds after `apply_updates` to the rounding of the parameters' dtype. A
    unit whose norm is NaN keeps its update, as in `clip_by_global_norm`.
    """
    check_range("limit", limit, 0.0, open_low=True)

    def project(u: Array, p: Array) -> Array:
        if p.ndim < 2:
            return u
        step, old = widen(u, p)
        new = old + step
        axes = tuple(range(p.ndim - 1))
        norm = jnp.sqrt(jnp.sum(jnp.square(new), axes, keepdims=True))
        bound = jnp.asarray(scalar(limit, norm.dtype)).astype(norm.dtype)
        outside = jnp.broadcast_to(norm > bound, new.shape)
        factor = jnp.broadcast_to(bound / jnp.maximum(norm, bound), new.shape)
        return jnp.where(outside, new * factor - old, step).astype(u.dtype)

    def update(updates: PyTree, params: PyTree) -> PyTree:
        require_params(params, "max_norm")
        return jax.tree.map(project, floats(updates), floats(params))

    return stateless(update)
