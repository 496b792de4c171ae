"""Language models over characters: one-hot characters or an embedding, recurrent layers, scores of the next character.

How a decoder uses one:

    carry = model.initial(n)                                            # of n sequences, at their beginning
    (logits, carry), _ = functional.apply(model, params, {}, carry, tokens, method="step")   # tokens [N] -> [N, V]
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from cs231n_jax.models.base import Model, Variant
from cs231n_jax.models.layers import Dense, dropout, variable
from cs231n_jax.models.recurrent_layers import (
    KINDS,
    Backend,
    CellName,
    Recurrent,
    WeightsInit,
    check_backend,
    check_tokens,
    embedded,
    token_stages,
    zeros,
)
from cs231n_jax.ops import init
from cs231n_jax.typing import Array

Carry = dict[str, Array]  # by layer and part of its state, such as "layer1_h": [N, H]


class CharLm(Model):
    """Tokens [N, T], integers from 0 to V − 1, -> logits [N, T, V] of the token that follows each; V = num_classes.

    It computes in the dtype of its parameters. In training the state after the last step stays in the collection
    "carry", without a gradient, and the next window begins from it: truncated backpropagation through time. In
    inference every sequence begins from zeros.

    Reference: Karpathy 2015, "The Unreasonable Effectiveness of Recurrent Neural Networks", and cs231n, lecture
    "Recurrent neural networks"; truncation: Williams, Peng 1990, with their h = h' = the window. Dropout between the
    layers, not in time: Zaremba, Sutskever, Vinyals 2014, section 3.1.
    """

    cell: CellName = "lstm"
    hidden: int = 128
    layers: int = 1
    embedding: int = 0  # size of a learned vector for each token; 0: one-hot
    drop_rate: float = 0.0  # of what goes up, into every layer but the first and into the head
    weights_init: WeightsInit = "orthogonal"
    forget_bias: float = 1.0  # at the start, of an LSTM
    backend: Backend = "scan"  # what runs an LSTM over its steps

    reads = ("token", "start")

    @property
    def stages(self) -> tuple[str, ...]:
        """Of layers over tokens."""
        return token_stages(self.embedding, self.layers)

    def validate(self) -> None:
        """Refuse cuDNN for other cells; raises ValueError."""
        check_backend(self.backend, self.cell)

    def check_input(self, x: Array) -> None:
        """Refuse what is no batch of tokens."""
        check_tokens(self.name or type(self).__name__, x)

    def initial(self, n: int) -> Carry:
        """The carry of n sequences that have not begun: zeros."""
        states = {f"layer{i + 1}": zeros(self.cell, n, self.hidden) for i in range(self.layers)}
        return {f"{layer}_{part}": value for layer, state in states.items() for part, value in state.items()}

    def __call__(self, x: Array, start: Array | None = None, *, train: bool = False, noise: bool = False) -> Array:
        """The logits alone."""
        return self.features(x, start, train=train, noise=noise)["logits"]

    def features(
        self, x: Array, start: Array | None = None, *, train: bool = False, noise: bool = False
    ) -> dict[str, Array]:
        """The outputs of all stages, "pre_logits" and "logits".

        Args:
            x: tokens [N, T].
            start: [N], which of them begin anew and not where the last window ended; in training only.
            train: begin from the carry and leave the new one.
            noise: drop units at random.
        """
        self.check_input(x)
        carry = self._kept(x.shape[0], start) if train else None
        features, new = self.unrolled(x, carry, train=train, noise=noise)
        if train and not self.is_initializing():
            for name, value in new.items():
                self.put_variable("carry", name, jax.lax.stop_gradient(value))
        return features

    def step(self, carry: Carry, token: Array, *, train: bool = False, noise: bool = False) -> tuple[Array, Carry]:
        """One token [N] of each sequence: logits [N, V] of the next, and the carry after it."""
        self.check_input(token[:, None])
        features, carry = self.unrolled(token[:, None], carry, train=train, noise=noise)
        return features["logits"][:, 0], carry

    @nn.compact
    def unrolled(
        self, x: Array, carry: Carry | None = None, *, train: bool = False, noise: bool = False
    ) -> tuple[dict[str, Array], Carry]:
        """Everything but keeping the carry."""
        features, new = {}, {}
        if self.embedding:
            x = features["stem"] = embedded(self, "stem", x, self.num_classes, self.embedding)
        for i in range(self.layers):
            stage = f"layer{i + 1}"
            if i:
                x = dropout(self, x, self.drop_rate, self.mode(stage, train, noise))
            state = carry and {part: carry[f"{stage}_{part}"] for part in KINDS[self.cell].parts}
            options = (self.cell, self.weights_init, self.forget_bias)
            layer = Recurrent(self.hidden, *options, backend=self.backend, name=stage)
            x, state = layer(x, state, self.num_classes)
            features[stage] = x
            new.update({f"{stage}_{part}": value for part, value in state.items()})
        x = dropout(self, x, self.drop_rate, self.mode("head", train, noise))
        head = Dense(self.num_classes, init=init.lecture_xavier, name="head")
        return {**features, "pre_logits": x, "logits": head(x)}, new

    def _kept(self, n: int, start: Array | None) -> Carry:
        """What the last window left, zeros where a sequence starts."""
        zero = init.constant((n, self.hidden), 0.0)
        kept = {name: variable(self, "carry", name, zero) for name in self.initial(n)}
        if start is None:
            return kept
        return {name: jnp.where(start[:, None], jnp.zeros_like(value), value) for name, value in kept.items()}


SYMBOLS = 97  # printable ASCII, the end of a line, and the unknown character
WINDOW = 64


def _count(gates: int, biases: int, symbols: int = SYMBOLS, hidden: int = 128) -> int:
    return gates * hidden * (symbols + hidden) + biases * hidden + hidden * symbols + symbols


_FIXED = {"activation": "tanh", "remat": False, "ghost_batch": 0}
_FREE = {"num_classes": SYMBOLS}
VARIANTS = {
    "char_lm": Variant(CharLm, _FIXED, (WINDOW,), _count(4, 4), _FREE, "int32"),
    "char_rnn": Variant(CharLm, {**_FIXED, "cell": "rnn", "forget_bias": 0.0}, (WINDOW,), _count(1, 1), _FREE, "int32"),
    "char_lstm": Variant(CharLm, {**_FIXED, "cell": "lstm"}, (WINDOW,), _count(4, 4), _FREE, "int32"),
    "char_gru": Variant(CharLm, {**_FIXED, "cell": "gru", "forget_bias": 0.0}, (WINDOW,), _count(3, 4), _FREE, "int32"),
}
