"""Transfer learning as one choice: which stages of a trained network stay, which learn on, and how fast."""

import dataclasses
import enum
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from cs231n_jax.config import Config
from cs231n_jax.models import create, functional
from cs231n_jax.models.base import Model, stage_of
from cs231n_jax.optim.base import identity
from cs231n_jax.optim.masking import assign
from cs231n_jax.train.initial import InitialConfig

FACTOR = 0.1  # the lecture's: trained weights learn on at a tenth of the rate


class Transfer(enum.Enum):
    """What is done with a trained network on other data."""

    PROBE_TOP = "probe_top"  # a linear classifier on its last features
    PROBE_STAGES = "probe_stages"  # one on the features of every stage; the validation split chooses among them
    FINETUNE_FEW = "finetune_few"  # the last stages learn on
    FINETUNE_MANY = "finetune_many"  # all stages learn on
    SCRATCH = "scratch"  # the same network without the weights


class Recipe(NamedTuple):
    """What a choice means for a network of so many stages."""

    trained: Callable[[int, int], int]  # (number of stages, few) -> how many of the last ones learn
    begins: bool = True  # with the given weights
    in_one_pass: bool = False  # by `probes`, whose features are computed once; else by the training loop


RECIPES = {
    Transfer.PROBE_TOP: Recipe(lambda stages, few: 0, in_one_pass=True),
    Transfer.PROBE_STAGES: Recipe(lambda stages, few: 0, in_one_pass=True),
    Transfer.FINETUNE_FEW: Recipe(lambda stages, few: min(few, stages)),  # of a network without stages none
    Transfer.FINETUNE_MANY: Recipe(lambda stages, few: stages),
    Transfer.SCRATCH: Recipe(lambda stages, few: stages, begins=False),
}


def rules(transfer: Transfer, model: Model, few: int = 1, factor: float = FACTOR) -> dict[str, float]:
    """Patterns of the paths of parameters and what the rate is multiplied by there; 0 is frozen.

    >>> rules(Transfer.FINETUNE_FEW, resnet20)
    {"^stem[_/]": 0.0, "^stage1[_/]": 0.0, "^stage2[_/]": 0.0, "^stage3[_/]": 0.1, "^head[_/]": 1.0}

    Args:
        transfer: the choice.
        model: the network; its last layer and its auxiliary ones are new, and learn at the whole rate.
        few: how many of the last stages learn on in `FINETUNE_FEW`, 1 to as many as there are.
        factor: of the rate for weights that are given; ≥ 0.

    Raises:
        ValueError: there are not so many stages.
    """
    if few < 1:
        raise ValueError(f"few={few} stages would learn in {transfer.value}; give at least 1")
    recipe, stages = RECIPES[transfer], model.stages
    if transfer is Transfer.FINETUNE_FEW and few > max(1, len(stages)):
        raise ValueError(
            f"few={few} stages would learn in {transfer.value}, but the network has {len(stages)} "
            f"({', '.join(stages)}): give 1 to {max(1, len(stages))}"
        )
    first = len(stages) - recipe.trained(len(stages), few)
    rate = factor if recipe.begins else 1.0
    old = {_pattern(stage): 0.0 if i < first else rate for i, stage in enumerate(stages)}
    return {**old, **{_pattern(head): 1.0 for head in _heads(model)}}


def applied(
    config: Config, given: InitialConfig, factors: Mapping[str, float], shape: tuple[int, ...], begins: bool = True
) -> Config:
    """The config of a run that transfers: what stays, at what rates the rest learns, and what it begins with.

    A stage all of whose parameters have the factor 0 is frozen whole: in its parameters, in its statistics, by which
    it normalises, in its noise, which is off, and without slots in the optimizer.

    Args:
        config: the run on the new data, its model with the new number of classes.
        given: the trained weights; its `fresh` is set to the last layers.
        factors: as of `rules`, or one's own.
        shape: of one image [H, W, C].
        begins: False leaves the weights out.

    Raises:
        ValueError: a parameter is matched by none of the patterns or by several (it is named), or a stage would be
            frozen in part.
    """
    model = create(config.model.name, **{**config.model.options, "frozen": ()})
    params, _ = functional.shapes(model, jax.ShapeDtypeStruct((1, *shape), np.float32))
    owners = _owners(factors, params)
    frozen = _frozen(model, factors, owners)
    moving = {owners[path] for path in owners if stage_of(path) not in frozen}
    slower = {pattern: float(factors[pattern]) for pattern in factors if pattern in moving and factors[pattern] != 1.0}
    new = dict.fromkeys(stage_of(path) for path in owners if stage_of(path) not in model.stages)
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, options={**config.model.options, "frozen": frozen}),
        optimizer=dataclasses.replace(
            config.optimizer, rate_paths=tuple(slower), rate_factors=tuple(slower.values()), rate_starts=()
        ),
        initial=dataclasses.replace(given, fresh=tuple(new)) if begins else InitialConfig(),
    )


def _pattern(stage: str) -> str:
    return f"^{stage}[_/]"


def _heads(model: Model) -> tuple[str, ...]:
    return ("head", *model.auxiliary)


def _owners(factors: Mapping[str, float], params: Any) -> dict[str, str]:
    """Of every parameter the one pattern that matches it."""
    groups = assign({pattern: (pattern, identity()) for pattern in factors}, params)
    paths = [functional.path_name(path) for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
    return {path: next(name for name in groups if groups[name][i]) for i, path in enumerate(paths)}


def _frozen(model: Model, factors: Mapping[str, float], owners: Mapping[str, str]) -> tuple[str, ...]:
    """The stages that stay; one without parameters stays where what follows it does not learn before it."""
    frozen: list[str] = []
    for stage in model.stages:
        own = {path: factors[pattern] for path, pattern in owners.items() if stage_of(path) == stage}
        still = [path for path, factor in own.items() if factor == 0]
        if still and len(still) < len(own):
            moving = next(path for path in own if own[path])
            raise ValueError(
                f"{still[0]} is frozen (factor 0) and {moving} is not: a stage is frozen whole or not at all, so give "
                f"all of {stage} the factor 0, or none of it"
            )
        if still or (not own and len(frozen) == model.stages.index(stage)):
            frozen.append(stage)
    return tuple(frozen)
