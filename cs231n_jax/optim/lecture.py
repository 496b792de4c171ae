"""The optimizers in the lecture's own form, names and constants.

Where the lecture notes slip (RMSProp's `+=`, Adam's step with the uncorrected moments, its count from 0) these are
the right forms; `python -m experiments.study optimizer_bugs` shows what the slips do.
"""

from __future__ import annotations

from cs231n_jax.optim import recipes
from cs231n_jax.optim.base import GradientTransformation, Number
from cs231n_jax.optim.recipes import Rate

EPS = 1e-7  # the lecture's constant everywhere


def sgd(learning_rate: Rate) -> GradientTransformation:
    """x += -learning_rate * dx."""
    return recipes.sgd(learning_rate)


def momentum(learning_rate: Rate, rho: Number = 0.9) -> GradientTransformation:
    """vx = rho * vx + dx; x += -learning_rate * vx."""
    return recipes.momentum(learning_rate, rho)


def sutskever(learning_rate: Rate, mu: Number = 0.9) -> GradientTransformation:
    """v = mu * v - learning_rate * dx; x += v: the form of the course notes."""
    return recipes.momentum(learning_rate, mu, rate_inside=True)


def nesterov(learning_rate: Rate, rho: Number = 0.9) -> GradientTransformation:
    """vx = rho * vx - learning_rate * dx; x += -rho * old_vx + (1 + rho) * vx."""
    return recipes.nesterov(learning_rate, rho, rate_inside=True)


def adagrad(learning_rate: Rate) -> GradientTransformation:
    """grad_squared += dx * dx; x += -learning_rate * dx / (sqrt(grad_squared) + 1e-7)."""
    return recipes.adagrad(learning_rate, EPS)


def rmsprop(learning_rate: Rate = 1e-2, decay_rate: Number = 0.99) -> GradientTransformation:
    """grad_squared = decay_rate * grad_squared + (1 - decay_rate) * dx * dx; then as adagrad."""
    return recipes.rmsprop(learning_rate, decay_rate, EPS)


def adam(learning_rate: Rate = 1e-3, beta1: Number = 0.9, beta2: Number = 0.999) -> GradientTransformation:
    """The full form, corrected for the start at zero with t from 1; eps = 1e-7 outside the root."""
    return recipes.adam(learning_rate, beta1, beta2, EPS)


def adam_almost(learning_rate: Rate = 1e-3, beta1: Number = 0.9, beta2: Number = 0.999) -> GradientTransformation:
    """The lecture's "Adam (almost)": no correction, and first steps up to 6.57 times as long."""
    return recipes.adam(learning_rate, beta1, beta2, EPS, bias_correction=False)
