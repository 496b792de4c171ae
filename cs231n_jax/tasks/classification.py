"""Image classification: a loss over the scores of K classes, and penalties on the weights."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax.metrics import Mean
from cs231n_jax.models import functional
from cs231n_jax.ops import augment, losses, penalties
from cs231n_jax.ops.precision import at_least_float32
from cs231n_jax.tasks.base import Augment, Metrics
from cs231n_jax.typing import Array, Batch, Key, ModelState, Params

LossFunction = Callable[[Array, Array], Array]  # (logits [N, K], labels [N]) -> [N]


@dataclass(frozen=True)
class Classification:
    """Batches {"image": uint8 [N, H, W, C], "label": int32 [N], optional "mask": float32 [N]} -> logits [N, K]."""

    model: Any
    mean: tuple[float, ...]  # per channel, of images scaled to [0, 1]
    std: tuple[float, ...]
    augment: Augment | None = None
    label_smoothing: float = 0.0  # of the softmax cross-entropy
    dtype: str = "float32"
    scored_by: LossFunction = losses.softmax_cross_entropy  # without smoothing
    l1: float = 0.0  # strengths of the penalties on kernels, in training
    l2: float = 0.0

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
        """The loss, in training with auxiliary heads and penalties; the metrics are those of the main head."""
        images = batch["image"]
        noise_key = None
        if train and key is not None:
            augment_key, noise_key = jax.random.split(key)
            images = self.augment(augment_key, batch) if self.augment else images
        outputs, model_state = functional.apply(
            self.model, params, model_state, self._standardize(images), key=noise_key, train=train, method="features"
        )
        per_example = self._per_example(outputs["logits"], batch["label"])
        metrics = classification_metrics(outputs["logits"], batch, self.scored_by)
        if train:
            for head, weight in self.model.auxiliary.items():
                per_example += weight * self._per_example(outputs[head], batch["label"])
            if self.l1 or self.l2:  # once for every example, since the step divides by their number
                kernels = penalties.weights(params)
                penalty = penalties.elastic(kernels, l1_strength=self.l1, l2_strength=self.l2)
                per_example += jnp.broadcast_to(penalty.astype(per_example.dtype), per_example.shape)
        return Mean.of(per_example, batch.get("mask")), (model_state, metrics)

    def predict(
        self, params: Params, model_state: ModelState, batch: Batch, *, key: Key | None = None, noise: bool = False
    ) -> Array:
        """Logits [N, K] in float32 (or float64)."""
        images = self._standardize(batch["image"])
        logits, _ = functional.apply(self.model, params, model_state, images, key=key, noise=noise)
        return logits.astype(at_least_float32(logits.dtype))

    def labels(self, batch: Batch) -> tuple[Any, Any]:
        """The labels [N] and the mask [N], ones where there is none."""
        return batch["label"], batch.get("mask", np.ones(batch["label"].shape, np.float32))

    def summarize(self, metrics: Metrics) -> dict[str, float]:
        """loss (the cross-entropy in nats, the hinge in units of the scores), accuracy in [0, 1]."""
        return {name: metric.compute() for name, metric in metrics.items()}

    def _widen(self, variables: Any) -> Any:
        return jax.tree.map(lambda x: x.astype(jnp.float64), variables) if self.dtype == "float64" else variables

    def _standardize(self, images: Array) -> Array:
        return augment.standardize(images, self.mean, self.std, jnp.dtype(self.dtype))

    def _per_example(self, logits: Array, labels: Array) -> Array:
        if self.label_smoothing:
            return losses.softmax_cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        return self.scored_by(logits, labels)


def classification_metrics(logits: Array, batch: Batch, scored_by: LossFunction) -> Metrics:
    """loss: without smoothing and penalties; accuracy: share of examples whose largest logit is the label's."""
    labels, mask = batch["label"], batch.get("mask")
    loss = scored_by(logits, labels)
    correct = (jnp.argmax(logits, axis=-1).astype(labels.dtype) == labels).astype(loss.dtype)
    return {"loss": Mean.of(loss, mask), "accuracy": Mean.of(correct, mask)}
