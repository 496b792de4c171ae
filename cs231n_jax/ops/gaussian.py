"""Mean of an activation function of a normal variable: E a(u), u ~ N(mean, var), without drawing.

What DropConnect does at inference (`dropconnect.moments`). The lecture's activations have a closed form here, so that
none of them needs a key; `quadrature` and `sample` are for any other function.

Reference: Wan, Zeiler, Zhang, LeCun, Fergus 2013, "Regularization of Neural Networks using DropConnect", section 3.2.
*Deviation*: the paper draws 1000 samples of u a unit; the closed forms are what that mean tends to.

Below Φ is the normal distribution function, φ its density, s = √var and z = mean / s. Where var is 0, E a(u) = a(mean).
Values are computed in at least float32 and returned in the dtype given.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.stats import norm
from jaxtyping import Array, Float, PRNGKeyArray

from cs231n_jax.ops import activations
from cs231n_jax.ops.precision import at_least_float32


def _kolmogorov() -> tuple[np.ndarray, np.ndarray]:
    """Scales 2t and weights, of sum 1, of the mixture, with f(t) = 8t Σ_k (−1)^(k − 1) k² exp(−2k²t²)."""
    t, k = np.geomspace(0.2, 3.5, 20), np.arange(1, 50)[:, None]
    weights = t * 8 * t * ((-1.0) ** (k - 1) * k**2 * np.exp(-2 * k**2 * t**2)).sum(0)  # dt = t dlog t
    return 2 * t, weights / weights.sum()


_MIXTURE = tuple(zip(*(values.tolist() for values in _kolmogorov())))
_GAUSS = [((1.0 + float(x)) / 2.0, float(weight) / 2.0) for x, weight in zip(*np.polynomial.legendre.leggauss(4))]
_points, _weights = np.polynomial.hermite_e.hermegauss(48)
_HERMITE = np.stack((_points, _weights / np.sqrt(2 * np.pi)), 1)
_ROOT_2 = 2.0**0.5


def identity(mean: Float[Array, "*n"], var: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Return E u = mean."""
    del var
    return mean


