"""One row a model: a tiny input and options that make it cheap; every property is tested over all rows.

A registry name that has no row of its own family here fails `test_every_family_has_a_row`.
"""

from typing import Any, NamedTuple

import numpy as np


class ModelRow(NamedTuple):
    """A model small enough to differentiate in float64 in a second or two."""

    name: str
    options: dict[str, Any]
    input_shape: tuple[int, ...]  # with the batch axis


MODELS = (
    ModelRow("mlp", {"hidden": (7, 5), "activation": "tanh"}, (3, 4, 4, 1)),
    ModelRow("lenet5", {"activation": "tanh"}, (3, 28, 28, 1)),
    ModelRow("resnet8", {"width": 4}, (4, 8, 8, 3)),
    ModelRow("resnet14", {"width": 4, "shortcut": "B"}, (4, 9, 9, 3)),
)


def images(row: ModelRow, dtype: Any = np.float32, seed: int = 0) -> np.ndarray:
    """Standard normal images for a row."""
    return np.random.default_rng(seed).standard_normal(row.input_shape).astype(dtype)
