"""Activation functions whose values and derivatives stay finite for any finite input."""

from __future__ import annotations

import difflib
from collections.abc import Callable

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def sigmoid(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Return 1 / (1 + exp(−x)); derivative y·(1 − y), at most ¼ and zero where |x| is large."""
    return lax.logistic(x)


def tanh(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Return tanh(x) = 2·sigmoid(2x) − 1; derivative 1 − y², at most 1 and zero where |x| is large."""
    return lax.tanh(x)


def relu(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Return max(x, 0); derivative 1 for x > 0, else 0.

    At 0 the derivative is 0, as in torch and jax.nn; `jnp.maximum(x, 0)` would give ½. A NaN stays a NaN.

    Reference: Krizhevsky et al. 2012, section 3.1.
    """
    return jnp.where(x <= 0, jnp.zeros_like(x), x)


def leaky_relu(x: Float[Array, "*n"], slope: float = 0.01) -> Float[Array, "*n"]:
    """Return x for x > 0, else slope·x; derivative 1 for x > 0, else slope (at 0 too).

    Reference: Maas et al. 2013, section 2.
    """
    return jnp.where(x > 0, x, slope * x)


def prelu(x: Float[Array, "*n c"], slope: Float[Array, " c"]) -> Float[Array, "*n c"]:
    """Return x for x > 0, else slope·x with a learned slope for each channel.

    Derivatives: 1 or slope for x, as in `leaky_relu`; Σ min(x, 0)·dy for the slope, summed in the slope's dtype.

    Args:
        x: [..., c], float.
        slope: [c], of the same dtype or, for bfloat16 images, in float32; usually starts at 0.25.

    Returns:
        the result in the dtype of x.

    Reference: He et al. 2015 ("Delving deep into rectifiers"), equations 1 and 4.
    """
    slopes = lax.broadcast_in_dim(slope, x.shape, (x.ndim - 1,)).astype(x.dtype)
    return jnp.where(x > 0, x, slopes * x)


def elu(x: Float[Array, "*n"], alpha: float = 1.0) -> Float[Array, "*n"]:
    """Return x for x > 0, else alpha·(exp(x) − 1); derivative 1 for x > 0, else y + alpha.

    The exponent is cut off at 0 before it is taken: of a `where` both sides are differentiated, and on the side that
    is not used exp(x) would overflow, and 0·∞ is NaN.

    Reference: Clevert et al. 2016, equation 15.
    """
    negative = jnp.where(x > 0, jnp.zeros_like(x), x)
    return jnp.where(x > 0, x, alpha * lax.expm1(negative))


_BY_NAME: dict[str, Callable] = {
    "sigmoid": sigmoid,
    "tanh": tanh,
    "relu": relu,
    "leaky_relu": leaky_relu,
    "elu": elu,
}


NAMES = (*_BY_NAME, "prelu")


def get(name: str) -> Callable[[Array], Array]:
    """Return the activation function called `name`.

    Args:
        name: sigmoid, tanh, relu, leaky_relu or elu. (`prelu` has a parameter: it is called directly, and models
            with activation="prelu" own its slopes.)

    Raises:
        ValueError: for any other name; the nearest right one is suggested.
    """
    if name in _BY_NAME:
        return _BY_NAME[name]
    if name == "prelu":
        raise ValueError("prelu has a learned slope, so it has no one-argument form; call activations.prelu(x, slope).")
    near = difflib.get_close_matches(name, _BY_NAME, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"There is no activation {name!r}; choose one of {', '.join(_BY_NAME)}.{hint}")
