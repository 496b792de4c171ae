"""A recurrent cell run over a sequence, with a derivative of its own.

What `lax.scan` would keep for its derivative is every intermediate of every step, and it would add to the gradient of
the weights in every step. Here the states and the gates are kept, and each weight's gradient is one matrix product
over all steps after the loop, which is less to compute and less to hold: `experiments.benchmark recurrent`.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from cs231n_jax.ops.cells import Cell, advance, over, product
from cs231n_jax.ops.platform import by_platform
from cs231n_jax.ops.precision import at_least_float32

State = tuple[Array, ...]  # each [N, H], h first
# input, hidden, bias, hidden_bias; without input the steps are given what the products would make of it, bias and all
Weights = tuple[Array | None, Array, Array | None, Array | None]

ALIASED = 2048  # the beginnings of rows of so many numbers, or a multiple, share a few lines of a core's cache
LINE = 16  # numbers of float32 in such a line
FEW = 16  # rows below which XLA:CPU's product for one step costs more than its share of one for all


def run(cell: Cell, reverse: bool, x: Array, live: Array | None, weights: Weights, state: State) -> tuple[Array, State]:
    """Run a cell over all steps; where `live` is False the state stands still.

    Args:
        cell: what is computed in a step.
        reverse: from the last step to the first.
        x: inputs [T, N, D]; where the weights have no input, the products with it [T, N, G·H], their bias added.
        live: [T, N], or None for everywhere.
        weights: of the products.
        state: before the first step.

    Returns:
        h after each step [T, N, H], in the place of that step; the state after the last.
    """
    return _run(cell, reverse, x, live, weights, state)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _run(cell: Cell, reverse: bool, x: Array, live: Array | None, weights: Weights, state: State) -> tuple:
    return _forward(cell, reverse, x, live, weights, state)[0]


def _forward(cell: Cell, reverse: bool, x: Array, live: Array | None, weights: Weights, state: State) -> tuple:
    """Multiply all inputs at once, or on a CPU with a batch that fills a product those of a step in that step.

    In the loop the product stays in the cache, where all of it, [T, N, G·H], is written and read again. Elsewhere each
    launch costs, so there is one product. The backward pass has one product for all steps either way.
    """
    ahead = functools.partial(_scan, cell, reverse, True)
    if x.shape[1] < FEW or weights[0] is None:
        return ahead(x, live, weights, state)
    inside = functools.partial(_scan, cell, reverse, False)
    return by_platform(x, live, weights, state, cpu=inside, default=ahead)


def _scan(
    cell: Cell, reverse: bool, ahead: bool, x: Array, live: Array | None, weights: Weights, state: State
) -> tuple:
    into, hidden, bias, hidden_bias = weights

    def projected(x: Array) -> Array:
        if into is None or bias is None:
            return x.astype(at_least_float32(x.dtype))
        z = product(x, into)
        return z + over(bias, z)

    def step(state: State, inputs: tuple) -> tuple:
        x, live = inputs
        new, saved = advance(cell, x if ahead else projected(x), state, hidden, hidden_bias)
        new = _where(live, new, state)
        return new, (new, saved)

    last, (states, saved) = lax.scan(step, state, (projected(x) if ahead else x, live), reverse=reverse)
    return (states[0], last), (x, live, weights, state, states, saved)


def _backward(cell: Cell, reverse: bool, kept: tuple, cotangents: tuple) -> tuple:
    x, live, weights, first, states, saved = kept
    into, hidden, bias, hidden_bias = weights
    narrow = first[0].dtype
    wide = at_least_float32(narrow)
    dhs, dlast = cotangents
    before = tuple(shifted(a, b, reverse) for a, b in zip(first, states))
    transposed = hidden.T

    def step(d: State, inputs: tuple) -> tuple:
        dh, live, saved, *pair = inputs
        old, new = (tuple(s.astype(wide) for s in states) for states in pair)
        d = (d[0] + dh.astype(wide), *d[1:])
        moved = _where(live, d, tuple(map(jnp.zeros_like, d)))
        dz, through = cell.backward(saved, old, new, moved)
        back = product(cell.into_hidden(dz, saved).astype(narrow), transposed)
        through = (back if through[0] is None else back + through[0], *through[1:])
        return _where(live, through, d), dz.astype(narrow)

    dlast = tuple(d.astype(wide) for d in dlast)
    dfirst, dz = lax.scan(step, dlast, (dhs, live, saved, before, states), reverse=not reverse)
    du = cell.into_hidden(dz, saved)
    dhidden_bias = None if hidden_bias is None else total(du, hidden_bias)
    dstate = tuple(d.astype(s.dtype) for d, s in zip(dfirst, first))
    dhidden = outer(before[0], du, hidden)
    if into is None:
        return dz.astype(x.dtype), None, (None, dhidden, None, dhidden_bias), dstate
    dweights = outer(x, dz, into), dhidden, total(dz, bias), dhidden_bias
    return product(dz, into.T).astype(narrow), None, dweights, dstate


_run.defvjp(_forward, _backward)


def _where(live: Array | None, new: State, old: State) -> State:
    if live is None:
        return new
    return tuple(jnp.where(lax.broadcast_in_dim(live, a.shape, (0,)), a, b) for a, b in zip(new, old))


def shifted(first: Array, states: Array, reverse: bool = False) -> Array:
    """Return the state before each step."""
    return jnp.concatenate((states[1:], first[None]) if reverse else (first[None], states[:-1]))


def outer(left: Array, right: Array, like: Array) -> Array:
    """Sum leftᵀ·right over steps and examples: one product."""
    left, right = left.reshape(-1, left.shape[-1]), right.reshape(-1, right.shape[-1])
    if right.shape[1] % ALIASED:
        return _contracted(left, right).astype(like.dtype)
    return by_platform(left, right, cpu=_apart, default=_contracted).astype(like.dtype)


def _contracted(left: Array, right: Array) -> Array:
    dtype = at_least_float32(left.dtype)
    return lax.dot_general(left, right, (((0,), (0,)), ((), ())), preferred_element_type=dtype)


def _apart(left: Array, right: Array) -> Array:
    """Return the same sums, from rows longer by a line: XLA:CPU's product packs what it reads column by column."""
    wider = lax.optimization_barrier(jnp.pad(right, ((0, 0), (0, LINE))))
    return _contracted(left, wider)[:, : right.shape[1]]


def total(d: Array, like: Array) -> Array:
    """Sum over steps and examples."""
    return d.astype(at_least_float32(d.dtype)).sum((0, 1)).astype(like.dtype)
