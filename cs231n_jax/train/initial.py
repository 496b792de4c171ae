"""Trained weights to begin with: for the whole model, or for a part of it such as its backbone."""

# No `from __future__ import annotations` here: flag overrides read the types of the fields.
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from cs231n_jax.data.base import fingerprint
from cs231n_jax.interop import published
from cs231n_jax.models import create
from cs231n_jax.models.base import stage_of
from cs231n_jax.train import carry, weights
from cs231n_jax.typing import ModelState, Params


@dataclasses.dataclass(kw_only=True, slots=True)
class InitialConfig:
    """Weights that a run begins with in place of drawn ones; without a file all are drawn.

    Every parameter and statistic of the model below `into` has to be there in its shape, but for those of the stages
    in `fresh`; what the file has besides, such as the last layer of a classifier, is left out, and a run says so. Only
    a run's beginning reads the file.

    Args:
        weights: a file or a run directory, as of the encoder.
        into: the part of the model that is given them, such as "backbone", whose "backbone/stem_conv/kernel" is the
            file's "stem_conv/kernel"; "" is the whole model.
        model: whose weights they are, where the file has names of torch or Caffe; "" for our own.
        options: of that model, where they are not the defaults.
        fresh: stages below `into` that begin as drawn whatever the file has, such as ("head",) for other classes.
    """

    weights: str = ""
    into: str = ""
    model: str = ""
    options: dict = dataclasses.field(default_factory=dict)
    fresh: tuple[str, ...] = ()

    def validate(self) -> None:
        """Refuse what no run can use; raises ValueError with the field and its value."""
        for field in ("into", "model", "options", "fresh"):
            if getattr(self, field) and not self.weights:
                raise ValueError(
                    f"initial.{field}={getattr(self, field)!r} is given without initial.weights: name a file"
                )
        if self.model:
            create(self.model, **self.options)
        elif self.options:
            raise ValueError(f"initial.options={self.options!r} are those of initial.model: name it, or leave them out")


def read(config: InitialConfig) -> dict[str, Any]:
    """The arrays of the file by path, such as "params/stem_conv/kernel"; {} without a file.

    Raises:
        FileNotFoundError, ValueError: as `weights.load`.
    """
    if not config.weights:
        return {}
    params, state = weights.load("initial.weights", config.weights, config.model, config.options)
    return published.flat({"params": params, **carry.without(state)})


def digest(config: InitialConfig) -> dict[str, str]:
    """{"initial": SHA-256 of the weights} for the record of a run that begins with some."""
    found = read(config)
    return {"initial": fingerprint({path: np.asarray(x) for path, x in found.items()}, ())} if found else {}


def replaced(config: InitialConfig, params: Params, model_state: ModelState) -> tuple[Params, ModelState]:
    """Drawn variables with the given ones in their places, as arrays on the host in the dtypes of those they replace.

    Raises:
        FileNotFoundError, ValueError: as `weights.load`; or the model has no such part, or the weights do not fit it.
    """
    found = read(config)
    if not found:
        return params, model_state
    drawn = {"params": params, **model_state}
    wanted = _wanted(config, drawn)
    if not wanted:
        raise ValueError(f"initial.into={config.into!r}: the model has no such part; it has {', '.join(params)}")
    _refuse_unknown(config, wanted)
    wanted = {path: leaf for path, leaf in wanted.items() if _stage(path) not in config.fresh}
    try:
        published.check(found, wanted)
    except ValueError as error:
        raise ValueError(
            f"initial.weights={config.weights!r} does not fit {config.into or 'the model'}: {error}; a stage whose "
            "weights are to be drawn belongs in initial.fresh"
        ) from None

    def leaf(path: str, old: Any) -> Any:
        there = _in_file(path, config.into)
        return np.asarray(found[there], old.dtype) if there in wanted else old

    variables = published.mapped(leaf, drawn)
    return variables.pop("params"), variables


def told(config: InitialConfig, params: Params) -> list[str]:
    """What a person should know of the weights that a run begins with: new parts, and those of the file left out.

    Args:
        config: as of `replaced`.
        params: of the model, arrays or jax.ShapeDtypeStructs.
    """
    found, given = read(config), _wanted(config, {"params": params})
    if not found:
        return []
    new = {path: leaf for path, leaf in given.items() if _stage(path) in config.fresh}
    shapes = [(path, list(leaf.shape), _there(found, path)) for path, leaf in new.items()]
    lines = [f"new: {path.partition('/')[2]} {shape}, drawn; in the weights it is {old}" for path, shape, old in shapes]
    rest = [path.partition("/")[2] for path in found if path.startswith("params/") and path not in given]
    return lines + ([f"left out of the weights: {', '.join(rest)}"] if rest else [])


def _there(found: Mapping[str, Any], path: str) -> str:
    return str(list(found[path].shape)) if path in found else "absent"


def _wanted(config: InitialConfig, variables: Any) -> dict[str, Any]:
    """Leaves of the model below `into` by the paths that a file has them at."""
    found = {_in_file(path, config.into): leaf for path, leaf in published.flat(variables).items()}
    return {path: leaf for path, leaf in found.items() if path and not path.startswith(f"{carry.NAME}/")}


def _stage(path: str) -> str:
    """From "params/head/kernel" the stage "head"."""
    return stage_of(path.partition("/")[2])


def _refuse_unknown(config: InitialConfig, wanted: Mapping[str, Any]) -> None:
    have = sorted(set(map(_stage, wanted)))
    if unknown := [stage for stage in config.fresh if stage not in have]:
        raise ValueError(f"initial.fresh={config.fresh}: there is no part {unknown[0]!r}; there are {', '.join(have)}")


def _in_file(path: str, into: str) -> str:
    """What the file calls a variable of the model: "params/backbone/x" -> "params/x"; "" for one of another part."""
    collection, _, rest = path.partition("/")
    if into and not rest.startswith(f"{into}/"):
        return ""
    return f"{collection}/{rest.removeprefix(f'{into}/') if into else rest}"
