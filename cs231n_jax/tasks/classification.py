"""Classification of images, texts and clips: a loss over the scores of K classes, and penalties on the weights."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax.metrics import Mean
from cs231n_jax.models import functional
from cs231n_jax.ops import losses, penalties
from cs231n_jax.ops.precision import at_least_float32
from cs231n_jax.tasks.base import Augment, Metrics, prepared
from cs231n_jax.typing import Array, Batch, Key, ModelState, Params

LossFunction = Callable[[Array, Array], Array]  # (logits [..., K], labels [...]) -> [...]


@dataclass(frozen=True)
class Classification:
    """Batches {what the model reads, "label": int32 [N], optional "mask": float32 [N]} -> logits [N, K].

    A model reads "image", uint8 [N, H, W, C]; or "token" and "length", int32 [N, T] and [N]; or "video", uint8
    [N, T, H, W, C]. Further scores that it gives, such as one for each frame against "frame_label", int32 [N, T], have
    metrics of their own, of which each example counts once; those with a weight in `model.auxiliary` add their mean
    over an example, so weighted, to its training loss. With `open_answers` an example with the label −1 is in no loss,
    and wrong.
    """

    model: Any
    mean: tuple[float, ...]  # per channel, of pixels scaled to [0, 1]; () where the model reads none
    std: tuple[float, ...]
    augment: Augment | None = None
    label_smoothing: float = 0.0  # of the softmax cross-entropy
    dtype: str = "float32"
    scored_by: LossFunction = losses.softmax_cross_entropy  # without smoothing
    l1: float = 0.0  # strengths of the penalties on kernels, in training
    l2: float = 0.0
    open_answers: bool = False  # a label −1 stands for an answer that is no class

    def init(
        self, seed: int, batch: Batch, place: Callable[[list[np.ndarray]], list[Any]] = jax.device_put
    ) -> tuple[Params, ModelState]:
        """Drawn parameters and batch statistics; in float64 they are the float32 draws, widened."""
        inputs = jax.eval_shape(self._inputs, batch)
        return functional.init(self.model, seed, *inputs, place=lambda leaves: place(self._widen(leaves)))

    def shapes(self, batch: Batch) -> tuple[Params, ModelState]:
        """What `init` would give, as jax.ShapeDtypeStructs."""
        variables = functional.shapes(self.model, *jax.eval_shape(self._inputs, batch))
        return jax.eval_shape(self._widen, variables)

    def loss(
        self, params: Params, model_state: ModelState, batch: Batch, *, key: Key | None, train: bool
    ) -> tuple[Mean, tuple[ModelState, Metrics]]:
        """The loss, in training with auxiliary heads and penalties; the metrics are those of the main head."""
        noise_key = None
        if train and key is not None:
            augment_key, noise_key = jax.random.split(key)
            if self.augment:
                batch = {**batch, self.model.reads[0]: self.augment(augment_key, batch)}
        inputs, params = self._inputs(batch), self._narrowed(given := params)
        outputs, model_state = functional.apply(
            self.model, params, model_state, *inputs, key=noise_key, train=train, method="features"
        )
        labels, mask = self._answered(batch)
        per_example = self._per_example(outputs["logits"], labels)
        metrics: Metrics = {}
        for head, name in self.model.answers.items():
            found = classification_metrics(outputs[head], batch, self.scored_by, name, self.open_answers)
            metrics |= {name.removesuffix("label") + metric: value for metric, value in found.items()}
        if train:
            for head, weight in self.model.auxiliary.items():
                each = self._per_example(outputs[head], batch[self.model.answers.get(head, "label")])
                per_example += weight * _of_examples(each)
            if self.l1 or self.l2:  # once for every example, since the step divides by their number
                kernels = penalties.weights(given)
                penalty = penalties.elastic(kernels, l1_strength=self.l1, l2_strength=self.l2)
                per_example += jnp.broadcast_to(penalty.astype(per_example.dtype), per_example.shape)
        return Mean.of(per_example, mask), (model_state, metrics)

    def predict(
        self, params: Params, model_state: ModelState, batch: Batch, *, key: Key | None = None, noise: bool = False
    ) -> Array:
        """Logits [N, K] in float32 (or float64)."""
        params = self._narrowed(params)
        logits, _ = functional.apply(self.model, params, model_state, *self._inputs(batch), key=key, noise=noise)
        return logits.astype(at_least_float32(logits.dtype))

    def features(self, params: Params, model_state: ModelState, batch: Batch) -> dict[str, Array]:
        """All that the model names, in inference, in the dtype that it computes in."""
        inputs, params = self._inputs(batch), self._narrowed(params)
        return functional.apply(self.model, params, model_state, *inputs, method="features")[0]

    def labels(self, batch: Batch) -> tuple[Any, Any]:
        """The labels [N] and the mask [N], ones where there is none."""
        return batch["label"], batch.get("mask", np.ones(batch["label"].shape, np.float32))

    def summarize(self, metrics: Metrics) -> dict[str, float]:
        """loss (the cross-entropy in nats, the hinge in units of the scores), accuracy in [0, 1]; as frame_loss too."""
        return {name: metric.compute() for name, metric in metrics.items()}

    def _widen(self, variables: Any) -> Any:
        return jax.tree.map(lambda x: x.astype(jnp.float64), variables) if self.dtype == "float64" else variables

    def _narrowed(self, params: Params) -> Params:
        """Where no pixels say in what dtype the model is to compute, the parameters in it."""
        return params if self.mean else jax.tree.map(lambda x: x.astype(jnp.dtype(self.dtype)), params)

    def _inputs(self, batch: Batch) -> tuple[Array, ...]:
        """What the model is called on: the first array as `prepared`, all else as it is."""
        first, *rest = (batch[name] for name in self.model.reads)
        return (prepared(first, self.mean, self.std, self.dtype), *rest)

    def _answered(self, batch: Batch) -> tuple[Array, Array | None]:
        """The labels, and which examples the loss is of."""
        return answered(batch["label"], batch.get("mask")) if self.open_answers else (batch["label"], batch.get("mask"))

    def _per_example(self, logits: Array, labels: Array) -> Array:
        if self.label_smoothing:
            return losses.softmax_cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        return self.scored_by(logits, labels)


def classification_metrics(
    logits: Array, batch: Batch, scored_by: LossFunction, target: str = "label", open_answers: bool = False
) -> Metrics:
    """loss: without smoothing and penalties; accuracy: share of scores whose largest is the label's.

    Args:
        logits: [N, K]; or [N, T, K], of which the mean of an example counts.
        batch: has the labels [N] or [N, T], and perhaps a mask [N].
        scored_by: the loss.
        target: the name of the labels.
        open_answers: a label −1 is wrong whatever is said, and has no loss.
    """
    labels, mask = batch[target], batch.get("mask")
    known, counted = answered(labels, mask) if open_answers else (labels, mask)
    loss = scored_by(logits, known)
    correct = (jnp.argmax(logits, axis=-1).astype(labels.dtype) == labels).astype(loss.dtype)
    return {"loss": Mean.of(_of_examples(loss), counted), "accuracy": Mean.of(_of_examples(correct), mask)}


def answered(labels: Array, mask: Array | None) -> tuple[Array, Array]:
    """Labels [N] with a class for −1, any, and the mask [N] without those: what a loss can be taken of."""
    there = labels >= 0
    return jnp.maximum(labels, 0), there if mask is None else mask * there.astype(mask.dtype)


def _of_examples(values: Array) -> Array:
    """[N, ...] -> [N]: means."""
    return values if values.ndim == 1 else values.mean(axis=tuple(range(1, values.ndim)))
