"""Classifiers of texts: an embedding, recurrent layers in one or both directions, one vector for the text, scores."""

from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp

from cs231n_jax.models.base import Model, Variant
from cs231n_jax.models.layers import Dense, dropout
from cs231n_jax.models.recurrent_layers import (
    Backend,
    CellName,
    Recurrent,
    WeightsInit,
    check_backend,
    check_tokens,
    embedded,
    token_stages,
)
from cs231n_jax.ops import init
from cs231n_jax.typing import Array

PoolName = Literal["last", "mean", "max"]


class Sentiment(Model):
    """Tokens [N, T], integers from 0 to V − 1, and how many of each text count [N] -> logits [N, K]: many to one.

    What stands behind the end of a text changes no number. One vector for the text is made of the highest layer by

    - "last": the state after the last token and, of the backward direction, after the first one;
    - "mean", "max": of the outputs over all tokens, unit by unit.

    It computes in the dtype of its parameters.

    Reference: cs231n, lecture "Recurrent neural networks" (many to one: sentiment classification); both directions:
    Schuster, Paliwal 1997; dropout of what goes up and not of what goes on in time: Zaremba, Sutskever, Vinyals 2014,
    section 3.1.
    """

    vocabulary: int = 10_000  # V
    cell: CellName = "lstm"
    hidden: int = 128  # H, of each direction
    layers: int = 1
    bidirectional: bool = True
    embedding: int = 100  # size of a learned vector for each token; 0: one-hot
    embedding_std: float = 1.0  # of its numbers at the start
    pool: PoolName = "last"
    drop_rate: float = 0.0  # of the embedding, between layers, and before the head
    weights_init: WeightsInit = "orthogonal"
    forget_bias: float = 1.0  # at the start, of an LSTM
    backend: Backend = "scan"  # what runs an LSTM over its steps

    reads = ("token", "length")

    @property
    def stages(self) -> tuple[str, ...]:
        """Of layers over tokens."""
        return token_stages(self.embedding, self.layers)

    def validate(self) -> None:
        """Refuse cuDNN for other cells; raises ValueError."""
        check_backend(self.backend, self.cell)

    def check_input(self, x: Array, length: Array | None = None) -> None:
        """Refuse what is no batch of tokens; raises ValueError."""
        label = self.name or type(self).__name__
        check_tokens(label, x)
        if length is not None and length.shape != x.shape[:1]:
            raise ValueError(f"{label} got lengths of shape {list(length.shape)} for {len(x)} texts: give one a text")

    def __call__(self, x: Array, length: Array | None = None, *, train: bool = False, noise: bool = False) -> Array:
        """The logits alone."""
        return self.features(x, length, train=train, noise=noise)["logits"]

    @nn.compact
    def features(
        self, x: Array, length: Array | None = None, *, train: bool = False, noise: bool = False
    ) -> dict[str, Array]:
        """The outputs of all stages, "pre_logits" [N, H or 2·H] and "logits".

        Args:
            x: tokens [N, T].
            length: of each text, [N], integers from 1 to T; T by default.
            train: as everywhere; without meaning here.
            noise: drop units at random.
        """
        self.check_input(x, length)
        features: dict[str, Array] = {}
        if self.embedding:
            x = embedded(self, "stem", x, self.vocabulary, self.embedding, self.embedding_std)
            x = features["stem"] = dropout(self, x, self.drop_rate, self.mode("stem", train, noise))
        last = x
        for i in range(self.layers):
            stage = f"layer{i + 1}"
            if i:
                x = dropout(self, x, self.drop_rate, self.mode(stage, train, noise))
            x, last = self._layer(stage, x, length)
            features[stage] = x
        x = last if self.pool == "last" else POOLS[self.pool](x, _live(x, length))
        x = dropout(self, x, self.drop_rate, self.mode("head", train, noise))
        head = Dense(self.num_classes, init=init.lecture_xavier, name="head")
        return {**features, "pre_logits": x, "logits": head(x)}

    def _layer(self, stage: str, x: Array, length: Array | None) -> tuple[Array, Array]:
        """The outputs [N, T, H or 2·H], and the last h of each direction [N, H or 2·H]."""
        outputs, last = [], []
        options = (self.cell, self.weights_init, self.forget_bias)
        for name, reverse in ((stage, False), (f"{stage}_back", True))[: 1 + self.bidirectional]:
            layer = Recurrent(self.hidden, *options, reverse, self.backend, name=name)
            y, state = layer(x, None, self.vocabulary, length)
            outputs.append(y)
            last.append(state["h"].astype(y.dtype))
        return jnp.concatenate(outputs, -1), jnp.concatenate(last, -1)


def _live(x: Array, length: Array | None) -> Array:
    """Which steps count: bool [N, T, 1]."""
    n, steps = x.shape[:2]
    if length is None:
        return jnp.ones((n, steps, 1), bool)
    return (jnp.arange(steps, dtype=length.dtype)[None] < length[:, None])[..., None]


def mean(x: Array, live: Array) -> Array:
    """Over the steps that count: [N, T, H] -> [N, H]; 0 where none does."""
    return jnp.where(live, x, jnp.zeros_like(x)).sum(1) / jnp.maximum(live.sum(1), 1).astype(x.dtype)


def maximum(x: Array, live: Array) -> Array:
    """Over the steps that count: [N, T, H] -> [N, H]; 0 where none does."""
    largest = jnp.where(live, x, jnp.full_like(x, -jnp.inf)).max(1)
    return jnp.where(live.any(1), largest, jnp.zeros_like(largest))


POOLS: dict[str, Callable[[Array, Array], Array]] = {"mean": mean, "max": maximum}
TOKENS, TEXT = 10_000, 32


def _count(gates: int, biases: int, entries: int = TOKENS, embedding: int = 100, hidden: int = 128) -> int:
    direction = gates * hidden * (embedding + hidden) + biases * hidden
    return entries * embedding + 2 * direction + 2 * hidden * 2 + 2


_FIXED = {"activation": "tanh", "remat": False, "ghost_batch": 0}
_FREE = {"num_classes": 2}
VARIANTS = {"sentiment": Variant(Sentiment, _FIXED, (TEXT,), _count(4, 4), _FREE, "int32")}
