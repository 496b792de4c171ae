"""Penalties on the size of weights, one number for a whole tree of parameters, to be added to a mean loss."""

from __future__ import annotations

import math
from functools import reduce

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from cs231n_jax.ops.precision import at_least_float32
from cs231n_jax.typing import PyTree


def weights(params: PyTree) -> list[PyTree]:
    """Return the leaves of at least two axes: kernels, and not biases or the scale and shift of a normalisation.

    The same leaves as those of `optim.not_vectors`.
    """
    return [leaf for leaf in jax.tree.leaves(params) if jnp.ndim(leaf) >= 2]


def l2(params: PyTree) -> Float[Array, ""]:
    """Return ½·Σ w² over all elements of all leaves.

    Args:
        params: tree of float arrays w.

    Returns:
        scalar in the widest of their dtypes, at least float32; 0 for an empty tree.

    Reference: cs231n notes, "Neural Networks 2", L2 regularization: ½·strength·w², so that the gradient is strength·w.
    *Deviation* from the notes on linear classification, where the penalty is Σ w² and its gradient 2·strength·w.
    """
    return _sum([0.5 * jnp.sum(jnp.square(w)) for w in _wide(params)])


def l1(params: PyTree) -> Float[Array, ""]:
    """Return Σ |w| over all elements of all leaves; the derivative at w = 0 is 0.

    Args:
        params: tree of float arrays w.

    Returns:
        scalar in the widest of their dtypes, at least float32; 0 for an empty tree.

    Reference: cs231n notes, "Neural Networks 2", L1 regularization; Tibshirani 1996.
    """
    # jnp.abs has the slope 1 at 0.
    return _sum([jnp.sum(w * lax.stop_gradient(jnp.sign(w))) for w in _wide(params)])


def elastic(params: PyTree, *, l1_strength: float = 0.0, l2_strength: float = 0.0) -> Float[Array, ""]:
    """Return l1_strength·Σ |w| + l2_strength·½·Σ w² over all elements of all leaves.

    Args:
        params: tree of float arrays w.
        l1_strength: ≥ 0; with 0 that part is not computed.
        l2_strength: ≥ 0; with 0 that part is not computed.

    Returns:
        scalar in the widest of their dtypes, at least float32; 0 for an empty tree.

    Raises:
        ValueError: if a strength is negative or not finite.

    Reference: Zou, Hastie 2005, "Regularization and variable selection via the elastic net", equation 3.
    *Deviation*: the factor ½ of `l2`, as in the cs231n notes.
    """
    for name, strength in (("l1_strength", l1_strength), ("l2_strength", l2_strength)):
        if not 0.0 <= strength < math.inf:
            raise ValueError(f"{name} is {strength}; it must be finite and at least 0.")
    parts = [(l1_strength, l1), (l2_strength, l2)]
    return _sum([strength * penalty(params) for strength, penalty in parts if strength])


def _wide(params: PyTree) -> list[Array]:
    leaves = jax.tree.leaves(params)
    dtype = max((at_least_float32(w.dtype) for w in leaves), key=lambda d: d.itemsize, default=None)
    return [w.astype(dtype) for w in leaves]


def _sum(parts: list[Array]) -> Array:
    return reduce(jnp.add, parts) if parts else jnp.zeros((), jnp.float32)
