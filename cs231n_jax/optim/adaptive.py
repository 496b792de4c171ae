"""Steps that give every element a rate of its own: AdaGrad, RMSProp, Adam. Dtypes as in transforms.py."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from cs231n_jax.optim.base import (
    GradientTransformation,
    Number,
    cast_like,
    check_range,
    check_state_dtype,
    float_dtype,
    increment,
    scalar,
    widen,
    zeros_like,
)
from cs231n_jax.optim.leaves import cast, floats
from cs231n_jax.typing import PyTree


class AdagradState(NamedTuple):
    """What `scale_by_adagrad` remembers."""

    square_sum: PyTree  # like params: s, the sum of all squared gradients


def scale_by_adagrad(
    eps: Number = 1e-10,
    *,
    eps_inside_sqrt: bool = False,
    initial_accumulator: Number = 0.0,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformation:
    """s ← s + g²; u = g / (√s + eps).

    Args:
        eps: ≥ 0; with 0 a gradient that was always zero gives 0 / 0.
        eps_inside_sqrt: u = g / √(s + eps) instead.
        initial_accumulator: s before the first update, ≥ 0.
        state_dtype: of s; that of the parameters by default. Squares of gradients below 2e-4 are 0 in float16.

    Raises:
        ValueError: a number out of range.

    Reference: Duchi, Hazan, Singer 2011, figure 1 (diagonal form); torch.optim.Adagrad, whose `lr_decay` is
    `schedules.inverse_time`.
    *Deviation*: optax.adagrad starts s at 0.1 and has eps = 1e-7 inside the root.
    """
    check_range("eps", eps, 0.0)
    check_range("initial_accumulator", initial_accumulator, 0.0)
    check_state_dtype(state_dtype)

    def init(params: PyTree) -> AdagradState:
        return AdagradState(zeros_like(params, state_dtype, initial_accumulator))

    def advance(g: Array, s: Array) -> Array:
        g, s = widen(g, s)
        return s + g * g

    def form(g: Array, s: Array) -> Array:
        wide, s = widen(g, s)
        return cast(_divide_by_root(wide, s, eps, eps_inside_sqrt), g.dtype)

    def update(updates: PyTree, state: AdagradState, params: PyTree = None) -> tuple[PyTree, AdagradState]:
        del params
        updates = floats(updates)
        new = jax.tree.map(advance, updates, state.square_sum)
        return jax.tree.map(form, updates, new), AdagradState(cast_like(new, state.square_sum))

    return GradientTransformation(init, update)


class RmsState(NamedTuple):
    """What `scale_by_rms` remembers."""

    square_mean: PyTree  # like params: s, the running mean of squared gradients
    mean: PyTree  # like params: the running mean of gradients; () unless centered


def scale_by_rms(
    decay: Number = 0.9,
    eps: Number = 1e-8,
    *,
    centered: bool = False,
    eps_inside_sqrt: bool = False,
    initial_accumulator: Number = 0.0,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformation:
    """s ← decay·s + (1 − decay)·g²; u = g / (√s + eps).

    Args:
        decay: in [0, 1).
        eps: ≥ 0; with 0 a gradient that was always zero gives 0 / 0.
        centered: s − ḡ² in place of s under the root, where ḡ ← decay·ḡ + (1 − decay)·g.
        eps_inside_sqrt: u = g / √(s + eps) instead.
        initial_accumulator: s before the first update, ≥ 0.
        state_dtype: of the slots; that of the parameters by default. Squares of gradients below 2e-4 are 0 in float16.

    Raises:
        ValueError: a number out of range.

    Reference: Hinton, Coursera lecture 6e; Graves 2013, equations 38–45 (centered); torch.optim.RMSprop.
    *Deviation*: optax.rmsprop has eps inside the root; TensorFlow 1 starts s at 1 with eps = 1e-10 inside.
    """
    check_range("decay", decay, 0.0, 1.0, open_high=True)
    check_range("eps", eps, 0.0)
    check_range("initial_accumulator", initial_accumulator, 0.0)
    check_state_dtype(state_dtype)

    def init(params: PyTree) -> RmsState:
        mean = zeros_like(params, state_dtype) if centered else ()
        return RmsState(zeros_like(params, state_dtype, initial_accumulator), mean)

    def form(g: Array, s: Array, mean: Array | None = None) -> Array:
        wide, s = widen(g, s)
        if mean is not None:
            # Rounding can leave the variance of a constant gradient below zero.
            s = jnp.maximum(s - jnp.square(mean.astype(s.dtype)), 0)
        return cast(_divide_by_root(wide, s, eps, eps_inside_sqrt), g.dtype)

    def update(updates: PyTree, state: RmsState, params: PyTree = None) -> tuple[PyTree, RmsState]:
        del params
        updates = floats(updates)
        square_mean = jax.tree.map(_averaging(decay, jnp.square), updates, state.square_mean)
        if not centered:
            return jax.tree.map(form, updates, square_mean), RmsState(cast_like(square_mean, state.square_mean), ())
        mean = jax.tree.map(_averaging(decay), updates, state.mean)
        new_state = RmsState(cast_like(square_mean, state.square_mean), cast_like(mean, state.mean))
        return jax.tree.map(form, updates, square_mean, mean), new_state

    return GradientTransformation(init, update)


class AdamState(NamedTuple):
    """What `scale_by_adam` remembers."""

    count: Int[Array, ""]  # shape=(), int32: updates done
    mean: PyTree  # like params: m, the running mean of gradients
    square_mean: PyTree  # like params: v, the running mean of squared gradients


def scale_by_adam(
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    *,
    bias_correction: bool = True,
    eps_inside_sqrt: bool = False,
    eps_uncorrected: bool = False,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformation:
    """m ← b1·m + (1 − b1)·g; v ← b2·v + (1 − b2)·g²; u = m̂ / (√v̂ + eps).

    m̂ = m / (1 − b1ᵗ) and v̂ = v / (1 − b2ᵗ), where t = 1 at the first update. It is computed as
    m / ((1 − b1ᵗ)·(√v·(1 − b2ᵗ)^−½ + eps)): one root and one division an element.

    Args:
        b1: in [0, 1).
        b2: in [0, 1).
        eps: ≥ 0; with 0 a gradient that was always zero gives 0 / 0.
        bias_correction: off, m and v stand for m̂ and v̂ (the lecture's "Adam (almost)"; its first steps are up to
            6.57 times as long).
        eps_inside_sqrt: u = m̂ / √(v̂ + eps) instead; optax's `eps_root`.
        eps_uncorrected: eps is added to √v before v is corrected, as TensorFlow and Keras do (the paper's ε̂).
        state_dtype: of m and v; that of the parameters by default. Squares of gradients below 2e-4 are 0 in float16.

    Raises:
        ValueError: a number out of range, or both unusual places for eps at once.

    Reference: Kingma, Ba 2015, algorithm 1, and the end of its section 2 for ε̂; torch.optim.Adam.
    """
    check_range("b1", b1, 0.0, 1.0, open_high=True)
    check_range("b2", b2, 0.0, 1.0, open_high=True)
    check_range("eps", eps, 0.0)
    check_state_dtype(state_dtype)
    if eps_inside_sqrt and eps_uncorrected:
        raise ValueError("eps_inside_sqrt and eps_uncorrected each say where eps goes; choose one")

    def init(params: PyTree) -> AdamState:
        return AdamState(jnp.zeros((), jnp.int32), zeros_like(params, state_dtype), zeros_like(params, state_dtype))

    def update(updates: PyTree, state: AdamState, params: PyTree = None) -> tuple[PyTree, AdamState]:
        del params
        updates = floats(updates)
        count = increment(state.count)
        mean = jax.tree.map(_averaging(b1), updates, state.mean)
        square_mean = jax.tree.map(_averaging(b2, jnp.square), updates, state.square_mean)
        one = jnp.ones((), float_dtype())
        c1, c2 = (_one_minus_power(b1, count), _one_minus_power(b2, count)) if bias_correction else (one, one)
        root_c2 = jnp.sqrt(c2)
        outer, inner = (c1 / root_c2, one) if eps_uncorrected else (c1, 1 / root_c2)

        def form(g: Array, m: Array, v: Array) -> Array:
            if eps_inside_sqrt:
                root = jnp.sqrt(v / cast(c2, v.dtype) + scalar(eps, v.dtype))
            else:
                root = cast(inner, v.dtype) * jnp.sqrt(v) + scalar(eps, v.dtype)
            return cast(m / (cast(outer, v.dtype) * root), g.dtype)

        new_state = AdamState(count, cast_like(mean, state.mean), cast_like(square_mean, state.square_mean))
        return jax.tree.map(form, updates, mean, square_mean), new_state

    return GradientTransformation(init, update)


def _averaging(decay: Number, power: Callable[[Array], Array] = lambda g: g) -> Callable[[Array, Array], Array]:
    """(g, mean) -> decay·mean + (1 − decay)·power(g)."""

    def advance(g: Array, mean: Array) -> Array:
        g, mean = widen(g, mean)
        rest = scalar(1 - decay, mean.dtype)
        return scalar(decay, mean.dtype) * mean + rest * power(g)

    return advance


def _divide_by_root(g: Array, square: Array, eps: Number, eps_inside_sqrt: bool) -> Array:
    eps = scalar(eps, g.dtype)
    if eps_inside_sqrt:
        return g / jnp.sqrt(square + eps)
    return g / (jnp.sqrt(square) + eps)


def _one_minus_power(decay: Number, count: Int[Array, ""]) -> Float[Array, ""]:
    """1 − decayᵗ without cancellation: in float32 the plain form is wrong by 5e-5 at t = 1 for 0.999."""
    exponent = count.astype(float_dtype())
    if isinstance(decay, Array):
        power = exponent * jnp.log(decay).astype(float_dtype())
    elif decay == 0:
        return jnp.ones((), float_dtype())
    else:
        power = exponent * math.log(decay)
    return -jnp.expm1(power)
