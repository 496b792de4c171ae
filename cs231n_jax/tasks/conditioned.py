"""What tasks share that write a text about something given: the translation of a sentence, the caption of a picture."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from cs231n_jax.data.vocabulary import BEGIN, END, Vocabulary
from cs231n_jax.models import functional
from cs231n_jax.tasks.generation import Start
from cs231n_jax.tasks.tokens import Tokens
from cs231n_jax.typing import Array, Batch, ModelState, Params, PyTree


@dataclass(frozen=True, kw_only=True)
class Conditioned(Tokens):
    """Batches with "target", int32 [N, T], and "target_length" -> logits [N, T − 1, V] of the token that follows each.

    loss = Σ counted·mask·(−log p(target_t | given, target_<t)) / Σ counted·mask: every token up to <eos> has the same
    weight, padding has none. A task of this kind says what its model's `encode` is called on (`encoded`).
    """

    target: Vocabulary

    def encoded(self, batch: Batch) -> tuple[Any, ...]:
        """What is given: the first array, and whatever else belongs to it."""
        raise NotImplementedError

    def fed(self, batch: Batch) -> tuple[Any, ...]:
        """The first array of what is given, the targets but their last place, and the rest of what is given."""
        first, *rest = self.encoded(batch)
        return (first, batch["target"][:, :-1], *rest)

    def labels(self, batch: Batch) -> tuple[Any, Any]:
        """The tokens that follow [N, T − 1], and which count."""
        targets = batch["target"][:, 1:]
        place, last = np.arange(targets.shape[1], dtype=np.int32)[None], batch["target_length"][:, None] - 1
        counted = (place < last).astype(np.float32)
        return targets, counted * batch["mask"][:, None] if "mask" in batch else counted

    def alignment(self, params: Params, model_state: ModelState, batch: Batch) -> Array:
        """Where the decoder looked when it wrote each token but the first of the target: [N, T − 1, L].

        Raises:
            ValueError: the model has no attention.
        """
        if "alignment" not in self.model.stages:
            raise ValueError("this model has no attention: give a run of one that has")
        inputs = (self._narrowed(params), model_state, *self.fed(batch))
        return functional.apply(self.model, *inputs, method="features")[0]["alignment"]

    @property
    def stop(self) -> int:
        """The token that ends a text."""
        return self.target.specials[END]

    def write(self, prompt: str, tokens: Iterable[int]) -> str:
        """The text of tokens, whatever it is about."""
        del prompt
        return self.target.decode(tokens)

    def start(self, params: Params, model_state: ModelState, batch: Batch) -> Start:
        """Where decoding begins: with <bos>, and what the encoder makes of what is given."""
        params, given = self._narrowed(params), self.encoded(batch)
        (memory, carry), _ = functional.apply(self.model, params, model_state, *given, method="encode")

        def step(carry: PyTree, token: Array) -> tuple[Array, PyTree]:
            return functional.apply(self.model, params, model_state, carry, token, memory, method="step")[0]

        n = len(given[0])
        first = jnp.full((n, 1), self.target.specials[BEGIN], jnp.int32)
        return Start(step, carry, first, jnp.ones(n, jnp.int32))
