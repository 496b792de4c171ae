"""The loop of a layer that reads from a memory at every step, with a derivative of its own.

What `lax.scan` would keep for its derivative is the hidden layer of the scores, [L, A] for every row and step: at 14×14
places, 512 units, 64 rows and 20 steps half a gigabyte. Here it is computed again, which takes less time than to write
and read it. The gradients of the weights and of the values are products over all steps after the loop, those of the
keys and of the vector of the scores a loop of their own: `experiments.benchmark captioning`.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from cs231n_jax.ops import attention
from cs231n_jax.ops.attention import Memory
from cs231n_jax.ops.cells import Cell, advance, over, product
from cs231n_jax.ops.precision import at_least_float32
from cs231n_jax.ops.time_loop import State, outer, shifted, total


class Weights(NamedTuple):
    """Parameters of a step."""

    context: Array  # [D, G·H]
    hidden: Array  # [H, G·H]
    hidden_bias: Array | None  # [G·H]
    query: Array  # W_a [H, A]
    vector: Array  # v_a [A]
    gate: Array | None  # [H, 1]
    gate_bias: Array | None  # [1]


class _Look(NamedTuple):
    """What is read before a step; M = N·B rows."""

    query: Array  # [N, B, A]
    alpha: Array  # [N, B, L]
    read: Array  # Σ_l α_l·value_l [M, D]
    beta: Array | None  # [M, 1]
    context: Array  # β·read


class _Step(NamedTuple):
    """What a step leaves for the derivative; M = N·B rows."""

    state: State  # after it, each [M, H]
    cell: Array | None  # saved by the cell
    query: Array  # [N, B, A]
    alpha: Array  # [N, B, L]
    read: Array  # Σ_l α_l·value_l [M, D]
    beta: Array | None  # [M, 1]


def run(cell: Cell, ahead: Array, weights: Weights, state: State, memory: Memory) -> tuple[Array, Array, Array, State]:
    """Run all steps.

    Args:
        cell: what is computed in a step.
        ahead: [T, M, G·H], the products of the inputs, bias added; M = N·B.
        weights: of the rest.
        state: before the first step.
        memory: of N rows.

    Returns:
        h [T, M, H], the contexts [T, M, D] and α [T, M, L] of each step; the last state.

    Reference: `attentive.attentive`, whose loop this is.
    """
    return _run(cell, ahead, weights, state, memory.keys, memory.values, memory.lengths)


def decode(
    cell: Cell, x: Array, into: Array, bias: Array, weights: Weights, state: State, memory: Memory
) -> tuple[Array, Array, Array, State]:
    """Run all steps as `run` does, with a memory that has `exponentials`.

    The input and the context are multiplied in one product: of two, XLA:CPU copies the weights in every step. The
    derivative is jax's, of all that is kept for it.

    Args:
        cell: what is computed in a step.
        x: inputs [T, M, E].
        into: weights of inputs and, below them, of the context, [E + D, G·H].
        bias: of the products with them [G·H].
        weights: of the rest; `context` is not read.
        state: before the first step.
        memory: of N rows, with `exponentials`.

    Returns:
        as `run`.

    Reference: `attentive.attentive`.
    """

    def step(state: State, x: Array) -> tuple[State, tuple[Array, Array, Array]]:
        look = _look(weights, state[0], memory)
        z = product(jnp.concatenate((x, look.context), 1), into)
        new, _ = advance(cell, z + over(bias, z), state, weights.hidden, weights.hidden_bias)
        return new, (new[0], look.context, look.alpha.reshape(len(x), -1))

    last, steps = lax.scan(step, state, x)
    return *steps, last


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _run(
    cell: Cell, ahead: Array, weights: Weights, state: State, keys: Array, values: Array, lengths: Array | None
) -> tuple:
    return _forward(cell, ahead, weights, state, keys, values, lengths)[0]


def _forward(
    cell: Cell, ahead: Array, weights: Weights, first: State, keys: Array, values: Array, lengths: Array | None
) -> tuple:
    rows = ahead.shape[1]

    def step(state: State, z: Array) -> tuple[State, tuple[Array, _Step]]:
        look = _look(weights, state[0], Memory(keys, values, lengths))
        z = z + product(look.context, weights.context)
        new, saved = advance(cell, z, state, weights.hidden, weights.hidden_bias)
        return new, (look.context, _Step(new, saved, look.query, look.alpha, look.read, look.beta))

    last, (contexts, steps) = lax.scan(step, first, ahead)
    outputs = steps.state[0], contexts, steps.alpha.reshape(len(ahead), rows, -1), last
    return outputs, (weights, first, keys, values, contexts, steps)


def _backward(cell: Cell, kept: tuple, cotangents: tuple) -> tuple:
    weights, first, keys, values, contexts, steps = kept
    narrow, wide = keys.dtype, at_least_float32(keys.dtype)
    dhs, dcontexts, dalphas, dlast = cotangents
    before = tuple(shifted(a, b) for a, b in zip(first, steps.state))
    transposed = jax.tree.map(jnp.transpose, weights)

    def step(d: State, inputs: tuple) -> tuple:
        dh, dcontext, dalpha, old, done = inputs
        moved = (d[0] + dh.astype(wide), *d[1:])
        states = (tuple(s.astype(wide) for s in state) for state in (old, done.state))
        dz, through = cell.backward(done.cell, *states, moved)
        back = product(cell.into_hidden(dz, done.cell).astype(narrow), transposed.hidden)
        dcontext = dcontext.astype(wide) + product(dz.astype(narrow), transposed.context)
        dread, dbeta = _through_gate(done, dcontext)
        dscores = _through_softmax(done.alpha, dalpha, dread.astype(narrow), values)
        dquery = _of_queries(dscores, done.query, keys, weights.vector).reshape(len(dh), -1)
        back = back + product(dquery.astype(narrow), transposed.query)
        if dbeta is not None:
            back = back + product(dbeta.astype(narrow), transposed.gate)
        through = (back if through[0] is None else back + through[0], *through[1:])
        found = (dz, dread, dquery, *(() if dbeta is None else (dbeta,)))
        return through, (dscores, *(each.astype(narrow) for each in found))

    dlast = tuple(d.astype(wide) for d in dlast)
    inputs = dhs, dcontexts, dalphas, before, steps
    dfirst, (dscores, dz, dread, dquery, *dbeta) = lax.scan(step, dlast, inputs, reverse=True)
    du = cell.into_hidden(dz, steps.cell)
    dkeys, dvector = _of_memory(dscores, steps.query, keys, weights.vector)
    dweights = Weights(
        context=outer(contexts, dz, weights.context),
        hidden=outer(before[0], du, weights.hidden),
        hidden_bias=None if weights.hidden_bias is None else total(du, weights.hidden_bias),
        query=outer(before[0], dquery, weights.query),
        vector=dvector,
        **_of_gate(weights, before[0], dbeta),
    )
    dstate = tuple(d.astype(s.dtype) for d, s in zip(dfirst, first))
    return dz.astype(wide), dweights, dstate, dkeys, _of_values(steps.alpha, dread, values), None


_run.defvjp(_forward, _backward)


def _look(weights: Weights, h: Array, memory: Memory) -> _Look:
    keys, values, lengths, exponentials = memory
    query = product(h, weights.query).astype(keys.dtype).reshape(len(keys), -1, keys.shape[-1])
    if exponentials is None:
        alpha = attention.weigh(attention.additive(query, keys, weights.vector), lengths)
        read = attention.read(alpha, values)
    else:
        alpha = attention.weigh(attention.additive_of_exponentials(query, exponentials, weights.vector), lengths)
        read = attention.read_for_few(alpha, values)
    read, beta = read.reshape(len(h), -1), _beta(weights, h)
    return _Look(query, alpha, read, beta, read if beta is None else beta.astype(read.dtype) * read)


def _beta(weights: Weights, h: Array) -> Array | None:
    """[M, H] -> [M, 1], in at least float32."""
    if weights.gate is None or weights.gate_bias is None:
        return None
    z = product(h, weights.gate)
    return jax.nn.sigmoid(z + over(weights.gate_bias, z))


def _through_gate(done: _Step, dcontext: Array) -> tuple[Array, Array | None]:
    """From the context [M, D] to what was read, and to what the gate's σ is of [M, 1]."""
    if done.beta is None:
        return dcontext, None
    dbeta = (dcontext * done.read.astype(dcontext.dtype)).sum(1, keepdims=True)
    return dcontext * done.beta, dbeta * done.beta * (1 - done.beta)


