"""Language modelling: the mean cross-entropy of the next token, in nats."""

import math
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from cs231n_jax.data.vocabulary import UNKNOWN, Listed
from cs231n_jax.models import functional
from cs231n_jax.tasks.base import Metrics
from cs231n_jax.tasks.generation import Generation, Start
from cs231n_jax.tasks.tokens import Tokens
from cs231n_jax.typing import Array, Batch, ModelState, Params, PyTree

NO_TEXT = Listed((UNKNOWN,))


@dataclass(frozen=True)
class LanguageModelling(Tokens):
    """Batches of windows -> logits [N, T, V] of the token that follows each.

    {"token": int32 [N, T], "target": int32 [N, T], "start": bool [N], "counted": [N, T], optional "mask": [N]}

    loss = Σ counted·mask·(−log p(target)) / Σ counted·mask: every token has the same weight, wherever it stands.
    *Deviation* from the captioning loss of cs231n's assignments, which divides by the number of sequences.

    In training the model's carry goes from window to window, and is zero where a window is a beginning. In
    evaluation each row begins from zeros, so that no number depends on the batches: the first few characters of each
    of the long rows are predicted with less to go by than they could be.
    """

    vocabulary: Listed = NO_TEXT

    def fed(self, batch: Batch) -> tuple[Any, ...]:
        """Windows, and which rows begin anew."""
        return batch["token"], batch["start"]

    def given(self, batch: Batch) -> tuple[Any, ...]:
        """Windows, each from its beginning."""
        return (batch["token"],)

    def labels(self, batch: Batch) -> tuple[Any, Any]:
        """The targets [N, T], and which count."""
        counted = batch["counted"].astype(np.float32)
        return batch["target"], counted * batch["mask"][:, None] if "mask" in batch else counted

    def summarize(self, metrics: Metrics) -> dict[str, float]:
        """loss in nats a token, its perplexity e^loss, bits a token, and the share of right first guesses."""
        found = super().summarize(metrics)
        accuracy = found.pop("accuracy")
        return {**found, "bits": found["loss"] / math.log(2), "accuracy": accuracy}

    def generation(self) -> Generation:
        """Texts are continued, character by character; none ends by itself."""
        return Generation(self._read, self._start, lambda prompt, tokens: prompt + self.vocabulary.decode(tokens))

    def _read(self, prompt: str) -> dict[str, np.ndarray]:
        if not prompt:
            raise ValueError("the prompt is empty: give at least one character")
        unknown = [self.vocabulary.specials.get(UNKNOWN)]
        if strange := [c for c in prompt if self.vocabulary.encode(c) == unknown]:
            raise ValueError(f"the prompt has {strange[0]!r}, which is not in the vocabulary of this run: leave it out")
        return {"token": np.array([self.vocabulary.encode(prompt)], np.int32)}

    def _start(self, params: Params, model_state: ModelState, batch: Batch) -> Start:
        del model_state  # a carry of training, which no text here continues
        n, length = batch["token"].shape
        params = self._narrowed(params)

        def step(carry: PyTree, token: Array) -> tuple[Array, PyTree]:
            return functional.apply(self.model, params, {}, carry, token, method="step")[0]

        return Start(step, self.model.initial(n), batch["token"], jnp.full((n,), length, jnp.int32))
