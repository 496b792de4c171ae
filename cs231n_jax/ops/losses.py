"""Losses, one number an example; who calls decides how to weigh and average."""

from __future__ import annotations

import math

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Integer

from cs231n_jax.ops.precision import at_least_float32


def softmax_cross_entropy(
    logits: Float[Array, "*n k"], labels: Integer[Array, "*n"], *, label_smoothing: float = 0.0
) -> Float[Array, "*n"]:
    """Return the cross-entropy of the softmax of each row of scores with a class label.

    loss = log Σ_j exp(z_j) − (1 − label_smoothing)·z_label − label_smoothing·mean_j(z_j)

    Args:
        logits: scores z [..., k], float.
        labels: class numbers [...], integer in [0, k). A label outside makes that example's loss NaN, because an
            error cannot be raised on a device.
        label_smoothing: share of the probability spread evenly over all classes, in [0, 1).

    Returns:
        [...] in at least float32.

    Raises:
        ValueError: if label_smoothing is outside [0, 1).

    Reference: Szegedy et al. 2016, section 7 (label smoothing).
    """
    if not 0.0 <= label_smoothing < 1.0:
        raise ValueError(f"label_smoothing is {label_smoothing}; it must be at least 0 and below 1.")
    z = logits.astype(at_least_float32(logits.dtype))
    classes = lax.broadcasted_iota(jnp.int32, z.shape, z.ndim - 1)
    chosen = classes == jnp.expand_dims(labels.astype(jnp.int32), -1)
    # Subtracting the maximum first keeps every exponent at or below 0; it cancels in the loss and in its derivative.
    z = z - lax.stop_gradient(z.max(-1, keepdims=True))
    # A selection and a sum instead of a gather: its derivative is elementwise, where a gather's is a slow scatter.
    target = jnp.where(chosen, z, jnp.zeros_like(z)).sum(-1)
    loss = jnp.log(jnp.exp(z).sum(-1)) - (1.0 - label_smoothing) * target
    if label_smoothing:
        loss = loss - label_smoothing * z.mean(-1)
    return jnp.where(chosen.any(-1), loss, jnp.full_like(loss, jnp.nan))


def multiclass_hinge(
    logits: Float[Array, "*n k"], labels: Integer[Array, "*n"], *, margin: float = 1.0, squared: bool = False
) -> Float[Array, "*n"]:
    """Return the loss of a multiclass support vector machine for each row of scores with a class label.

    loss = Σ_{j ≠ label} max(0, z_j − z_label + margin), or with `squared` the sum of the squares of these terms

    Args:
        logits: scores z [..., k], float.
        labels: class numbers [...], integer in [0, k). A label outside makes that example's loss NaN, because an
            error cannot be raised on a device.
        margin: by how much the score of the label has to exceed every other, ≥ 0.
        squared: L2-SVM, which minds many small violations less and one large violation more.

    Returns:
        [...] in at least float32. Where a term is exactly 0 its derivative is 0.

    Raises:
        ValueError: if margin is negative or not finite.

    Reference: Weston, Watkins 1999, "Support vector machines for multi-class pattern recognition"; the cs231n notes
    on linear classification, "Multiclass Support Vector Machine loss".
    *Deviation* from Weston and Watkins, whose margin is 2, and from torch's `MultiMarginLoss`, which divides the sum
    by the number of classes.
    """
    if not 0.0 <= margin < math.inf:
        raise ValueError(f"margin is {margin}; it must be finite and at least 0.")
    z = logits.astype(at_least_float32(logits.dtype))
    classes = lax.broadcasted_iota(jnp.int32, z.shape, z.ndim - 1)
    chosen = classes == jnp.expand_dims(labels.astype(jnp.int32), -1)
    target = jnp.where(chosen, z, jnp.zeros_like(z)).sum(-1, keepdims=True)
    excess = z - target + margin
    violation = jnp.where(chosen | (excess <= 0), jnp.zeros_like(z), excess)
    loss = (violation * violation if squared else violation).sum(-1)
    return jnp.where(chosen.any(-1), loss, jnp.full_like(loss, jnp.nan))