def _of_gate(weights: Weights, h: Array, dbeta: list[Array]) -> dict[str, Array | None]:
    """The gradients of the gate's weights and bias, from all steps, where there is a gate."""
    if weights.gate is None or weights.gate_bias is None:
        return {"gate": None, "gate_bias": None}
    return {"gate": outer(h, dbeta[0], weights.gate), "gate_bias": total(dbeta[0], weights.gate_bias)}


def _through_softmax(alpha: Array, dalpha: Array, dread: Array, values: Array) -> Array:
    """From what was read [M, D], and from α itself [M, L], to the scores [N, B, L]."""
    dread = dread.reshape(*alpha.shape[:2], -1)
    d = lax.dot_general(dread, values, (((2,), (2,)), ((0,), (0,))), preferred_element_type=alpha.dtype)
    d = (d + dalpha.reshape(d.shape)) * alpha
    return d - alpha * d.sum(-1, keepdims=True)


def _hidden(query: Array, keys: Array) -> Array:
    """The hidden layer of the scores, [N, B, L, A]."""
    return jnp.tanh(query[:, :, None] + keys[:, None]).astype(at_least_float32(keys.dtype))


def _of_queries(dscores: Array, query: Array, keys: Array, vector: Array) -> Array:
    """v·Σ_l dscores_l·(1 − tanh²(query + key_l)), [N, B, A]."""
    hidden = _hidden(query, keys)
    summed = lax.dot_general(dscores, 1 - hidden * hidden, (((2,), (2,)), ((0, 1), (0, 1))))
    return summed * over(vector, summed)


def _of_memory(dscores: Array, query: Array, keys: Array, vector: Array) -> tuple[Array, Array]:
    """The gradients of the keys [N, L, A] and of v [A], from all steps [T, N, B, …]."""

    def step(sums: tuple[Array, Array], inputs: tuple[Array, Array]) -> tuple[tuple[Array, Array], None]:
        dscores, query = inputs
        hidden = _hidden(query, keys)
        d = dscores[..., None]
        return (sums[0] + (d * (1 - hidden * hidden)).sum(1), sums[1] + (d * hidden).sum(1)), None

    zero = jnp.zeros(keys.shape, dscores.dtype)
    (slopes, values), _ = lax.scan(step, (zero, zero), (dscores, query))
    return (slopes * over(vector, slopes)).astype(keys.dtype), total(values, vector)


def _of_values(alpha: Array, dread: Array, values: Array) -> Array:
    """Σ over steps and rows of α_l·dread, [N, L, D]."""
    dread = dread.reshape(*alpha.shape[:3], -1)
    contracted = (((0, 2), (0, 2)), ((1,), (1,)))
    d = lax.dot_general(alpha.astype(dread.dtype), dread, contracted, preferred_element_type=alpha.dtype)
    return d.astype(values.dtype)
