"""Image classification: softmax cross-entropy over K classes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax.metrics import Mean
from cs231n_jax.models import functional
from cs231n_jax.ops import augment, losses
from cs231n_jax.tasks.base import Augment, Metrics
from cs231n_jax.typing import Array, Batch, Key, ModelState, Params


@dataclass(frozen=True)
class Classification:
    """Batches {"image": uint8 [N, H, W, C], "label": int32 [N], optional "mask": float32 [N]} -> logits [N, K]."""

    model: Any
    mean: tuple[float, ...]  # per channel, of images scaled to [0, 1]
    std: tuple[float, ...]
    augment: Augment | None = None
    label_smoothing: float = 0.0
    dtype: str = "float32"

    def init(
        self, seed: int, batch: Batch, place: Callable[[list[np.ndarray]], list[Any]] = jax.device_put
    ) -> tuple[Params, ModelState]:
        """Drawn parameters and batch statistics; in float64 they are the float32 draws, widened."""
        images = jax.eval_shape(self._standardize, batch["image"])
        return functional.init(self.model, seed, images, place=lambda leaves: place(self._widen(leaves)))

    def shapes(self, batch: Batch) -> tuple[Params, ModelState]:
        """What `init` would give, as jax.ShapeDtypeStructs."""
        variables = functional.shapes(self.model, jax.eval_shape(self._standardize, batch["image"]))
        return jax.eval_shape(self._widen, variables)

    def loss(
        self, params: Params, model_state: ModelState, batch: Batch, *, key: Key | None, train: bool
    ) -> tuple[Mean, tuple[ModelState, Metrics]]:
        """Cross-entropy, plus the model's auxiliary heads in training; the metrics are those of the main head."""
        images = batch["image"]
        noise_key = None
        if train and key is not None:
            augment_key, noise_key = jax.random.split(key)
            images = self.augment(augment_key, images) if self.augment else images
        outputs, model_state = functional.apply(
            self.model, params, model_state, self._standardize(images), key=noise_key, train=train, method="features"
        )
        per_example = self._cross_entropy(outputs["logits"], batch["label"])
        metrics = classification_metrics(outputs["logits"], batch)
        if train:
            for head, weight in self.model.auxiliary.items():
                per_example += weight * self._cross_entropy(outputs[head], batch["label"])
        return Mean.of(per_example, batch.get("mask")), (model_state, metrics)

    def predict(
        self, params: Params, model_state: ModelState, batch: Batch, *, key: Key | None = None, noise: bool = False
    ) -> Array:
        """Logits [N, K] in float32 (or float64)."""
        images = self._standardize(batch["image"])
        logits, _ = functional.apply(self.model, params, model_state, images, key=key, noise=noise)
        return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))

    def summarize(self, metrics: Metrics) -> dict[str, float]:
        """loss in nats, accuracy in [0, 1]."""
        return {name: metric.compute() for name, metric in metrics.items()}

    def _widen(self, variables: Any) -> Any:
        return jax.tree.map(lambda x: x.astype(jnp.float64), variables) if self.dtype == "float64" else variables

    def _standardize(self, images: Array) -> Array:
        return augment.standardize(images, self.mean, self.std, jnp.dtype(self.dtype))

    def _cross_entropy(self, logits: Array, labels: Array) -> Array:
        return losses.softmax_cross_entropy(logits, labels, label_smoothing=self.label_smoothing)


def classification_metrics(logits: Array, batch: Batch) -> Metrics:
    """loss: plain cross-entropy without smoothing; accuracy: share of examples whose largest logit is the label's."""
    labels, mask = batch["label"], batch.get("mask")
    nats = losses.softmax_cross_entropy(logits, labels)
    correct = (jnp.argmax(logits, axis=-1).astype(labels.dtype) == labels).astype(nats.dtype)
    return {"loss": Mean.of(nats, mask), "accuracy": Mean.of(correct, mask)}
