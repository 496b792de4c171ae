"""A recurrent layer that at each step reads from a memory where its state before that step points to."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from cs231n_jax.ops import attentive_loop, cells
from cs231n_jax.ops.attention import Memory
from cs231n_jax.ops.cells import Cell, GruWeights, Weights


class Gate(NamedTuple):
    """β_t = σ(h_{t−1}·weights + bias): how much of what is read goes on, one number a row."""

    weights: Array  # f_β [H, 1]
    bias: Array  # [1]


class AttentiveWeights(NamedTuple):
    """Parameters of the layer; A is the width of the memory's keys."""

    cell: Weights | GruWeights  # its input [E + D, G·H] takes [x_t; context_t]
    query: Array  # W_a [H, A]
    vector: Array  # v_a [A]
    gate: Gate | None = None  # None: β_t = 1


def attentive(
    cell: Cell,
    x: Float[Array, "m t e"],
    weights: AttentiveWeights,
    state: tuple[Array, ...],
    memory: Memory,
) -> tuple[Float[Array, "m t h"], Float[Array, "m t d"], Float[Array, "m t l"], tuple[Array, ...]]:
    """Run the decoder of Bahdanau et al. over sequences; with a gate, that of Xu et al.

    α_t = softmax_l(v_a · tanh(W_a·h_{t−1} + key_l)),   c_t = β_t·Σ_l α_tl·value_l,   h_t = cell([x_t; c_t], h_{t−1})

    Args:
        cell: `cells.LSTM` or `cells.GRU`.
        x: inputs [M, T, E], M = N·B: rows n·B … n·B + B − 1 read from memory n.
        weights: of the dtype of x.
        state: before the first step, (h, c) or (h,), each [M, H]; c of at least float32.
        memory: keys [N, L, A], values [N, L, D], lengths [N]. With `exponentials`, for decoding, scores are
            `attention.additive_of_exponentials`.

    Returns:
        h_t [M, T, H]; c_t [M, T, D]; α_t [M, T, L], in at least float32; the last state.

    Raises:
        ValueError: M is no multiple of N.

    Reference: Bahdanau, Cho, Bengio 2015, sections 3.1 and A.1.2, where the cell is a GRU and β_t = 1; Xu et al. 2015,
    "Show, Attend and Tell", section 4.2.1 (the gate β_t = σ(f_β(h_{t−1}))) and equations 1 to 3, where it is an LSTM.
    """
    rows, memories = x.shape[0], memory.keys.shape[0]
    if rows % memories:
        raise ValueError(f"{rows} rows cannot read from {memories} memories: give the same number of rows for each")
    given = weights.cell
    gru = isinstance(given, GruWeights)
    into, hidden, bias, hidden_bias = cells.with_hidden_bias(given) if gru else cells.without_hidden_bias(given)
    width, gate = x.shape[2], weights.gate or (None, None)
    rest = attentive_loop.Weights(into[width:], hidden, hidden_bias, weights.query, weights.vector, *gate)
    if memory.exponentials is None:
        ahead = cells.product(x, into[:width])
        ahead = jnp.swapaxes(ahead + cells.over(bias, ahead), 0, 1)
        *steps, last = attentive_loop.run(cell, ahead, rest, tuple(state), memory)
    else:
        x = jnp.swapaxes(x, 0, 1)
        *steps, last = attentive_loop.decode(cell, x, into, bias, rest, tuple(state), memory)
    outputs, contexts, alphas = (jnp.swapaxes(each, 0, 1) for each in steps)
    return outputs, contexts, alphas, last
