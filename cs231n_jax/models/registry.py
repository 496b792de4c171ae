"""All models by name."""

# No `from __future__ import annotations` here: flag overrides read the types of a config's fields.
import dataclasses
import difflib
import enum
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax.models import (
    alexnet,
    captioner,
    char_lm,
    convnet,
    densenet,
    fmp,
    fractalnet,
    functional,
    googlenet,
    lenet,
    lrcn,
    mlp,
    nin,
    preresnet,
    resnet,
    sentiment,
    seq2seq,
    squeezenet,
    vgg,
    vqa,
)
from cs231n_jax.models.base import Model, Variant
from cs231n_jax.models.option_types import checked
from cs231n_jax.ops.init import Spec

_FAMILIES = (
    mlp,
    lenet,
    alexnet,
    vgg,
    nin,
    googlenet,
    resnet,
    preresnet,
    densenet,
    fractalnet,
    squeezenet,
    convnet,
    fmp,
    char_lm,
    sentiment,
    lrcn,
    seq2seq,
    captioner,
    vqa,
)
VARIANTS: dict[str, Variant] = {name: row for family in _FAMILIES for name, row in family.VARIANTS.items()}

_LINEN_FIELDS = ("parent", "name")


class Precision(enum.Enum):
    """Dtype of the computation; parameters, statistics and losses stay in float32 (or float64)."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT64 = "float64"


@dataclasses.dataclass(kw_only=True, slots=True)
class ModelConfig:
    """A model of the registry. `options` always holds every option that the name leaves free.

    Those of every model: num_classes, frozen, remat, activation, and ghost_batch, for which it needs batch norm.
    """

    name: str = "resnet20"
    options: dict = dataclasses.field(default_factory=dict)
    dtype: Precision = Precision.FLOAT32

    def __post_init__(self) -> None:
        """Fill in the defaults, so that each of them can be overridden by a flag and is in the record."""
        if self.name in names():
            self.options = {**options(self.name), **self.options}

    def validate(self) -> None:
        """Refuse unknown names and options."""
        create(self.name, **self.options)

    def here(self) -> "ModelConfig":
        """The same model as far as the devices at hand can run it: without an NVIDIA GPU by our scan, not by cuDNN."""
        if self.options.get("backend") != "cudnn" or jax.default_backend() == "gpu":
            return self
        return dataclasses.replace(self, options={**self.options, "backend": "scan"})


def names() -> list[str]:
    """The names that `create` takes."""
    return sorted(VARIANTS)


def options(name: str) -> dict[str, Any]:
    """The options of a model that its name leaves free, with their defaults."""
    row = _row(name)
    free = (f for f in dataclasses.fields(row.module) if f.name not in (*_LINEN_FIELDS, *row.options))
    return {f.name: row.defaults.get(f.name, f.default) for f in free}


def create(name: str, **given: Any) -> Model:
    """A model by name, such as create("resnet20", num_classes=100, shortcut="B").

    Raises:
        ValueError: unknown name, option or frozen stage, where the message names the nearest right one; or a value of
            the wrong type, out of range, or at odds with another.
    """
    free = options(name)
    for key in given:
        if key not in free:
            fixed = _row(name).options
            reason = f"is fixed to {fixed[key]!r} by the name" if key in fixed else "does not exist"
            raise ValueError(f"option {key!r} of model {name!r} {reason}{nearest(key, free)}; it has {sorted(free)}")
    row = _row(name)
    kinds = {f.name: f.type for f in dataclasses.fields(row.module)}
    given = {key: checked(name, key, value, kinds[key], free[key]) for key, value in given.items()}
    model = row.module(parent=None, name=name, **row.options, **{**row.defaults, **given})  # nobody's part
    model.validate()
    for stage in given.get("frozen", ()):
        if stage not in model.stages:
            near = nearest(stage, model.stages)
            raise ValueError(f"model {name!r} has no stage {stage!r} to freeze{near}; it has {', '.join(model.stages)}")
    if model.ghost_batch and not has_batch_norm(model, row.input_shape):
        raise ValueError(
            f"ghost_batch={model.ghost_batch} splits the batches of batch norm, and model {name!r} with these options "
            "has none: leave it at 0"
        )
    return model


def has_batch_norm(model: Model, input_shape: tuple[int, ...]) -> bool:
    """Whether a model keeps batch statistics, from shapes alone; the images are enlarged where it needs that."""
    *sides, channels = input_shape
    sides = [max(side, model.smallest) for side in sides]
    return "batch_stats" in functional.specs(model, jax.ShapeDtypeStruct((1, *sides, channels), jnp.float32))


def parameter_count(name: str, **given: Any) -> int:
    """Number of trained parameters, from shapes alone: no array is made."""
    specs = functional.specs(create(name, **given), _row(name).example())["params"]
    leaves = jax.tree.leaves(specs, is_leaf=lambda x: isinstance(x, Spec))
    return sum(int(np.prod(spec.shape)) for spec in leaves)


def _row(name: str) -> Variant:
    if not isinstance(name, str) or name not in VARIANTS:
        raise ValueError(f"unknown model {name!r}{nearest(name, VARIANTS)}; models: {', '.join(names())}")
    return VARIANTS[name]


def nearest(given: str, allowed: Any) -> str:
    """A hint at what may have been meant, or nothing."""
    near = difflib.get_close_matches(str(given), list(allowed), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
