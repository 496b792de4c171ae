"""Whole optimizers, as chains of steps, in the form that torch and optax share where they agree.

`learning_rate` is a number or a schedule everywhere. What differs between frameworks is a named argument; the rows of
docs/optimizers.md say which value gives which framework.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
from jax.typing import DTypeLike

from cs231n_jax.optim.adaptive import scale_by_adagrad, scale_by_adam, scale_by_rms
from cs231n_jax.optim.base import GradientTransformation, Number, apply_updates, chain, check_range, scalar
from cs231n_jax.optim.transforms import (
    TraceState,
    add_decayed_weights,
    scale_by_learning_rate,
    trace,
)
from cs231n_jax.typing import PyTree, Schedule

Rate = Number | Schedule
Mask = PyTree | Callable[[PyTree], PyTree] | None


def sgd(learning_rate: Rate) -> GradientTransformation:
    """x ← x − learning_rate·g. Equal to torch.optim.SGD and optax.sgd."""
    return scale_by_learning_rate(learning_rate)


def momentum(
    learning_rate: Rate, momentum: Number = 0.9, *, rate_inside: bool = False, state_dtype: DTypeLike | None = None
) -> GradientTransformation:
    """b ← momentum·b + g; x ← x − learning_rate·b.

    Args:
        learning_rate: ≥ 0.
        momentum: in [0, 1).
        rate_inside: v ← momentum·v − learning_rate·g; x ← x + v instead, the form of Sutskever and of the cs231n
            notes. With a constant rate v = −learning_rate·b and the two are the same; when the rate falls, this form
            carries the old rate on.
        state_dtype: of b; that of the parameters by default.

    Reference: torch.optim.SGD and optax.sgd (momentum=…); Sutskever et al. 2013, equations 1 and 2 (rate_inside).
    """
    return _with_rate(trace(momentum, state_dtype=state_dtype), learning_rate, rate_inside)


def nesterov(
    learning_rate: Rate, momentum: Number = 0.9, *, rate_inside: bool = False, state_dtype: DTypeLike | None = None
) -> GradientTransformation:
    """b ← momentum·b + g; x ← x − learning_rate·(g + momentum·b).

    x is where the gradient is taken: the point x_ahead = x' + momentum·v of the look-ahead form
    v ← momentum·v − learning_rate·∇f(x' + momentum·v); x' ← x' + v. To run that one, whose parameters are x', use
    `momentum(rate_inside=True)` with gradients taken at `lookahead(params, state, momentum)`.

    Args:
        learning_rate: ≥ 0.
        momentum: in [0, 1).
        rate_inside: v ← momentum·v − learning_rate·g; x ← x − momentum·v_old + (1 + momentum)·v instead, the
            lecture's rearrangement; the same while the rate is constant.
        state_dtype: of b; that of the parameters by default.

    Reference: torch.optim.SGD and optax.sgd (nesterov=True); Sutskever et al. 2013, equations 3 and 4;
    Bengio, Boulanger-Lewandowski, Pascanu 2013, section 3.5 (rate_inside).
    """
    step = trace(momentum, nesterov=not rate_inside, rearranged=rate_inside, state_dtype=state_dtype)
    return _with_rate(step, learning_rate, rate_inside)


def lookahead(params: PyTree, state: PyTree, momentum: Number = 0.9) -> PyTree:
    """params + momentum·v: where the look-ahead form of Nesterov's method takes its gradient.

    Args:
        params: x'.
        state: of `momentum(…, rate_inside=True)`, possibly inside a chain.
        momentum: the same as there.

    Raises:
        ValueError: the state holds no velocity, or several; or momentum is out of range.

    Reference: Sutskever et al. 2013, equations 3 and 4.
    """
    check_range("momentum", momentum, 0.0, 1.0, open_high=True)
    found = [
        s for s in jax.tree.leaves(state, is_leaf=lambda s: isinstance(s, TraceState)) if isinstance(s, TraceState)
    ]
    if len(found) != 1:
        raise ValueError(f"the optimizer's state holds {len(found)} velocities; look-ahead needs exactly one")
    return apply_updates(params, jax.tree.map(lambda v: scalar(momentum, v.dtype) * v, found[0].trace))


def adagrad(
    learning_rate: Rate,
    eps: Number = 1e-10,
    *,
    initial_accumulator: Number = 0.0,
    eps_inside_sqrt: bool = False,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformation:
    """s ← s + g²; x ← x − learning_rate·g / (√s + eps).

    Args:
        learning_rate: ≥ 0.
        eps: ≥ 0; with 0 a gradient that was always zero gives 0 / 0.
        initial_accumulator: s before the first update, ≥ 0.
        eps_inside_sqrt: √(s + eps) in place of √s + eps, as optax.
        state_dtype: of s; that of the parameters by default.

    Reference: torch.optim.Adagrad; see `scale_by_adagrad` for how optax.adagrad differs.
    """
    step = scale_by_adagrad(
        eps, eps_inside_sqrt=eps_inside_sqrt, initial_accumulator=initial_accumulator, state_dtype=state_dtype
    )
    return chain(step, scale_by_learning_rate(learning_rate))


def rmsprop(
    learning_rate: Rate,
    decay: Number = 0.9,
    eps: Number = 1e-8,
    *,
    centered: bool = False,
    momentum: Number = 0.0,
    rate_inside: bool = False,
    initial_accumulator: Number = 0.0,
    eps_inside_sqrt: bool = False,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformation:
    """s ← decay·s + (1 − decay)·g²; x ← x − learning_rate·g / (√s + eps).

    Args:
        learning_rate: ≥ 0.
        decay: in [0, 1); torch's `alpha`, whose default is 0.99.
        eps: ≥ 0; with 0 a gradient that was always zero gives 0 / 0.
        centered: divide by the standard deviation of the gradient instead of its root mean square.
        momentum: in [0, 1); above 0: b ← momentum·b + g / (√s + eps); x ← x − learning_rate·b. A 0 of Python keeps no
            slot; of a 0 in an array, such as optax.inject_hyperparams makes, the value is not known, so it does.
        rate_inside: with momentum, b ← momentum·b + learning_rate·g / (√s + eps); x ← x − b, as optax and TensorFlow.
        initial_accumulator: s before the first update, ≥ 0.
        eps_inside_sqrt: √(s + eps) in place of √s + eps, as optax and TensorFlow.
        state_dtype: of the slots; that of the parameters by default.

    Raises:
        ValueError: a number out of range, or rate_inside without momentum.

    Reference: see `scale_by_rms`.
    """
    if rate_inside and isinstance(momentum, float | int) and momentum == 0:
        raise ValueError("rate_inside orders the rate and the momentum of rmsprop; with momentum=0.0 leave it out")
    step = scale_by_rms(
        decay,
        eps,
        centered=centered,
        eps_inside_sqrt=eps_inside_sqrt,
        initial_accumulator=initial_accumulator,
        state_dtype=state_dtype,
    )
    if isinstance(momentum, float | int) and momentum == 0:
        return chain(step, scale_by_learning_rate(learning_rate))
    return chain(step, _with_rate(trace(momentum, state_dtype=state_dtype), learning_rate, rate_inside))


def adam(
    learning_rate: Rate,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    *,
    bias_correction: bool = True,
    eps_inside_sqrt: bool = False,
    eps_uncorrected: bool = False,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformation:
    """x ← x − learning_rate·m̂ / (√v̂ + eps), with m̂ and v̂ as in `scale_by_adam`.

    Args:
        learning_rate: ≥ 0.
        b1: in [0, 1).
        b2: in [0, 1).
        eps: ≥ 0; with 0 a gradient that was always zero gives 0 / 0.
        bias_correction: off, the uncorrected moments are used.
        eps_inside_sqrt: √(v̂ + eps) in place of √v̂ + eps.
        eps_uncorrected: eps is added to √v before v is corrected, as TensorFlow and Keras.
        state_dtype: of m and v; that of the parameters by default.

    Reference: Kingma, Ba 2015, algorithm 1; equal to torch.optim.Adam and optax.adam.
    """
    step = scale_by_adam(
        b1,
        b2,
        eps,
        bias_correction=bias_correction,
        eps_inside_sqrt=eps_inside_sqrt,
        eps_uncorrected=eps_uncorrected,
        state_dtype=state_dtype,
    )
    return chain(step, scale_by_learning_rate(learning_rate))


def adamw(
    learning_rate: Rate,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    weight_decay: Number = 1e-4,
    *,
    mask: Mask = None,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformation:
    """x ← x − learning_rate·(m̂ / (√v̂ + eps) + weight_decay·x).

    Args:
        learning_rate: ≥ 0; it scales the decay too, as in torch and optax.
        b1: in [0, 1).
        b2: in [0, 1).
        eps: ≥ 0; with 0 a gradient that was always zero gives 0 / 0.
        weight_decay: ≥ 0; torch's default is 1e-2, optax's this.
        mask: which parameters decay; see `add_decayed_weights`.
        state_dtype: of m and v; that of the parameters by default.

    Reference: Loshchilov, Hutter 2019, algorithm 2; torch.optim.AdamW; optax.adamw.
    """
    return chain(
        scale_by_adam(b1, b2, eps, state_dtype=state_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


def _with_rate(step: GradientTransformation, learning_rate: Rate, rate_inside: bool) -> GradientTransformation:
    rate = scale_by_learning_rate(learning_rate)
    return chain(rate, step) if rate_inside else chain(step, rate)