def relu(mean: Float[Array, "*n"], var: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Return E max(u, 0) = mean·Φ(z) + s·φ(z), exactly; derivatives Φ(z) and φ(z) / 2s.

    Args:
        mean: float.
        var: at least 0, same shape and dtype.
    """
    return _relu(*_wide(mean, var)).astype(mean.dtype)


def leaky_relu(mean: Float[Array, "*n"], var: Float[Array, "*n"], slope: float = 0.01) -> Float[Array, "*n"]:
    """Return E leaky_relu(u) = slope·mean + (1 − slope)·E max(u, 0), exactly.

    Args:
        mean: float.
        var: at least 0, same shape and dtype.
        slope: as in `activations.leaky_relu`.
    """
    wide, wide_var = _wide(mean, var)
    return (slope * wide + (1.0 - slope) * _relu(wide, wide_var)).astype(mean.dtype)


def prelu(mean: Float[Array, "*n c"], var: Float[Array, "*n c"], slope: Float[Array, " c"]) -> Float[Array, "*n c"]:
    """Return E prelu(u) = slope·mean + (1 − slope)·E max(u, 0), exactly, with a learned slope for each channel.

    Args:
        mean: [..., c], float.
        var: at least 0, same shape and dtype.
        slope: [c], float.
    """
    wide, wide_var = _wide(mean, var)
    slope = lax.broadcast_in_dim(slope.astype(wide.dtype), mean.shape, (mean.ndim - 1,))
    return (slope * wide + (1.0 - slope) * _relu(wide, wide_var)).astype(mean.dtype)


def elu(mean: Float[Array, "*n"], var: Float[Array, "*n"], alpha: float = 1.0) -> Float[Array, "*n"]:
    """Return E elu(u) = E max(u, 0) + alpha·(exp(mean + var/2)·Φ(−z − s) − Φ(−z)), exactly.

    The second part is computed as Φ(−z)·expm1(mean + var/2 + log Φ(−z − s) − log Φ(−z)), whose exponent is never above
    0: exp(mean + var/2) by itself overflows. Where |mean| + s is small, the difference of logarithms has no digits left
    and the second part is computed as ∫₀¹ (mean + var·t)·exp(mean·t + var·t²/2)·Φ(−z − s·t) − s·φ(z) dt.

    Args:
        mean: float.
        var: at least 0, same shape and dtype.
        alpha: as in `activations.elu`.
    """
    wide, wide_var = _wide(mean, var)
    s, z = _standard(wide, wide_var)
    exponent = wide + 0.5 * jnp.square(s) + norm.logcdf(-z - s) - norm.logcdf(-z)
    negative = norm.cdf(-z) * jnp.expm1(jnp.minimum(exponent, jnp.zeros_like(exponent)))
    small = jnp.abs(wide) + s < 0.25
    negative = jnp.where(small, _small_exponential(*(jnp.where(small, x, 0.0) for x in (wide, s, z))), negative)
    spread = _relu(wide, wide_var) + alpha * negative
    return jnp.where(wide_var > 0, spread, activations.elu(wide, alpha)).astype(mean.dtype)


def _small_exponential(mean: Array, s: Array, z: Array) -> Array:
    """E min(exp(u) − 1, 0) where |mean| + s < 1/4, by four points of Gauss and Legendre: to 1e-13 of |mean| + s."""
    terms = []
    for t, weight in _GAUSS:
        slope = mean + jnp.square(s) * t
        grown = jnp.exp(mean * t + 0.5 * jnp.square(s * t))
        terms.append(weight * (slope * grown * norm.cdf(-z - s * t) - s * norm.pdf(z)))
    return functools.reduce(operator.add, terms)


def sigmoid(mean: Float[Array, "*n"], var: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Return E sigmoid(u) = Σ_k w_k·Φ(mean / √(c_k² + var)), to 5e-13 for any mean and var.

    The logistic distribution is a mixture of normal ones, sigmoid(u) = ∫ Φ(u / 2t) f(t) dt with Kolmogorov's density f,
    and the convolution of a Φ with a normal density is a Φ. The integral is the trapezoidal sum of 20 points in log t.

    Args:
        mean: float.
        var: at least 0, same shape and dtype.

    Reference: Andrews, Mallows 1974, "Scale mixtures of normal distributions", section 3; Monahan, Stefanski 1992,
    "Normal scale mixture approximations to F*(z) and computation of the logistic-normal integral".
    *Deviation* from the usual sigmoid(mean / √(1 + π·var/8)) (MacKay 1992): that is off by up to 0.018.
    """
    wide, wide_var = _wide(mean, var)
    terms = [weight * norm.cdf(wide * lax.rsqrt(scale**2 + wide_var)) for scale, weight in _MIXTURE]
    return functools.reduce(operator.add, terms).astype(mean.dtype)


def tanh(mean: Float[Array, "*n"], var: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Return E tanh(u) = 2·E sigmoid(2u) − 1 = Σ_k w_k·erf(√2·mean / √(c_k² + 4·var)), to 1e-12.

    Args:
        mean: float.
        var: at least 0, same shape and dtype.
    """
    wide, wide_var = _wide(mean, var)
    terms = [weight * lax.erf(_ROOT_2 * wide * lax.rsqrt(scale**2 + 4.0 * wide_var)) for scale, weight in _MIXTURE]
    return functools.reduce(operator.add, terms).astype(mean.dtype)


_BY_NAME: dict[str, Callable[[Array, Array], Array]] = {
    "sigmoid": sigmoid,
    "tanh": tanh,
    "relu": relu,
    "leaky_relu": leaky_relu,
    "elu": elu,
}


def get(name: str) -> Callable[[Array, Array], Array]:
    """Return the function (mean, var) -> E a(u) of the activation called `name`; `quadrature` where it has no row.

    Args:
        name: as in `activations.get`. (`prelu` has a parameter and is called directly.)

    Raises:
        ValueError: as `activations.get`.
    """
    return _BY_NAME.get(name) or functools.partial(quadrature, activations.get(name))


def quadrature(
    function: Callable[[Array], Array], mean: Float[Array, "*n"], var: Float[Array, "*n"]
) -> Float[Array, "*n"]:
    """Return E function(u) ≈ Σ_k w_k·function(mean + s·x_k), by the 48 points of Gauss and Hermite.

    Exact for polynomials up to degree 95. For others it is an approximation that falls off with var: at var ≤ 4 and
    |mean| ≤ 3 tanh is right to 1e-4, and a function with a kink, such as the rectifier, to 0.01.

    Args:
        function: any function that keeps shape and dtype.
        mean: float.
        var: at least 0, same shape and dtype.

    Reference: Abramowitz, Stegun 1964, 25.4.46.
    """
    wide, wide_var = _wide(mean, var)
    s = jnp.sqrt(wide_var)

    def add(total: Array, point: Array) -> tuple[Array, None]:
        return total + point[1].astype(wide.dtype) * function(wide + s * point[0].astype(wide.dtype)), None

    total, _ = lax.scan(add, jnp.zeros_like(wide), jnp.asarray(_HERMITE))
    return total.astype(mean.dtype)


def sample(
    key: PRNGKeyArray,
    function: Callable[[Array], Array],
    mean: Float[Array, "*n"],
    var: Float[Array, "*n"],
    *,
    count: int = 1000,
) -> Float[Array, "*n"]:
    """Return the mean of function(u) over `count` draws of u ~ N(mean, var), one draw held at a time.

    Args:
        key: PRNG key.
        function: any function that keeps shape and dtype.
        mean: float.
        var: at least 0, same shape and dtype.
        count: number of draws, at least 1; the error falls as 1 / √count.

    Raises:
        ValueError: if count is below 1.

    Reference: Wan et al. 2013, algorithm 2 (Z is count, 1000 there).
    """
    if count < 1:
        raise ValueError(f"count is {count}; at least one draw is needed.")
    wide, wide_var = _wide(mean, var)
    s = jnp.sqrt(wide_var)

    def add(total: Array, n: Array) -> tuple[Array, None]:
        u = wide + s * jax.random.normal(jax.random.fold_in(key, n), mean.shape, wide.dtype)
        return total + function(u.astype(mean.dtype)).astype(wide.dtype), None

    total, _ = lax.scan(add, jnp.zeros_like(wide), jnp.arange(count))
    return (total / count).astype(mean.dtype)


def _wide(mean: Array, var: Array) -> tuple[Array, Array]:
    dtype = at_least_float32(mean.dtype)
    return mean.astype(dtype), var.astype(dtype)


def _standard(mean: Array, var: Array) -> tuple[Array, Array]:
    """Return s and z; s is 1 where var is 0, and |z| at most 40, where Φ and φ are 0 or 1 in float64 too."""
    s = jnp.sqrt(jnp.where(var > 0, var, jnp.ones_like(var)))
    return s, jnp.clip(mean / s, -40.0, 40.0)


def _relu(mean: Array, var: Array) -> Array:
    s, z = _standard(mean, var)
    return jnp.where(var > 0, mean * norm.cdf(z) + s * norm.pdf(z), activations.relu(mean))
