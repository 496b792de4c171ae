"""An LSTM run over a sequence on a CPU with states as [H, N]: what `time_loop` computes, for large weights.

A matrix product on a CPU first packs its right operand. Where states are rows, h·hidden, that is the weights, anew in
every step; turned, hiddenᵀ·hᵀ, it is the state. This pays where the weights do not stay in a cache and the examples
fill vectors. The products over all steps after the loop want rows, so that h and dz are turned back as they are made.

A layer that reads tokens, as the first one of `char_lm` does without an embedding, keeps the plain loop: its products
with the input weights are looked up before.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from cs231n_jax.ops import cells, time_loop
from cs231n_jax.ops.cells import LSTM_TURNED, Cell, over, product
from cs231n_jax.ops.time_loop import State, outer, shifted, total

Weights = tuple[Array, Array, Array, None]  # input, hidden, bias: all there

VECTOR = 8  # examples: what a core multiplies at once, or half of that
LARGE = 2**19  # hidden weights: 2 MB of float32, more than the cache next to a core


def suits(cell: Cell, x: Array, weights: time_loop.Weights) -> bool:
    """Whether the turned loop is the faster one on a CPU, from shapes alone; x [T, N, D]."""
    into, hidden, *_ = weights
    is_wide = x.dtype in (jnp.float32, jnp.float64)
    return cell is cells.LSTM and into is not None and is_wide and not x.shape[1] % VECTOR and hidden.size >= LARGE


def run(reverse: bool, x: Array, live: Array | None, weights: Weights, state: State) -> tuple[Array, State]:
    """Run an LSTM over all steps; arguments and results as of `time_loop.run`, of float32 or float64 alone."""
    return _run(reverse, x, live, weights, state)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _run(reverse: bool, x: Array, live: Array | None, weights: Weights, state: State) -> tuple:
    return _forward(reverse, x, live, weights, state)[0]


def _forward(reverse: bool, x: Array, live: Array | None, weights: Weights, state: State) -> tuple:
    into, hidden, bias, _ = weights
    both = jnp.concatenate((into, hidden)).T

    def step(state: State, inputs: tuple) -> tuple:
        x, live = inputs
        u = product(both, jnp.concatenate((x, state[0])))
        (h, c), gates = LSTM_TURNED.forward(over(bias, u, 0), u, state)
        h, c = _where(live, (h, c), state)
        return (h, c), (h.T, c, gates)

    last, (h, c, gates) = lax.scan(step, _turned(state), (jnp.swapaxes(x, 1, 2), live), reverse=reverse)
    return (h, _turned(last)), (x, live, weights, state, h, c, gates)


def _backward(reverse: bool, kept: tuple, cotangents: tuple) -> tuple:
    x, live, weights, first, h, c, gates = kept
    into, hidden, bias, _ = weights
    dhs, dlast = cotangents

    def step(d: State, inputs: tuple) -> tuple:
        dh, live, gates, old, new = inputs
        d = (d[0] + dh, d[1])
        moved = _where(live, d, (jnp.zeros_like(d[0]), jnp.zeros_like(d[1])))
        dz, (_, dc) = LSTM_TURNED.backward(gates, (None, old), (None, new), moved)
        return _where(live, (product(hidden, dz), dc), d), dz.T

    inputs = (jnp.swapaxes(dhs, 1, 2), live, gates, shifted(first[1].T, c, reverse), c)
    dfirst, dz = lax.scan(step, _turned(dlast), inputs, reverse=not reverse)
    read = jnp.concatenate((x, shifted(first[0], h, reverse)), -1)
    dboth = outer(read, dz, into)
    dweights = dboth[: len(into)], dboth[len(into) :], total(dz, bias), None
    return product(dz, into.T), None, dweights, _turned(dfirst)


_run.defvjp(_forward, _backward)


def _turned(state: State) -> State:
    return tuple(part.T for part in state)


def _where(live: Array | None, new: State, old: State) -> State:
    if live is None:
        return new
    return tuple(jnp.where(lax.broadcast_in_dim(live, a.shape, (1,)), a, b) for a, b in zip(new, old))
