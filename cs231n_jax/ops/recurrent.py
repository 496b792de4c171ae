"""Recurrent layers over sequences [N, T, D]: tanh, LSTM and GRU; padded lengths, both directions, several layers.

The derivative is our own (`time_loop`): reverse mode, `vmap` and derivatives of the gradient work, forward mode
(`jax.jvp`, `jax.jacfwd`) of the layer raises. Where that is needed, scan the step of `cells`, which is plain.

Batches come first, as everywhere in the package. The loop itself runs over [T, N, D]: what is read in a step then lies
together, and turning inputs and outputs costs less than can be measured.

In place of vectors a layer takes tokens, integers from 0 to D − 1: each stands for a one-hot vector [D], whose product
with the input weights is one of their rows. Another integer makes the outputs from there on NaN, because an error
cannot be raised on a device.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Integer

from cs231n_jax.ops import cells, time_loop, turned_loop
from cs231n_jax.ops.cells import Cell, GruWeights, LstmState, Weights
from cs231n_jax.ops.platform import by_platform
from cs231n_jax.ops.precision import at_least_float32


def rnn(
    x: Float[Array, "n t ..."] | Integer[Array, "n t"],
    weights: Weights,
    state: Float[Array, "n ..."] | None = None,
    *,
    lengths: Integer[Array, " m"] | None = None,
    reverse: bool = False,
) -> tuple[Float[Array, "n t h"], Float[Array, "n h"]]:
    """Run a vanilla recurrent layer over sequences: h_t = tanh(x_t·input + h_{t−1}·hidden + bias).

    Args:
        x: inputs [N, T, D], float, or tokens [N, T], integer. What lies after the end of a sequence has no influence,
            whatever it is.
        weights: input [D, H], hidden [H, H], bias [H]; of x's dtype, if float.
        state: h before the first step [N, H], of the dtype of the weights; zeros by default.
        lengths: how many steps of each sequence count, [N], integers from 0 to T; all by default. After its end a
            sequence's state stands still and its output is zero.
        reverse: run each sequence from its own last step to its first.

    Returns:
        The outputs h_t [N, T, H], each in the place of its step, and the last state: handed to the next window of the
        same sequences it continues them exactly.

    Raises:
        TypeError: the dtypes differ, a weight is None, or lengths are not integers.
        ValueError: the shapes do not fit.

    Reference: `cells.rnn_step`; torch.nn.RNN on packed sequences, whose two biases are summed here.
    """
    given = None if state is None else (state,)
    y, (h,) = _run(cells.RNN, x, weights, cells.without_hidden_bias, given, lengths, reverse)
    return y, h


def lstm(
    x: Float[Array, "n t ..."] | Integer[Array, "n t"],
    weights: Weights,
    state: LstmState | None = None,
    *,
    lengths: Integer[Array, " m"] | None = None,
    reverse: bool = False,
) -> tuple[Float[Array, "n t h"], LstmState]:
    """Run a layer of long short-term memory over sequences: `cells.lstm_step` at every step.

    Args:
        x: inputs [N, T, D], float, or tokens [N, T], integer. What lies after the end of a sequence has no influence,
            whatever it is.
        weights: input [D, 4·H], hidden [H, 4·H], bias [4·H], gates in the order i, f, o, g; all of one dtype.
        state: h and c before the first step, each [N, H]; h of the weights' dtype, c of at least float32; zeros by
            default.
        lengths: how many steps of each sequence count, [N], integers from 0 to T; all by default. After its end a
            sequence's state stands still and its output is zero.
        reverse: run each sequence from its own last step to its first.

    Returns:
        The outputs h_t [N, T, H], each in the place of its step, and the last state: handed to the next window of the
        same sequences it continues them exactly.

    Raises:
        TypeError: the dtypes differ, a weight is None, or lengths are not integers.
        ValueError: the shapes do not fit.

    Reference: `cells.lstm_step`; torch.nn.LSTM on packed sequences, whose two biases are summed here.
    """
    y, last = _run(cells.LSTM, x, weights, cells.without_hidden_bias, state, lengths, reverse)
    return y, LstmState(*last)


def gru(
    x: Float[Array, "n t ..."] | Integer[Array, "n t"],
    weights: GruWeights,
    state: Float[Array, "n ..."] | None = None,
    *,
    lengths: Integer[Array, " m"] | None = None,
    reverse: bool = False,
) -> tuple[Float[Array, "n t h"], Float[Array, "n h"]]:
    """Run a layer of gated recurrent units over sequences: `cells.gru_step` at every step.

    Args:
        x: inputs [N, T, D], float, or tokens [N, T], integer. What lies after the end of a sequence has no influence,
            whatever it is.
        weights: input [D, 3·H], hidden [H, 3·H], bias [3·H], candidate_bias [H], gates r, z, n; all of one dtype.
        state: h before the first step [N, H], of the dtype of the weights; zeros by default.
        lengths: how many steps of each sequence count, [N], integers from 0 to T; all by default. After its end a
            sequence's state stands still and its output is zero.
        reverse: run each sequence from its own last step to its first.

    Returns:
        The outputs h_t [N, T, H], each in the place of its step, and the last state: handed to the next window of the
        same sequences it continues them exactly.

    Raises:
        TypeError: the dtypes differ, a weight is None, or lengths are not integers.
        ValueError: the shapes do not fit.

    Reference: `cells.gru_step` (and how it differs from the paper); torch.nn.GRU on packed sequences, of whose two
    biases those of r and z are summed here.
    """
    given = None if state is None else (state,)
    y, (h,) = _run(cells.GRU, x, weights, cells.with_hidden_bias, given, lengths, reverse)
    return y, h


def bidirectional(
    layer: Callable,
    x: Float[Array, "n t d"],
    weights: tuple[Any, ...],
    states: tuple[Any, ...] | None = None,
    *,
    lengths: Integer[Array, " n"] | None = None,
) -> tuple[Float[Array, "n t h"], tuple[Any, Any]]:
    """Run a layer in both directions, each sequence within its own length, and put the outputs side by side.

    Args:
        layer: `rnn`, `lstm` or `gru`.
        x: inputs [N, T, D].
        weights: of the forward and of the backward direction.
        states: before the first step of each direction; zeros by default.
        lengths: as for the layer.

    Returns:
        [N, T, 2·H], forward first, and the two last states; that of the backward direction belongs to step 0.

    Raises:
        ValueError: weights or states are not two.

    Reference: Schuster, Paliwal 1997, "Bidirectional recurrent neural networks"; torch's bidirectional=True.
    """
    pairs = zip(_two(weights, "weights"), (None, None) if states is None else _two(states, "states"), (False, True))
    (ahead, one), (back, other) = (layer(x, w, s, lengths=lengths, reverse=reverse) for w, s, reverse in pairs)
    return jnp.concatenate((ahead, back), -1), (one, other)


def stacked(
    layer: Callable,
    x: Float[Array, "n t d"],
    weights: Sequence[Any],
    states: Sequence[Any] | None = None,
    *,
    lengths: Integer[Array, " n"] | None = None,
) -> tuple[Float[Array, "n t h"], list[Any]]:
    """Run layers on top of each other, each on the outputs of the one below.

    Args:
        layer: `rnn`, `lstm` or `gru`; or a function with the same arguments, such as one that drops inputs at random.
        x: inputs [N, T, D].
        weights: for each layer, from the lowest, its weights; or a pair (forward, backward) for both directions.
        states: for each layer its state before the first step, or a pair; zeros by default.
        lengths: as for the layer.

    Returns:
        The outputs of the highest layer, and the last state, or pair of states, of each.

    Raises:
        ValueError: there is not one state a layer.
    """
    states = [None] * len(weights) if states is None else list(states)
    if len(states) != len(weights):
        raise ValueError(f"there are {len(states)} states for {len(weights)} layers: give one a layer, or None.")
    last = []
    for w, s in zip(weights, states):
        both = not hasattr(w, "_fields")  # a pair, not a NamedTuple
        x, new = bidirectional(layer, x, w, s, lengths=lengths) if both else layer(x, w, s, lengths=lengths)
        last.append(new)
    return x, last


def _two(pair: tuple[Any, ...], name: str) -> tuple[Any, ...]:
    if len(pair) != 2 or hasattr(pair, "_fields"):
        raise ValueError(
            f"{name} of both directions are a pair (forward, backward); got {type(pair).__name__} of {len(pair)}."
        )
    return pair


def _run(
    cell: Cell,
    x: Array,
    given: Weights | GruWeights,
    whole: Callable[[Any], time_loop.Weights],
    state: tuple[Array, ...] | None,
    lengths: Array | None,
    reverse: bool,
) -> tuple[Array, tuple[Array, ...]]:
    _check(cell, x, given)
    n, steps = x.shape[:2]
    h, narrow = given.hidden.shape[0], given.hidden.dtype
    dtypes = (narrow, at_least_float32(narrow)) if cell is cells.LSTM else (narrow,)
    if state is None:
        state = tuple(jnp.zeros((n, h), dtype) for dtype in dtypes)
    _check_state(tuple(state), (n, h), dtypes)
    x, weights = _looked_up(x, whole(given))
    x, live = jnp.swapaxes(x, 0, 1), None
    if lengths is not None:
        if not jnp.issubdtype(lengths.dtype, jnp.integer):
            raise TypeError(f"lengths are {lengths.dtype}; they count steps: give integers from 0 to {steps}.")
        if lengths.shape != (n,):
            raise ValueError(f"lengths have shape {lengths.shape}; {n} sequences need [{n}], one length each.")
        ends = lax.broadcast_in_dim(lengths.astype(jnp.int32), (steps, n), (1,))  # int8 could not count all steps
        live = lax.broadcasted_iota(jnp.int32, (steps, n), 0) < ends
        x = _kept(live, x)
    y, last = _looped(cell, reverse, x, live, weights, tuple(state))
    return jnp.swapaxes(y if live is None else _kept(live, y), 0, 1), last


def _looped(
    cell: Cell, reverse: bool, x: Array, live: Array | None, weights: time_loop.Weights, state: tuple[Array, ...]
) -> tuple[Array, tuple[Array, ...]]:
    run = functools.partial(time_loop.run, cell, reverse)
    if not turned_loop.suits(cell, x, weights):
        return run(x, live, weights, state)
    turned = functools.partial(turned_loop.run, reverse)
    return by_platform(x, live, weights, state, cpu=turned, default=run)


def _looked_up(x: Array, weights: time_loop.Weights) -> tuple[Array, time_loop.Weights]:
    """Turn tokens into their products with the input weights, bias added; leave vectors as they are."""
    into, hidden, bias, hidden_bias = weights
    if into is None or bias is None or not jnp.issubdtype(x.dtype, jnp.integer):
        return x, weights
    rows = into.astype(at_least_float32(into.dtype))
    rows = rows + cells.over(bias, rows)
    return rows.at[x].get(mode="fill", wrap_negative_indices=False), (None, hidden, None, hidden_bias)


def _kept(live: Array, x: Array) -> Array:
    return jnp.where(lax.broadcast_in_dim(live, x.shape, (0, 1)), x, jnp.zeros_like(x))


def _check(cell: Cell, x: Array, weights: Weights | GruWeights) -> None:
    vectors = jnp.issubdtype(x.dtype, jnp.floating)
    if x.ndim != (3 if vectors else 2) or x.shape[1] < 1:
        form = "sequences are [N, T, D]" if vectors else "sequences of tokens are [N, T]"
        raise ValueError(f"x has shape {x.shape}; {form} with at least one step.")
    names = ("input", "hidden", "bias", *(["candidate_bias"] if cell is cells.GRU else []))
    for name in names:
        if getattr(weights, name) is None:
            raise TypeError(f"the weights' {name} is None; give all of {', '.join(names)}: zeros are no bias.")
    if weights.hidden.ndim != 2:
        raise ValueError(f"the hidden weights have shape {weights.hidden.shape}; they must be [H, {cell.gates}·H].")
    h, d = weights.hidden.shape[0], x.shape[2] if vectors else weights.input.shape[0]
    dtype = x.dtype if vectors else weights.input.dtype
    shapes = (d, cell.gates * h), (h, cell.gates * h), (cell.gates * h,), (h,)
    for name, shape in zip(names, shapes):
        value = getattr(weights, name)
        if value.shape != shape:
            raise ValueError(
                f"the weights' {name} has shape {value.shape}; {d} inputs and {h} hidden units need {list(shape)}, the "
                f"{cell.gates} gates side by side."
            )
        if value.dtype != dtype:
            other = "x" if vectors else "their input"
            raise TypeError(f"{other} is {dtype} and the weights' {name} is {value.dtype}; cast one to the other.")


def _check_state(state: tuple[Array, ...], shape: tuple[int, int], dtypes: tuple) -> None:
    for name, value, dtype in zip(("h", "c"), state, dtypes):
        if value.shape != shape:
            raise ValueError(f"the state's {name} has shape {value.shape}; it must be {list(shape)}, [N, H].")
        if value.dtype != dtype:
            raise TypeError(f"the state's {name} is {value.dtype}; it must be {dtype}: cast it.")
