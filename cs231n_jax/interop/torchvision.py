"""Weights in the names and layouts of torch, into our parameters and back. torch itself is never needed.

A family's table says what our modules are called there; names of leaves and layouts follow from the kind of leaf.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax import models
from cs231n_jax.models import functional, registry
from cs231n_jax.ops.init import Spec
from cs231n_jax.typing import ModelState, Params

LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
IGNORED = re.compile(r"(^|\.)num_batches_tracked$")  # torch counts batches; the running averages do not depend on it

Rule = tuple[str, str | Callable[[re.Match[str]], str]]


class Names(NamedTuple):
    """What the modules of a family are called in torch: patterns over our module path 'a/b', tried in order."""

    rules: tuple[Rule, ...]

    def torch_name(self, path: str) -> str:
        """'stage1_block1/conv1/kernel' -> 'layer1.0.conv1.weight'.

        Raises:
            KeyError: no rule matches; a fault of the table.
        """
        module, _, leaf = path.rpartition("/")
        for pattern, replacement in self.rules:
            if match := re.fullmatch(pattern, module):
                name = replacement(match) if callable(replacement) else match.expand(replacement)
                return f"{name}.{LEAVES[leaf]}"
        raise KeyError(f"no torch name for {path}: add a rule to its family's table")


def _block(match: re.Match[str]) -> str:
    inner = re.sub(r"^norm", "bn", match[3]).replace("shortcut_conv", "shortcut.0").replace("shortcut_norm", "shortcut.1")
    return f"layer{match[1]}.{int(match[2]) - 1}.{inner}"


CIFAR_RESNET = Names(
    (
        ("stem_conv", "conv1"),
        ("stem_norm", "bn1"),
        (r"stage(\d)_block(\d+)/(\w+)", _block),
        ("head", "linear"),
    )
)

NAMES: dict[str, Names] = {f"resnet{depth}": CIFAR_RESNET for depth in (8, 14, 20, 32, 44, 56, 110, 1202)}


def load(name: str, state_dict: Mapping[str, Any], **options: Any) -> tuple[Params, ModelState]:
    """Parameters and state of a model from a torch state dict.

    Args:
        name: model name, such as "resnet20" (the CIFAR residual networks in akamaster/pytorch_resnet_cifar10's names,
            all other models in torchvision's).
        state_dict: torch name -> array (numpy, or a live torch tensor); a "module." prefix of all names is dropped.
        **options: options of `models.create` that change shapes.

    Returns:
        (params, model_state) as `functional.init` makes them.

    Raises:
        ValueError: a parameter is missing, left over, or of another shape; the message names it and both shapes.
    """
    given = {re.sub(r"^module\.", "", key): np.asarray(value) for key, value in state_dict.items()}
    given = {key: value for key, value in given.items() if not IGNORED.search(key)}
    taken = set()

    def read(path: Any, spec: Spec) -> jax.Array:
        ours = functional.path_name(path)
        key = _names(name).torch_name(ours.split("/", 1)[1])
        if key not in given:
            raise ValueError(f"the weights lack {key}, which {name} needs for {ours} {list(spec.shape)}")
        value = _from_torch(given[key])
        if value.shape != spec.shape:
            raise ValueError(f"{key} has shape {list(given[key].shape)}, {name} needs {list(spec.shape)} for {ours}")
        taken.add(key)
        return jnp.asarray(value, spec.dtype)

    tree = jax.tree_util.tree_map_with_path(read, _specs(name, options), is_leaf=lambda x: isinstance(x, Spec))
    if extra := sorted(set(given) - taken):
        raise ValueError(f"{name} has no place for {extra[0]} {list(given[extra[0]].shape)} ({len(extra)} left over)")
    return tree.pop("params"), tree


def export(name: str, params: Params, model_state: ModelState, **options: Any) -> dict[str, np.ndarray]:
    """The inverse of `load`: torch name -> array in torch's layout; num_batches_tracked is left out.

    Raises:
        ValueError: the variables are not those of the model.
    """
    variables = {"params": params, **model_state}
    specs = _specs(name, options)
    if jax.tree.structure(variables) != jax.tree.structure(specs, is_leaf=lambda x: isinstance(x, Spec)):
        raise ValueError(f"the variables are not those of {name}: make them with functional.init or load")
    leaves = jax.tree_util.tree_flatten_with_path(variables)[0]
    named = ((functional.path_name(path).split("/", 1)[1], leaf) for path, leaf in leaves)
    return {_names(name).torch_name(path): _to_torch(np.asarray(leaf)) for path, leaf in named}


def _names(name: str) -> Names:
    if name not in NAMES:
        raise ValueError(f"no table of torch names for {name!r}; there are tables for {', '.join(sorted(NAMES))}")
    return NAMES[name]


def _specs(name: str, options: dict[str, Any]) -> dict[str, Any]:
    _names(name)
    shape = registry.VARIANTS[name].input_shape
    return functional.specs(models.create(name, **options), jax.ShapeDtypeStruct((1, *shape), jnp.float32))


def _from_torch(value: np.ndarray) -> np.ndarray:
    """OIHW -> HWIO, (out, in) -> (in, out), vectors as they are."""
    return value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T


def _to_torch(value: np.ndarray) -> np.ndarray:
    return value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T
