"""What tasks share whose model scores the next token at every place of a sequence."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax.metrics import Mean
from cs231n_jax.models import functional
from cs231n_jax.ops import losses
from cs231n_jax.ops.precision import at_least_float32
from cs231n_jax.tasks.base import Metrics
from cs231n_jax.typing import Array, Batch, Key, ModelState, Params

LARGEST = 700.0  # nats whose exponential is still a number


@dataclass(frozen=True)
class Tokens:
    """Batches -> logits [N, T, V]; loss = Σ counted·(−log p(target)) / Σ counted, every counted token of one weight.

    A task of this kind says what its model is called on, in training (`fed`) and in inference (`given`), and what its
    logits are scored against (`labels`).
    """

    model: Any
    label_smoothing: float = 0.0
    dtype: str = "float32"

    def fed(self, batch: Batch) -> tuple[Any, ...]:
        """What the model is called on where it is scored."""
        raise NotImplementedError

    def given(self, batch: Batch) -> tuple[Any, ...]:
        """What the model is called on where it predicts; the same but for what is of training alone."""
        return self.fed(batch)

    def labels(self, batch: Batch) -> tuple[Any, Any]:
        """The targets [N, T], integers, and which count, float32 [N, T]."""
        raise NotImplementedError

    def init(
        self, seed: int, batch: Batch, place: Callable[[list[np.ndarray]], list[Any]] = jax.device_put
    ) -> tuple[Params, ModelState]:
        """Drawn parameters, and a carry of zeros where there is one; in float64 the float32 draws, widened."""
        inputs = jax.eval_shape(self.given, batch)
        return functional.init(self.model, seed, *inputs, place=lambda leaves: place(self._widen(leaves)))

    def shapes(self, batch: Batch) -> tuple[Params, ModelState]:
        """What `init` would give, as jax.ShapeDtypeStructs."""
        return jax.eval_shape(self._widen, functional.shapes(self.model, *jax.eval_shape(self.given, batch)))

    def loss(
        self, params: Params, model_state: ModelState, batch: Batch, *, key: Key | None, train: bool
    ) -> tuple[Mean, tuple[ModelState, Metrics]]:
        """The loss, in training with label smoothing and `regularized`; the metrics are without."""
        key = key if train else None
        inputs = (self._narrowed(params), model_state, *self.fed(batch))
        features, model_state = functional.apply(
            self.model, *inputs, key=key, train=train, noise=key is not None, method="features"
        )
        logits = features["logits"]
        targets, counted = self.labels(batch)
        nats = losses.softmax_cross_entropy(logits, targets)
        right = jnp.argmax(logits, axis=-1).astype(targets.dtype) == targets
        metrics = {"loss": Mean.of(nats, counted), "accuracy": Mean.of(right.astype(nats.dtype), counted)}
        if train and self.label_smoothing:
            nats = losses.softmax_cross_entropy(logits, targets, label_smoothing=self.label_smoothing)
        loss = Mean.of(nats, counted)
        if train:
            loss = self.regularized(loss, features, counted)
        return loss, (model_state, metrics)

    def regularized(self, loss: Mean, features: dict[str, Array], counted: Array) -> Mean:
        """The training loss with the terms that a task adds to it; here there are none."""
        del features, counted
        return loss

    def predict(
        self, params: Params, model_state: ModelState, batch: Batch, *, key: Key | None = None, noise: bool = False
    ) -> Array:
        """Logits [N, T, V] in float32 (or float64), the true tokens before each given."""
        inputs = (self._narrowed(params), model_state, *self.given(batch))
        logits, _ = functional.apply(self.model, *inputs, key=key, noise=noise)
        return logits.astype(at_least_float32(logits.dtype))

    def summarize(self, metrics: Metrics) -> dict[str, float]:
        """loss in nats a token, its perplexity e^loss, and the share of right first guesses."""
        loss, accuracy = metrics["loss"].compute(), metrics["accuracy"].compute()
        return {"loss": loss, "perplexity": math.exp(min(loss, LARGEST)), "accuracy": accuracy}

    def _widen(self, variables: Any) -> Any:
        return jax.tree.map(lambda x: x.astype(jnp.float64), variables) if self.dtype == "float64" else variables

    def _narrowed(self, params: Params) -> Params:
        """The parameters in the dtype that the model is to compute in: it has no other input that says so."""
        return jax.tree.map(lambda x: x.astype(jnp.dtype(self.dtype)), params)
