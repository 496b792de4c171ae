"""The contract between a model and the one training loop."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import numpy as np

from cs231n_jax.metrics import Mean
from cs231n_jax.typing import Array, Batch, Key, ModelState, Params

Metrics = dict[str, Mean]


class Task(Protocol):
    """Everything that the training loop knows about what it trains."""

    def init(
        self, seed: int, batch: Batch, place: Callable[[list[np.ndarray]], list[Any]] = jax.device_put
    ) -> tuple[Params, ModelState]:
        """Parameters and state, drawn as a pure function of the seed and each leaf's path, and put by `place`."""
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

    def summarize(self, metrics: Metrics) -> dict[str, float]:
        """Metrics as plain numbers."""
        ...


@dataclass(kw_only=True, slots=True)
class TaskConfig:
    """Which task, and the options that tasks share."""

    name: str = "classification"
    label_smoothing: float = 0.0  # share of the target spread over all classes, in [0, 1)

    def validate(self) -> None:
        """Refuse values out of range."""
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"task.label_smoothing={self.label_smoothing} is outside [0, 1)")


Augment = Callable[[Key, Array], Array]
