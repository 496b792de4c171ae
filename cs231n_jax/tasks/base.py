"""The contract between a model and the one training loop."""

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax.metrics import Mean
from cs231n_jax.ops import augment
from cs231n_jax.typing import Array, Batch, Key, ModelState, Params

Metrics = dict[str, Mean]


class Task(Protocol):
    """Everything that the training loop knows about what it trains."""

    def init(
        self, seed: int, batch: Batch, place: Callable[[list[np.ndarray]], list[Any]] = jax.device_put
    ) -> tuple[Params, ModelState]:
        """Parameters and state, drawn as a pure function of the seed and each leaf's path, and put by `place`.

        `batch` may hold jax.ShapeDtypeStructs in place of arrays, here and in `shapes`: only its shapes are read.
        """
        ...

    def shapes(self, batch: Batch) -> tuple[Params, ModelState]:
        """What `init` would give, as jax.ShapeDtypeStructs: for plans, and for states created shard by shard."""
        ...

    def loss(
        self, params: Params, model_state: ModelState, batch: Batch, *, key: Key | None, train: bool
    ) -> tuple[Mean, tuple[ModelState, Metrics]]:
        """The loss as (sum, count), the new model state, and metrics; the step divides by the global count."""
        ...

    def predict(
        self, params: Params, model_state: ModelState, batch: Batch, *, key: Key | None = None, noise: bool = False
    ) -> Any:
        """Outputs in inference, for example logits [N, K]."""
        ...

    def labels(self, batch: Batch) -> tuple[Any, Any]:
        """What the outputs of `predict` are scored against, of their shape but for the last axis, and which count."""
        ...

    def summarize(self, metrics: Metrics) -> dict[str, float]:
        """Metrics as plain numbers."""
        ...


class Loss(enum.Enum):
    """What is minimised over the scores of the classes."""

    SOFTMAX = "softmax"  # cross-entropy
    SVM = "svm"  # multiclass hinge
    SQUARED_SVM = "squared_svm"  # multiclass hinge, each term squared


@dataclass(kw_only=True, slots=True)
class TaskConfig:
    """Which task, and the options that tasks share.

    `l1` and `l2` add l1·Σ|w| + l2·½·Σw² over all kernels to the mean training loss (both: the elastic net); the losses
    that are reported are without. With plain SGD, momentum or Nesterov l2=λ is the same as optimizer.weight_decay=λ
    (coupled, decay_vectors=False); the difference is where clipping sees it: l2 is part of the gradient that is
    measured and clipped, weight_decay is added after. Frozen kernels count in the sum and do not move.
    """

    name: str = "classification"
    loss: Loss = Loss.SOFTMAX
    label_smoothing: float = 0.0  # softmax: share of the target spread over all classes, in [0, 1)
    margin: float = 1.0  # svm, squared_svm
    l1: float = 0.0  # off: 0
    l2: float = 0.0  # off: 0
    attention_spread: float = 0.0  # captioning with attention: λ of the term that lets no place be passed over; off: 0

    def validate(self) -> None:
        """Refuse values out of range, and those that the loss does not read."""
        if not isinstance(self.loss, Loss):
            raise ValueError(f"task.loss={self.loss!r} must be one of {', '.join(map(str, Loss))}")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"task.label_smoothing={self.label_smoothing} is outside [0, 1)")
        for field in ("margin", "l1", "l2", "attention_spread"):
            if not 0 <= getattr(self, field) < math.inf:
                raise ValueError(f"task.{field}={getattr(self, field)} must be finite and at least 0")
        if self.loss is Loss.SOFTMAX and self.margin != 1:
            raise ValueError(f"task.margin={self.margin} is for task.loss=svm and squared_svm: leave it at 1.0")
        if self.loss is not Loss.SOFTMAX and self.label_smoothing:
            raise ValueError(
                f"task.label_smoothing={self.label_smoothing} is for task.loss=softmax: set it to 0 with "
                f"{self.loss.value}"
            )


Augment = Callable[[Key, Batch], Array]  # images [N, H, W, C] of the batch, changed


def prepared(first: Array, mean: tuple[float, ...], std: tuple[float, ...], dtype: str) -> Array:
    """What a model is called on first: pixels standardised, features of an encoder in `dtype`, all else as it is.

    Args:
        first: the first array that the model reads.
        mean: per channel, of pixels scaled to [0, 1]; () where there are none.
        std: the same.
        dtype: that the model is to compute in.
    """
    if mean:
        return augment.standardize(first, mean, std, jnp.dtype(dtype))
    return first.astype(jnp.dtype(dtype)) if jnp.issubdtype(first.dtype, jnp.floating) else first
