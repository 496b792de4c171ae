"""NVIDIA's own LSTM, cuDNN, with the weights of ours: an option on their GPUs, for layers of float32."""

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
