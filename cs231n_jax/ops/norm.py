"""Batch normalisation, with the ReLU and the residual sum that usually follow it."""

from __future__ import annotations

import functools

import jax
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

    *Deviation* from flax, whose default variance is mean(x²) − mean(x)²: that loses all digits where the mean is far
    from zero (19 % wrong at a mean of 1000 standard deviations). Here the squares are taken around the mean, in a
    second pass, which costs nothing measurable. The derivative is our own, so forward-mode differentiation of this
    function (`jax.jvp`) raises; forward over reverse (`jax.hessian`) works.
    """
    return _normalized(x, scale, bias, residual, eps, relu)


def ghost_batch_norm(
    x: Float[Array, "n *m c"],
    scale: Float[Array, " c"],
    bias: Float[Array, " c"],
    *,
    ghost: int,
    eps: float,
    relu: bool = False,
    residual: Float[Array, "n *m c"] | None = None,
) -> tuple[Float[Array, "n *m c"], Float[Array, " c"], Float[Array, " c"]]:
    """Batch normalisation of every `ghost` consecutive examples on their own: a large batch with a small one's noise.

    y = `batch_norm` of examples 0 … ghost−1, of ghost … 2·ghost−1, and so on.

    Args:
        x: [n, ..., c], float.
        scale: γ [c].
        bias: β [c].
        ghost: examples that share their statistics, ≥ 1; a divisor of n.
        eps: added to the variances, > 0.
        relu: whether to rectify the result.
        residual: added before the rectifier; shape and dtype of x.

    Returns:
        y in the dtype of x; the averages over the ghost batches of their means [c] and of their biased variances [c],
        both at least float32.

    Raises:
        ValueError: ghost does not divide n.

    Reference: Hoffer, Hubara, Soudry 2017, "Train longer, generalize better", algorithm 1.

    *Deviation*: in the paper each ghost batch moves the running statistics in turn; what is returned here is for one
    move by their average, so that a momentum means the same whatever the size of the ghost batches, and the order of
    the examples does not matter. The variance between ghost batches is in neither: training does not see it. With one
    ghost batch this is `batch_norm`.
    """
    if ghost < 1 or x.shape[0] % ghost:
        raise ValueError(
            f"ghost batches of {ghost} do not divide a batch of {x.shape[0]} examples: choose a divisor of it (of a "
            "micro-batch where gradients are accumulated)"
        )

    def parts(array: Array) -> Array:
        return array.reshape((-1, ghost, *array.shape[1:]))

    def one(x: Array, residual: Array | None) -> tuple:
        return batch_norm(x, scale, bias, eps=eps, relu=relu, residual=residual)

    y, means, variances = jax.vmap(one)(parts(x), None if residual is None else parts(residual))
    return y.reshape(x.shape), means.mean(0), variances.mean(0)


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


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _normalized(x: Array, scale: Array, bias: Array, residual: Array | None, eps: float, relu: bool) -> tuple:
    return _forward(x, scale, bias, residual, eps=eps, relu=relu)


def _normalized_fwd(x: Array, scale: Array, bias: Array, residual: Array | None, eps: float, relu: bool) -> tuple:
    y, mean, var = _forward(x, scale, bias, residual, eps=eps, relu=relu)
    has_residual = None if residual is None else ()  # what is saved must be arrays or structure
    return (y, mean, var), ((x, y if relu else None, mean, var, scale), bias, has_residual)


def _normalized_bwd(eps: float, relu: bool, saved: tuple, cotangents: tuple) -> tuple:
    del relu  # y was saved if there was one
    arrays, bias, has_residual = saved
    dx, dscale, dbias, d = _backward(arrays, cotangents, eps=eps)
    dscale, dbias = dscale.astype(arrays[-1].dtype), dbias.astype(bias.dtype)
    return dx, dscale, dbias, None if has_residual is None else d


_normalized.defvjp(_normalized_fwd, _normalized_bwd)


# Functions compiled on their own are traced and lowered once for all layers of a shape.
@functools.partial(jax.jit, static_argnames=("eps", "relu"))
def _forward(x: Array, scale: Array, bias: Array, residual: Array | None, *, eps: float, relu: bool) -> tuple:
    axes = tuple(range(x.ndim - 1))
    wide = x.astype(at_least_float32(x.dtype))
    mean = wide.mean(axes)
    var = jnp.square(wide - _over(mean, x)).mean(axes)
    # Without the barrier x − mean would be kept as an array of its own, because both the variance and y contain it.
    fixed = lax.optimization_barrier(mean)
    return normalize(x, fixed, var, scale, bias, eps=eps, relu=relu, residual=residual), mean, var


@functools.partial(jax.jit, static_argnames=("eps",))
def _backward(saved: tuple, cotangents: tuple, *, eps: float) -> tuple:
    """Differentiate all three results.

    With d = dy where y > 0, x̂ = (x − mean)·r and r = 1/√(var + eps):
    dscale = Σ d·x̂, dbias = Σ d, dresidual = d and
    dx = scale·r·(d − mean(d) − x̂·mean(d·x̂)) + dmean/N + 2·dvar·(x − mean)/N.
    """
    x, y, mean, var, scale = saved
    dy, dmean, dvar = cotangents
    axes, wide, count = tuple(range(x.ndim - 1)), mean.dtype, x.size // x.shape[-1]
    d = dy if y is None else jnp.where(y > 0, dy, jnp.zeros_like(dy))
    centred = x.astype(wide) - _over(mean, x)
    dbias = d.astype(wide).sum(axes)
    product = (d.astype(wide) * centred).sum(axes)
    r = lax.rsqrt(var + eps)
    factor = scale.astype(wide) * r
    slope = (2 * dvar - factor * r * r * product) / count
    offset = (dmean - factor * dbias) / count
    dx = d.astype(wide) * _over(factor, x) + (centred * _over(slope, x) + _over(offset, x))
    return dx.astype(x.dtype), product * r, dbias, d


def _over(per_channel: Array, x: Array) -> Array:
    """Repeat one number a channel over the shape of x."""
    return lax.broadcast_in_dim(per_channel, x.shape, (x.ndim - 1,))
