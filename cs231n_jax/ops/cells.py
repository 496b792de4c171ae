"""One step in time of the three recurrent cells: tanh, long short-term memory, gated recurrent unit.

Each cell is given by what it makes of two matrix products, z = x·input + bias and u = h·hidden + hidden_bias, and by
the derivative of that, written by hand: `time_loop` runs it over a sequence and keeps no more than it needs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from cs231n_jax.ops.precision import at_least_float32


class Weights(NamedTuple):
    """Parameters of one layer of an RNN (G = 1) or an LSTM (G = 4, the gates i, f, o, g side by side)."""

    input: Array  # [D, G·H]
    hidden: Array  # [H, G·H]
    bias: Array  # [G·H]


class GruWeights(NamedTuple):
    """Parameters of one layer of a GRU, with r, z and the candidate n side by side."""

    input: Array  # [D, 3·H]
    hidden: Array  # [H, 3·H]
    bias: Array  # [3·H]
    candidate_bias: Array  # [H], added to the candidate's part of the hidden product, before the reset gate


class LstmState(NamedTuple):
    """What an LSTM hands from step to step."""

    h: Array  # [N, H], also the output
    c: Array  # [N, H], at least float32: it is a sum over many steps


def rnn_step(x: Float[Array, "n ..."], h: Float[Array, "n ..."], weights: Weights) -> Float[Array, "n h"]:
    """Make one step of the vanilla recurrent network.

    h' = tanh(x·input + h·hidden + bias)

    Args:
        x: inputs of this step [N, D].
        h: state [N, H], of the dtype of x.
        weights: input [D, H], hidden [H, H], bias [H].

    Returns:
        h' [N, H], the new state and the output.

    Reference: Elman 1990, "Finding structure in time"; cs231n, lecture "Recurrent neural networks".
    """
    return _step(RNN, x, (h,), without_hidden_bias(weights))[0]


def lstm_step(x: Float[Array, "n ..."], state: LstmState, weights: Weights) -> LstmState:
    """Make one step of the long short-term memory, without peepholes.

    i, f, o = σ(·), g = tanh(·) of the four parts of x·input + h·hidden + bias; c' = f·c + i·g; h' = o·tanh(c')

    Args:
        x: inputs of this step [N, D].
        state: h [N, H] of the dtype of x; c [N, H] of at least float32.
        weights: input [D, 4·H], hidden [H, 4·H], bias [4·H].

    Returns:
        The new state; its h is the output.

    Reference: Hochreiter, Schmidhuber 1997, "Long short-term memory"; Gers, Schmidhuber, Cummins 2000, "Learning to
    forget" (the gate f); cs231n, lecture "Recurrent neural networks" (the order i, f, o, g).
    *Deviation* from torch, flax and cuDNN in the order of the gates, which there is i, f, g, o. σ(a) is computed as
    ½·tanh(a/2) + ½, so that one tanh does all four gates: in float32 it is right to 1e-7, not to 1e-7 of itself.
    """
    return LstmState(*_step(LSTM, x, tuple(state), without_hidden_bias(weights)))


def gru_step(x: Float[Array, "n ..."], h: Float[Array, "n ..."], weights: GruWeights) -> Float[Array, "n h"]:
    """Make one step of the gated recurrent unit.

    r, z = σ(·) of their parts of x·input + bias + h·hidden
    n = tanh(x·input_n + bias_n + r·(h·hidden_n + candidate_bias)); h' = (1 − z)·n + z·h

    Args:
        x: inputs of this step [N, D].
        h: state [N, H], of the dtype of x.
        weights: input [D, 3·H], hidden [H, 3·H], bias [3·H], candidate_bias [H].

    Returns:
        h' [N, H], the new state and the output.

    Reference: Cho et al. 2014, "Learning phrase representations using RNN encoder–decoder", equations 5 to 8.
    *Deviation* from equation 8, where the candidate is tanh(W·x + U·(r ⊙ h)): here, as in torch and cuDNN, the reset
    gate multiplies after the product, so that one product serves all gates. That z keeps the old state is equation 7;
    Chung et al. 2014 give that part to 1 − z.
    """
    return _step(GRU, x, (h,), with_hidden_bias(weights))[0]


def without_hidden_bias(weights: Weights) -> tuple[Array, Array, Array, None]:
    """Return input, hidden, bias, and None."""
    return weights.input, weights.hidden, weights.bias, None


def with_hidden_bias(weights: GruWeights) -> tuple[Array, Array, Array, Array]:
    """Return input, hidden, bias and the bias of the whole hidden product, zero but for the candidate's part."""
    into, hidden, bias, candidate = weights
    return into, hidden, bias, jnp.pad(candidate, (2 * candidate.shape[0], 0))


def product(left: Array, right: Array) -> Array:
    """Contract the last axis of `left` with the first of `right`, summed in at least float32."""
    contracted = (((left.ndim - 1,), (0,)), ((), ()))
    return lax.dot_general(left, right, contracted, preferred_element_type=at_least_float32(left.dtype))


def over(bias: Array, like: Array, axis: int = -1) -> Array:
    """Repeat a bias over all axes of `like` but this one, in its dtype."""
    return lax.broadcast_in_dim(bias.astype(like.dtype), like.shape, (axis % like.ndim,))


def advance(cell: Cell, z: Array, state: tuple[Array, ...], hidden: Array, hidden_bias: Array | None) -> tuple:
    """Return the state after a step whose part of the input is z, and what the derivative needs of it."""
    u = product(state[0], hidden)
    u = u if hidden_bias is None else u + over(hidden_bias, u)
    new, saved = cell.forward(z, u, tuple(s.astype(z.dtype) for s in state))
    return tuple(a.astype(s.dtype) for a, s in zip(new, state)), saved


def _step(cell: Cell, x: Array, state: tuple[Array, ...], weights: tuple) -> tuple[Array, ...]:
    into, hidden, bias, hidden_bias = weights
    z = product(x, into)
    return advance(cell, z + over(bias, z), state, hidden, hidden_bias)[0]


class Cell(NamedTuple):
    """A cell between its matrix products, and the derivative of that.

    State and derivatives are tuples whose first member belongs to h.
    """

    gates: int  # columns of the products, in units of H
    forward: Callable  # (z, u, state) -> (new state, saved)
    backward: Callable  # (saved, state, new state, its derivatives) -> (dz, derivatives of the state but through u)
    into_hidden: Callable  # (dz, saved) -> du


def _same(dz: Array, saved: tuple | None) -> Array:
    del saved
    return dz


def _rnn_forward(z: Array, u: Array, state: tuple) -> tuple:
    del state
    return (jnp.tanh(z + u),), None


def _rnn_backward(saved: None, state: tuple, new: tuple, d: tuple) -> tuple:
    del saved, state
    return d[0] * (1 - new[0] * new[0]), (None,)


def _lstm_forward(z: Array, u: Array, state: tuple, axis: int = -1) -> tuple:
    scale = np.repeat(np.array([0.5, 0.5, 0.5, 1.0], z.dtype), state[1].shape[axis])
    half, rest = over(jnp.asarray(scale), z, axis), over(jnp.asarray(1 - scale), z, axis)
    gates = jnp.tanh((z + u) * half) * half + rest  # the last of the four parts: tanh itself
    i, f, o, g = jnp.split(gates, 4, axis)
    c = f * state[1] + i * g
    # one by one: XLA:CPU does not vectorise a loop that cuts them out of the gates of all steps
    return (o * jnp.tanh(c), c), (i, f, o, g)


def _lstm_backward(gates: tuple, state: tuple, new: tuple, d: tuple, axis: int = -1) -> tuple:
    i, f, o, g = gates
    dh, dc = d
    squashed = jnp.tanh(new[1])  # once more rather than kept
    dc = dc + dh * o * (1 - squashed * squashed)
    parts = dc * g * i * (1 - i), dc * state[1] * f * (1 - f), dh * squashed * o * (1 - o), dc * i * (1 - g * g)
    return _side_by_side(parts, axis), (None, dc * f)


def _side_by_side(parts: tuple, axis: int) -> Array:
    if axis:
        return jnp.concatenate(parts, axis)
    flat = [part.reshape(1, -1) for part in parts]  # XLA:CPU copies such a row at once, but loops over rows one by one
    return jnp.concatenate(flat, -1).reshape(-1, parts[0].shape[-1])


def _gru_forward(z: Array, u: Array, state: tuple) -> tuple:
    width = state[0].shape[-1]
    gates = 0.5 * jnp.tanh(0.5 * (z[..., : 2 * width] + u[..., : 2 * width])) + 0.5
    reset, keep = jnp.split(gates, 2, -1)
    recalled = u[..., 2 * width :]
    new = jnp.tanh(z[..., 2 * width :] + reset * recalled)
    return ((1 - keep) * new + keep * state[0],), jnp.concatenate((gates, new, recalled), -1)


def _gru_backward(saved: Array, state: tuple, new: tuple, d: tuple) -> tuple:
    del new
    reset, keep, candidate, recalled = jnp.split(saved, 4, -1)
    dn = d[0] * (1 - keep) * (1 - candidate * candidate)
    dkeep = d[0] * (state[0] - candidate) * keep * (1 - keep)
    return jnp.concatenate((dn * recalled * reset * (1 - reset), dkeep, dn), -1), (d[0] * keep,)


def _gru_into_hidden(dz: Array, saved: Array) -> Array:
    width = dz.shape[-1] // 3
    gates, candidate = dz[..., : 2 * width], dz[..., 2 * width :]
    return jnp.concatenate((gates, candidate * saved[..., :width].astype(dz.dtype)), -1)


RNN = Cell(1, _rnn_forward, _rnn_backward, _same)
LSTM = Cell(4, _lstm_forward, _lstm_backward, _same)
LSTM_TURNED = Cell(4, functools.partial(_lstm_forward, axis=0), functools.partial(_lstm_backward, axis=0), _same)
GRU = Cell(3, _gru_forward, _gru_backward, _gru_into_hidden)
