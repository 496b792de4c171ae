"""Batch normalisation, with the ReLU and the residual sum that usually follow it."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from cs231n_jax.ops.precision import at_least_float32


def batch_norm(
    x: Float[Array, "*n c"],
    scale: Float[Array, " c"],
    bias: Float[Array, " c"],
    *,
    eps: float,
    relu: bool = False,
    residual: Float[Array, "*n c"] | None = None,
) -> tuple[Float[Array, "*n c"], Float[Array, " c"], Float[Array, " c"]]:
    """Normalise every channel by the mean and variance of this batch.

    y = (x − mean) / √(var + eps) · scale + bias, then + residual, then max(·, 0) if `relu`.

    Args:
        x: [..., c], float; the statistics are taken over all axes but the last.
        scale: γ [c].
        bias: β [c].
        eps: added to the variance, > 0.
        relu: whether to rectify the result.
        residual: added before the rectifier; shape and dtype of x.

    Returns:
        y in the dtype of x, mean [c] and the biased variance [c], both at least float32.

    Reference: Ioffe & Szegedy 2015, Algorithm 1.
    """
    wide = at_least_float32(x.dtype)
    axes = tuple(range(x.ndim - 1))
    mean = x.astype(wide).mean(axes)
    var = jnp.square(x.astype(wide) - _over(mean, x)).mean(axes)
    y = normalize(x, mean, var, scale, bias, eps=eps, relu=relu, residual=residual)
    return y, mean, var


def normalize(
    x: Float[Array, "*n c"],
    mean: Float[Array, " c"],
    var: Float[Array, " c"],
    scale: Float[Array, " c"],
    bias: Float[Array, " c"],
    *,
    eps: float,
    relu: bool = False,
    residual: Float[Array, "*n c"] | None = None,
) -> Float[Array, "*n c"]:
    """Normalise every channel by given statistics (inference).

    y = (x − mean) / √(var + eps) · scale + bias, then + residual, then max(·, 0) if `relu`.

    Args:
        x: [..., c], float.
        mean: [c].
        var: [c], ≥ 0.
        scale: γ [c].
        bias: β [c].
        eps: added to the variance, > 0.
        relu: whether to rectify the result.
        residual: added before the rectifier; shape and dtype of x.

    Returns:
        y in the dtype and shape of x, computed in at least float32.

    Reference: Ioffe & Szegedy 2015, Algorithm 2.
    """
    wide = at_least_float32(x.dtype)
    mean, var, scale, bias = (a.astype(wide) for a in (mean, var, scale, bias))
    factor = scale * lax.rsqrt(var + eps)
    y = (x.astype(wide) - _over(mean, x)) * _over(factor, x) + _over(bias, x)
    if residual is not None:
        y = y + residual.astype(wide)
    if relu:
        y = jnp.where(y <= 0, jnp.zeros_like(y), y)  # a NaN stays a NaN
    return y.astype(x.dtype)


def _over(per_channel: Array, x: Array) -> Array:
    """Repeat one number a channel over the shape of x."""
    return lax.broadcast_in_dim(per_channel, x.shape, (x.ndim - 1,))
