"""The halves of a translator as modules: an encoder in both directions, a decoder that may attend at each step."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from cs231n_jax.models.base import Mode
from cs231n_jax.models.layers import declare, dropout, parameter
from cs231n_jax.models.recurrent_layers import (
    KINDS,
    Backend,
    CellName,
    Recurrent,
    State,
    WeightsInit,
    embedded,
    layer_specs,
)
from cs231n_jax.ops import cells, init
from cs231n_jax.ops.attention import Memory
from cs231n_jax.ops.attentive import AttentiveWeights, Gate, attentive
from cs231n_jax.ops.cells import GruWeights, Weights
from cs231n_jax.ops.precision import at_least_float32
from cs231n_jax.typing import Array

CELLS = {"lstm": cells.LSTM, "gru": cells.GRU}  # of layers that attend at each step


class Half(nn.Module):
    """What both have: a vector for each of `size` tokens, and H = hidden units."""

    size: int
    embedding: int
    hidden: int
    cell: CellName
    weights_init: WeightsInit
    forget_bias: float
    drop_rate: float
    backend: Backend = "scan"
    embedding_std: float = 0.0  # of the vectors at the start; 0: 1/√embedding

    def embedded(self, tokens: Array, mode: Mode) -> Array:
        """The vectors of tokens [N, T], some units dropped: [N, T, embedding]."""
        std = self.embedding_std or self.embedding**-0.5
        x = embedded(self, "embedding", tokens, self.size, self.embedding, std)
        return dropout(self, x, self.drop_rate, mode)


class Encoder(Half):
    """Tokens [N, L] -> outputs [N, L, H] of both directions side by side, and their last states."""

    @nn.compact
    def __call__(self, x: Array, lengths: Array | None, mode: Mode) -> tuple[Array, State]:
        """Run both ways, each sequence within its own length."""
        x = self.embedded(x, mode)
        options = (self.hidden // 2, self.cell, self.weights_init, self.forget_bias)
        ahead, first = Recurrent(*options, backend=self.backend, name="ahead")(x, lengths=lengths)
        back, second = Recurrent(*options, True, self.backend, name="back")(x, lengths=lengths)
        state = {part: jnp.concatenate((first[part], second[part]), -1) for part in first}
        return jnp.concatenate((ahead, back), -1), state


class Decoded(NamedTuple):
    """What a decoder makes of M = N·B rows of T tokens, N memories."""

    h: Array  # outputs [M, T, H]
    context: Array | None  # what an attentive layer read [M, T, D]
    alpha: Array | None  # where, [M, T, L]
    words: Array  # the vectors of the tokens [M, T, embedding]
    state: State  # after the last step


class Decoder(Half):
    """Tokens [N·B, T] -> outputs, and what else there is; without an attentive layer no memory is needed."""

    attentive: bool = False
    gated: bool = False  # what an attentive layer reads goes through a gate

    @nn.compact
    def __call__(self, x: Array, state: State, memory: Memory | None, mode: Mode, dtype: Any = None) -> Decoded:
        """Run over all steps, in this dtype or that of the parameters."""
        words = self.embedded(x, mode)
        words = words.astype(dtype or words.dtype)
        if self.attentive and memory is not None:
            h, context, alpha, state = self._attentive(words, state, memory)
            return Decoded(h, context, alpha, words, state)
        options = (self.hidden, self.cell, self.weights_init, self.forget_bias)
        h, state = Recurrent(*options, backend=self.backend, name="layer")(words, state)
        return Decoded(h, None, None, words, state)

    def _attentive(self, x: Array, state: State, memory: Memory) -> tuple[Array, Array, Array, State]:
        depth, width = self.embedding + memory.values.shape[-1], memory.keys.shape[-1]
        specs = layer_specs(self.cell, depth, self.hidden, self.weights_init, self.forget_bias)
        scores = {"query": init.lecture_xavier((self.hidden, width)), "vector": init.normal((width,), width**-0.5)}
        gate = {"gate": init.lecture_xavier((self.hidden, 1)), "gate_bias": init.constant((1,), 0.0)}
        scores |= gate if self.gated else {}
        if self.is_initializing():
            declare(self, {**specs, **scores})
            (n, steps), like = x.shape[:2], memory.values
            shapes = (n, steps, self.hidden), (n, steps, like.shape[-1]), (n, steps, like.shape[1])
            h, context, alpha = (jnp.zeros(shape, x.dtype) for shape in shapes)
            return h, context, alpha, state
        values = [parameter(self, name, spec).astype(x.dtype) for name, spec in specs.items()]
        layer = GruWeights(*values) if self.cell == "gru" else Weights(*values)
        query, vector, *rest = (parameter(self, name, spec).astype(x.dtype) for name, spec in scores.items())
        weights = AttentiveWeights(layer, query, vector, Gate(*rest) if rest else None)
        parts = KINDS[self.cell].parts
        given = tuple(state[part].astype(x.dtype if part == "h" else at_least_float32(x.dtype)) for part in parts)
        h, context, alpha, last = attentive(CELLS[self.cell], x, weights, given, memory)
        return h, context, alpha, dict(zip(parts, (part.astype(at_least_float32(part.dtype)) for part in last)))
