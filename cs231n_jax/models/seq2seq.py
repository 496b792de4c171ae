"""Sequence to sequence: an encoder in both directions, a decoder, and attention between them or none.

How a decoder uses one, for N sources and N·B hypotheses:

    (memory, carry), _ = functional.apply(model, params, {}, source, lengths, method="encode")
    (logits, carry), _ = functional.apply(model, params, {}, carry, token, memory, method="step")
"""

from typing import Literal

import jax.numpy as jnp

from cs231n_jax.models.base import Model, Variant
from cs231n_jax.models.encoder_decoder import Decoder, Encoder
from cs231n_jax.models.layers import Dense, dropout
from cs231n_jax.models.recurrent_layers import Backend, CellName, State, WeightsInit, check_backend
from cs231n_jax.ops import attention, init
from cs231n_jax.ops.attention import Memory
from cs231n_jax.typing import Array

Score = Literal["none", "dot", "general", "additive"]


class Seq2Seq(Model):
    """Sources [N, L] and targets [N, T], integers, -> logits [N, T, V] of the token that follows each; V = num_classes.

    The encoder has H/2 units in each direction; its last states, side by side, are the decoder's first. Then

    - score="none": h_t = cell(x_t, h_{t−1}); logits = W·tanh(R·h_t);
    - "dot", "general": the same, and c_t = Σ_l α_tl·e_l, where α_t is the softmax of h_t·e_l or h_t·(W_a·e_l) over the
      encoder's outputs e_l; logits = W·tanh(R·[h_t; c_t]);
    - "additive": h_t = cell([x_t; c_t], h_{t−1}), where the scores are v·tanh(W_a·h_{t−1} + U_a·e_l); logits as before.

    It computes in the dtype of its parameters.

    Reference: Sutskever, Vinyals, Le 2014; Luong, Pham, Manning 2015, section 3.1 (global attention) and equations 5
    to 8; Bahdanau, Cho, Bengio 2015, sections 3 and A. *Deviation*: from Luong et al. in the encoder of both directions
    and in one layer, without input feeding (their section 3.3), so that all steps of training attend at once; from
    Bahdanau et al. in the first state, which there is tanh(W_s·h_1), and in the output layer, there a maxout of
    [h_{t−1}; x_t; c_t].
    """

    source_size: int = 1000  # tokens of the source
    cell: CellName = "lstm"
    score: Score = "none"
    embedding: int = 256
    hidden: int = 256  # H, even
    drop_rate: float = 0.0  # of both embeddings, and of what goes into the last layer
    weights_init: WeightsInit = "orthogonal"
    forget_bias: float = 1.0  # at the start, of an LSTM
    backend: Backend = "scan"  # what runs an LSTM over its steps, but for a decoder that attends at each

    reads = ("source", "target", "source_length")

    @property
    def stages(self) -> tuple[str, ...]:
        """Encoder, decoder, and the alignment where there is attention."""
        return ("encoder", "decoder") + (("alignment",) if self.score != "none" else ())

    def validate(self) -> None:
        """Refuse what has no two halves, tokens without vectors, and cuDNN for a GRU; raises ValueError."""
        check_backend(self.backend, self.cell)
        if not self.embedding:
            raise ValueError("embedding=0 leaves both halves nothing to read: give the size of a token's vector")
        if self.hidden < 2 or self.hidden % 2:
            raise ValueError(f"hidden={self.hidden} must be even, since the encoder has half of it in each direction")

    def check_input(self, x: Array) -> None:
        """Refuse what is no batch of tokens; raises ValueError."""
        if x.ndim != 2 or 0 in x.shape or not jnp.issubdtype(x.dtype, jnp.integer):
            label = self.name or type(self).__name__
            raise ValueError(
                f"{label} takes tokens, integers [N, L] with N and L ≥ 1, got {x.dtype} of shape {list(x.shape)}"
            )

    def setup(self) -> None:
        """The parts; attention's parameters lie in the part that uses them."""
        shared = (self.embedding, self.hidden, self.cell, self.weights_init, self.forget_bias, self.drop_rate)
        self.encoder = Encoder(self.source_size, *shared, backend=self.backend)
        self.decoder = Decoder(self.num_classes, *shared, self.backend, attentive=self.score == "additive")
        if self.score in ("general", "additive"):
            self.alignment = Dense(self.hidden, use_bias=False, init=init.lecture_xavier)
        self.head_read_out = Dense(self.embedding, init=init.lecture_xavier)
        self.head = Dense(self.num_classes, init=init.lecture_xavier)

    def __call__(
        self,
        x: Array,
        target: Array | None = None,
        lengths: Array | None = None,
        *,
        train: bool = False,
        noise: bool = False,
    ) -> Array:
        """The logits alone."""
        return self.features(x, target, lengths, train=train, noise=noise)["logits"]

    def features(
        self,
        x: Array,
        target: Array | None = None,
        lengths: Array | None = None,
        *,
        train: bool = False,
        noise: bool = False,
    ) -> dict[str, Array]:
        """The outputs of encoder and decoder, "alignment" (α [N, T, L]), "pre_logits" and "logits".

        Args:
            x: sources [N, L].
            target: what the decoder is fed [N, T]; by default the sources, to see the shapes of things.
            lengths: of the sources [N]; all L by default.
            train: has no influence.
            noise: drop units at random.
        """
        self.check_input(x)
        memory, state = self.encode(x, lengths, train=train, noise=noise)
        outputs, _ = self._decoded(x if target is None else target, state, memory, train, noise)
        return {"encoder": memory.values, **outputs}

    def encode(
        self, x: Array, lengths: Array | None = None, *, train: bool = False, noise: bool = False
    ) -> tuple[Memory, State]:
        """What stays the same for all steps, and the decoder's first state: each part [N, H]."""
        values, state = self.encoder(x, lengths, self.mode("encoder", train, noise))
        keys = self.alignment(values) if self.score in ("general", "additive") else values
        return Memory(keys, values, lengths), state

    def step(
        self, carry: State, token: Array, memory: Memory, *, train: bool = False, noise: bool = False
    ) -> tuple[Array, State]:
        """One token of each hypothesis, [N·B] for N memories: logits [N·B, V] of the next, and the carry after it."""
        self.check_input(token[:, None])
        features, carry = self._decoded(token[:, None], carry, memory, train, noise)
        return features["logits"][:, 0], carry

    def _decoded(
        self, tokens: Array, state: State, memory: Memory, train: bool, noise: bool
    ) -> tuple[dict[str, Array], State]:
        h, context, alpha, _, state = self.decoder(tokens, state, memory, self.mode("decoder", train, noise))
        features = {"decoder": h}
        if self.score in ("dot", "general"):
            context, alpha = self._read(h, memory)
        if alpha is not None:
            features["alignment"] = alpha
        x = h if context is None else jnp.concatenate((h, context), -1)
        x = dropout(self, jnp.tanh(self.head_read_out(x)), self.drop_rate, self.mode("head", train, noise))
        return {**features, "pre_logits": x, "logits": self.head(x)}, state

    def _read(self, h: Array, memory: Memory) -> tuple[Array, Array]:
        """Contexts [N·B, T, H] and weights [N·B, T, L] of all steps at once."""
        (rows, steps, width), memories = h.shape, memory.values.shape[0]
        queries = h.reshape(memories, rows // memories * steps, width)
        alpha = attention.weigh(attention.dot(queries, memory.keys), memory.lengths)
        context = attention.read(alpha, memory.values)
        return context.reshape(rows, steps, -1), alpha.reshape(rows, steps, -1)


SIZE = 1000  # tokens of either side, to count


def _count(gates: int, biases: int, score: Score, size: int = SIZE, width: int = 256) -> int:
    half, attended = width // 2, score != "none"
    encoder = size * width + 2 * (gates * half * (width + half) + biases * half)
    decoder = size * width + gates * width * (width * (2 + (score == "additive"))) + biases * width
    aligned = {"none": 0, "dot": 0, "general": width**2, "additive": 2 * width**2 + width}[score]
    return encoder + decoder + aligned + width * (1 + attended) * width + width + width * size + size


_FIXED = {"activation": "tanh", "remat": False, "ghost_batch": 0}
_CELLS = {"lstm": (4, {**_FIXED, "cell": "lstm"}), "gru": (3, {**_FIXED, "cell": "gru", "forget_bias": 0.0})}


def _variant(cell: CellName, score: Score) -> Variant:
    gates, fixed = _CELLS[cell]
    count = _count(gates, 4, score)
    return Variant(Seq2Seq, {**fixed, "score": score}, (16,), count, {"num_classes": SIZE}, "int32")


VARIANTS = {
    "seq2seq_lstm": _variant("lstm", "none"),
    "seq2seq_lstm_dot": _variant("lstm", "dot"),
    "seq2seq_lstm_general": _variant("lstm", "general"),
    "seq2seq_lstm_additive": _variant("lstm", "additive"),
    "seq2seq_gru": _variant("gru", "none"),
    "seq2seq_gru_dot": _variant("gru", "dot"),
    "seq2seq_gru_general": _variant("gru", "general"),
    "seq2seq_gru_additive": _variant("gru", "additive"),
}
