"""The halves of a translator as modules: an encoder in both directions, a decoder that may attend at each step."""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp

from cs231n_jax.models.base import Mode
from cs231n_jax.models.layers import declare, dropout, parameter
from cs231n_jax.models.recurrent_layers import KINDS, Recurrent, State, WeightsInit, embedded, layer_specs
from cs231n_jax.ops import cells, init
from cs231n_jax.ops.attention import Memory
from cs231n_jax.ops.attentive import AttentiveWeights, attentive
from cs231n_jax.ops.cells import GruWeights, Weights
from cs231n_jax.ops.precision import at_least_float32
from cs231n_jax.typing import Array

CellName = Literal["lstm", "gru"]
CELLS = {"lstm": cells.LSTM, "gru": cells.GRU}


class Half(nn.Module):
    """What both have: a vector for each of `size` tokens, and H = hidden units."""

    size: int
    embedding: int
    hidden: int
    cell: CellName
    weights_init: WeightsInit
    forget_bias: float
    drop_rate: float

    def embedded(self, tokens: Array, mode: Mode) -> Array:
        """The vectors of tokens [N, T], from N(0, 1/embedding) on, some units dropped: [N, T, embedding]."""
        x = embedded(self, "embedding", tokens, self.size, self.embedding, self.embedding**-0.5)
        return dropout(self, x, self.drop_rate, mode)


class Encoder(Half):
    """Tokens [N, L] -> outputs [N, L, H] of both directions side by side, and their last states."""

    @nn.compact
    def __call__(self, x: Array, lengths: Array | None, mode: Mode) -> tuple[Array, State]:
        """Run both ways, each sequence within its own length."""
        x = self.embedded(x, mode)
        options = (self.hidden // 2, self.cell, self.weights_init, self.forget_bias)
        ahead, first = Recurrent(*options, name="ahead")(x, lengths=lengths)
        back, second = Recurrent(*options, reverse=True, name="back")(x, lengths=lengths)
        state = {part: jnp.concatenate((first[part], second[part]), -1) for part in first}
        return jnp.concatenate((ahead, back), -1), state


class Decoder(Half):
    """Tokens [N·B, T] -> outputs [N·B, T, H]; of an attentive layer also contexts and weights, else None; the state."""

    attentive: bool

    @nn.compact
    def __call__(
        self, x: Array, state: State, memory: Memory, mode: Mode
    ) -> tuple[Array, Array | None, Array | None, State]:
        """Run over all steps."""
        x = self.embedded(x, mode)
        if self.attentive:
            return self._attentive(x, state, memory)
        layer = Recurrent(self.hidden, self.cell, self.weights_init, self.forget_bias, name="layer")
        h, state = layer(x, state)
        return h, None, None, state

    def _attentive(self, x: Array, state: State, memory: Memory) -> tuple[Array, Array, Array, State]:
        depth, width = self.embedding + memory.values.shape[-1], memory.keys.shape[-1]
        specs = layer_specs(self.cell, depth, self.hidden, self.weights_init, self.forget_bias)
        scores = {"query": init.lecture_xavier((self.hidden, width)), "vector": init.normal((width,), width**-0.5)}
        if self.is_initializing():
            declare(self, {**specs, **scores})
            (n, steps), like = x.shape[:2], memory.values
            shapes = (n, steps, self.hidden), (n, steps, like.shape[-1]), (n, steps, like.shape[1])
            h, context, alpha = (jnp.zeros(shape, x.dtype) for shape in shapes)
            return h, context, alpha, state
        values = [parameter(self, name, spec).astype(x.dtype) for name, spec in specs.items()]
        layer = GruWeights(*values) if self.cell == "gru" else Weights(*values)
        query, vector = (parameter(self, name, spec).astype(x.dtype) for name, spec in scores.items())
        parts = KINDS[self.cell].parts
        given = tuple(state[part].astype(x.dtype if part == "h" else at_least_float32(x.dtype)) for part in parts)
        h, context, alpha, last = attentive(CELLS[self.cell], x, AttentiveWeights(layer, query, vector), given, memory)
        return h, context, alpha, dict(zip(parts, (part.astype(at_least_float32(part.dtype)) for part in last)))
