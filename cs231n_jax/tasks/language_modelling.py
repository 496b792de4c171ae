"""Language modelling: the mean cross-entropy of the next token, in nats."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax.data.vocabulary import UNKNOWN, Listed
from cs231n_jax.metrics import Mean
from cs231n_jax.models import functional
from cs231n_jax.ops import losses
from cs231n_jax.ops.precision import at_least_float32
from cs231n_jax.tasks.base import Metrics
from cs231n_jax.tasks.generation import Generation, Start
from cs231n_jax.typing import Array, Batch, Key, ModelState, Params, PyTree

NO_TEXT = Listed((UNKNOWN,))
LARGEST = 700.0  # nats whose exponential is still a number


@dataclass(frozen=True)
class LanguageModelling:
    """Batches of windows -> logits [N, T, V] of the token that follows each.

    {"token": int32 [N, T], "target": int32 [N, T], "start": bool [N], "counted": [N, T], optional "mask": [N]}

    loss = Σ counted·mask·(−log p(target)) / Σ counted·mask: every token has the same weight, wherever it stands.
    *Deviation* from the captioning loss of cs231n's assignments, which divides by the number of sequences.

    In training the model's carry goes from window to window, and is zero where a window is a beginning. In
    evaluation each row begins from zeros, so that no number depends on the batches: the first few characters of each
    of the long rows are predicted with less to go by than they could be.
    """

    model: Any
    label_smoothing: float = 0.0
    dtype: str = "float32"
    vocabulary: Listed = NO_TEXT

    def init(
        self, seed: int, batch: Batch, place: Callable[[list[np.ndarray]], list[Any]] = jax.device_put
    ) -> tuple[Params, ModelState]:
        """Drawn parameters and a carry of zeros; in float64 they are the float32 draws, widened."""
        return functional.init(self.model, seed, batch["token"], place=lambda leaves: place(self._widen(leaves)))

    def shapes(self, batch: Batch) -> tuple[Params, ModelState]:
        """What `init` would give, as jax.ShapeDtypeStructs."""
        return jax.eval_shape(self._widen, functional.shapes(self.model, batch["token"]))

    def loss(
        self, params: Params, model_state: ModelState, batch: Batch, *, key: Key | None, train: bool
    ) -> tuple[Mean, tuple[ModelState, Metrics]]:
        """The loss, in training with label smoothing; the metrics are without."""
        key = key if train else None
        inputs = batch["token"], batch["start"]
        logits, model_state = functional.apply(
            self.model, self._narrowed(params), model_state, *inputs, key=key, train=train, noise=key is not None
        )
        targets, counted = self.labels(batch)
        nats = losses.softmax_cross_entropy(logits, targets)
        right = jnp.argmax(logits, axis=-1).astype(targets.dtype) == targets
        metrics = {"loss": Mean.of(nats, counted), "accuracy": Mean.of(right.astype(nats.dtype), counted)}
        if train and self.label_smoothing:
            nats = losses.softmax_cross_entropy(logits, targets, label_smoothing=self.label_smoothing)
        return Mean.of(nats, counted), (model_state, metrics)

    def predict(
        self, params: Params, model_state: ModelState, batch: Batch, *, key: Key | None = None, noise: bool = False
    ) -> Array:
        """Logits [N, T, V] in float32 (or float64), each row from its beginning."""
        params = self._narrowed(params)
        logits, _ = functional.apply(self.model, params, model_state, batch["token"], key=key, noise=noise)
        return logits.astype(at_least_float32(logits.dtype))

    def labels(self, batch: Batch) -> tuple[Any, Any]:
        """The targets [N, T], and which count."""
        counted = batch["counted"].astype(np.float32)
        return batch["target"], counted * batch["mask"][:, None] if "mask" in batch else counted

    def summarize(self, metrics: Metrics) -> dict[str, float]:
        """loss in nats a token, its perplexity e^loss, bits a token, and the share of right first guesses."""
        loss, accuracy = metrics["loss"].compute(), metrics["accuracy"].compute()
        perplexity = math.exp(min(loss, LARGEST))
        return {"loss": loss, "perplexity": perplexity, "bits": loss / math.log(2), "accuracy": accuracy}

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

    def _widen(self, variables: Any) -> Any:
        return jax.tree.map(lambda x: x.astype(jnp.float64), variables) if self.dtype == "float64" else variables

    def _narrowed(self, params: Params) -> Params:
        """The parameters in the dtype that the model is to compute in: it has no other input that says so."""
        return jax.tree.map(lambda x: x.astype(jnp.dtype(self.dtype)), params)
