"""The one metric state: a weighted total and the weight, merged by +, divided on the host."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from cs231n_jax.typing import Array


class Mean(NamedTuple):
    """Σ values·mask and Σ mask; the mean is their quotient, whatever the batches were."""

    total: Array  # shape=()
    count: Array  # shape=()

    @classmethod
    def of(cls, values: Array, mask: Array | None = None) -> "Mean":
        """Of per-example values [N] (float32 or float64) with an optional mask [N] of zeros and ones."""
        if mask is None:
            return cls(jnp.sum(values), jnp.asarray(values.size, values.dtype))
        mask = mask.astype(values.dtype)
        return cls(jnp.sum(jnp.where(mask > 0, values * mask, jnp.zeros_like(values))), jnp.sum(mask))

    def __add__(self, other: "Mean") -> "Mean":  # type: ignore[override]
        """The metric over both sets of examples."""
        return Mean(self.total + other.total, self.count + other.count)

    def compute(self) -> float:
        """total / count on the host; NaN where nothing was counted."""
        count = float(np.asarray(self.count))
        return float(np.asarray(self.total)) / count if count else float("nan")
