"""NVIDIA's own LSTM, cuDNN, with the weights of ours: an option on their GPUs, for layers of float32.

`cudnn_lstm` takes all layers in one call, `cudnn_layer` is called in the place of `recurrent.lstm`.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from cs231n_jax.ops.cells import LstmState, Weights

Layer = Weights | tuple[Weights, Weights]


def cudnn_lstm(
    x: Float[Array, "n t d"],
    layers: Sequence[Layer],
    states: LstmState | None = None,
    *,
    lengths: Integer[Array, " n"] | None = None,
) -> tuple[Float[Array, "n t h"], LstmState]:
    """Run all layers of an LSTM in one call of cuDNN: what `recurrent.stacked(recurrent.lstm, …)` computes.

    It needs an NVIDIA GPU: anywhere else it raises. Nothing chooses it by itself.

    Args:
        x: inputs [N, T, D], float32.
        layers: for each layer, from the lowest, its weights; or for all of them a pair (forward, backward).
        states: h and c before the first step, each [L, N, H] in the order layer by layer, forward before backward;
            zeros by default.
        lengths: how many steps of each sequence count, [N], from 1 to T; all by default.

    Returns:
        The outputs of the highest layer, [N, T, H] or [N, T, 2·H], zero after the ends, and the last states.

    Raises:
        RuntimeError: there is no NVIDIA GPU.
        TypeError: x is not float32.

    Reference: `jax.experimental.rnn`; Appleyard, Kočiský, Blunsom 2016, "Optimizing performance of recurrent neural
    networks on GPUs".
    *Deviation*: matrix products may be in TF32, as cuDNN does by default on such cards; `vmap` and second derivatives,
    which jax does not have for this call, raise.
    """
    platform = jax.default_backend()
    if platform != "gpu":
        raise RuntimeError(f"cuDNN's LSTM needs an NVIDIA GPU and this process runs on {platform}: use recurrent.lstm.")
    if x.dtype != jnp.float32:
        raise TypeError(f"x is {x.dtype}; cuDNN's LSTM is bound for float32 alone: cast it, or use recurrent.lstm.")
    from jax.experimental import rnn

    n, steps, d = x.shape[0], x.shape[1], x.shape[2]
    passes = _passes(layers)
    hidden, both = passes[0].hidden.shape[0], len(passes) > len(layers)
    if states is None:
        zero = jnp.zeros((len(passes), n, hidden), x.dtype)
        states = LstmState(zero, zero)
    lengths = jnp.full((n,), steps, jnp.int32) if lengths is None else lengths.astype(jnp.int32)
    results = rnn.lstm(x, *states, pack(layers), lengths, d, hidden, len(layers), 0.0, both)
    y, h, c = jax.tree.leaves(results)
    return y, LstmState(h, c)


def cudnn_layer(
    x: Float[Array, "n t ..."] | Integer[Array, "n t"],
    weights: Weights,
    state: LstmState | None = None,
    *,
    lengths: Integer[Array, " n"] | None = None,
    reverse: bool = False,
) -> tuple[Float[Array, "n t h"], LstmState]:
    """Run one layer by cuDNN, in the place of `recurrent.lstm`: the same arguments, the same results.

    What cuDNN does not have is made around it: tokens become one-hot vectors, the other direction is the sequence
    turned round within its length, and a sequence without steps gives zeros and keeps its state.

    Args:
        x: inputs [N, T, D], float32, or tokens [N, T], integers from 0 to D − 1; another one makes the outputs from
            there on NaN. What lies after the end of a sequence has no influence, whatever it is.
        weights: input [D, 4·H], hidden [H, 4·H], bias [4·H], gates in the order i, f, o, g; float32.
        state: h and c before the first step, each [N, H], float32; zeros by default.
        lengths: how many steps of each sequence count, [N], from 0 to T; all by default.
        reverse: run each sequence from its own last step to its first.

    Returns:
        The outputs [N, T, H], each in the place of its step, zero after the ends, and the last state.

    Raises:
        RuntimeError: there is no NVIDIA GPU.
        TypeError: x is not float32.

    Reference: as of `cudnn_lstm`, its *Deviation* too; the one-hot vectors of tokens are made, [N, T, D], where
    `recurrent.lstm` reads rows of the input weights.
    """
    x = x if jnp.issubdtype(x.dtype, jnp.floating) else _one_hot(x, weights.input)
    ends = jnp.full(x.shape[:1], x.shape[1], jnp.int32) if lengths is None else lengths.astype(jnp.int32)
    live = jnp.arange(x.shape[1], dtype=jnp.int32)[None] < ends[:, None]
    x = _kept(live, x)
    if state is None:
        zero = jnp.zeros((x.shape[0], weights.hidden.shape[0]), x.dtype)
        state = LstmState(zero, zero)
    given = LstmState(*(part[None] for part in state))
    # cuDNN wants a step of every sequence: those without one get one, and what comes of it is not kept.
    y, last = cudnn_lstm(_turned(x, ends, reverse), [weights], given, lengths=jnp.maximum(ends, 1))
    y = _kept(live, _turned(y, ends, reverse))
    return y, LstmState(*(jnp.where(ends[:, None] > 0, new[0], old) for new, old in zip(last, state)))


def _one_hot(tokens: Array, like: Array) -> Array:
    """Tokens [N, T] as vectors [N, T, D] of the dtype of the input weights [D, 4·H]; NaN where there is no such."""
    inside = (tokens >= 0) & (tokens < like.shape[0])
    vectors = jax.nn.one_hot(tokens, like.shape[0], dtype=like.dtype)
    return jnp.where(inside[..., None], vectors, jnp.full_like(vectors, jnp.nan))


def _kept(live: Array, x: Array) -> Array:
    return jnp.where(live[..., None], x, jnp.zeros_like(x))


def _turned(x: Array, ends: Array, reverse: bool) -> Array:
    """Each sequence from its own last step to its first, what lies behind it left in place."""
    if not reverse:
        return x
    step, end = jnp.arange(x.shape[1], dtype=ends.dtype)[None], ends[:, None]
    return jnp.take_along_axis(x, jnp.where(step < end, end - 1 - step, step)[..., None], axis=1)


def pack(layers: Sequence[Layer]) -> Float[Array, " p"]:
    """Return the weights as cuDNN wants them: one vector, gates in the order i, f, g, o, two biases.

    First input and hidden weights of every pass, transposed, then its two biases, of which the second is zero.

    Args:
        layers: as for `cudnn_lstm`.
    """
    passes = _passes(layers)
    products = [_reordered(weights).T.reshape(-1) for w in passes for weights in (w.input, w.hidden)]
    biases = [bias for w in passes for bias in (_reordered(w.bias), jnp.zeros_like(w.bias))]
    return jnp.concatenate(products + biases)


def _passes(layers: Sequence[Layer]) -> list[Weights]:
    return [one for layer in layers for one in ((layer,) if isinstance(layer, Weights) else layer)]


def _reordered(columns: Array) -> Array:
    """Return gates i, f, o, g as i, f, g, o."""
    i, f, o, g = jnp.split(columns, 4, -1)
    return jnp.concatenate((i, f, g, o), -1)
