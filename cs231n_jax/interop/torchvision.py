"""Weights in the names and layouts of torch, into our parameters and back. torch itself is never needed."""

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax import models
from cs231n_jax.interop.names import NAMES, Names
from cs231n_jax.models import functional, registry
from cs231n_jax.ops.init import Spec
from cs231n_jax.typing import ModelState, Params

# torch counts batches beside each running mean, which does not depend on them
COUNTED, COUNTER = "running_mean", "num_batches_tracked"


def load(name: str, state_dict: Mapping[str, Any], **options: Any) -> tuple[Params, ModelState]:
    """Parameters and state of a model from a torch state dict.

    Args:
        name: model name, such as "resnet50" (the CIFAR residual networks in akamaster/pytorch_resnet_cifar10's names,
            all other models in torchvision's).
        state_dict: torch name -> array (numpy, or a live torch tensor); a "module." prefix of all names is dropped.
        **options: options of `models.create` that change shapes, such as num_classes=10, or aux_heads=False for a
            googlenet without its auxiliary heads.

    Returns:
        (params, model_state) as `functional.init` makes them.

    Raises:
        ValueError: a parameter is missing, left over, of another shape, complex or not finite; the message names it.
    """
    table = _table(name)
    given = _in_new_names(table, state_dict)
    taken = set()

    def read(path: Any, spec: Spec) -> jax.Array:
        ours = functional.path_name(path).split("/", 1)[1]
        key = table.torch_name(ours)
        if key not in given:
            raise ValueError(f"the weights lack {key}, which {name} needs for {ours} {list(spec.shape)}{_hint(key)}")
        if (wanted := _torch_shape(spec.shape)) != given[key].shape:
            raise ValueError(f"{key} has shape {list(given[key].shape)}, {name} needs {list(wanted)} for {ours}")
        taken.add(key)
        return jnp.asarray(_from_torch(_finite(key, given[key], spec.dtype), table.side(ours)))

    tree = jax.tree_util.tree_map_with_path(read, _specs(name, options), is_leaf=lambda x: isinstance(x, Spec))
    counters = {key.removesuffix(COUNTED) + COUNTER for key in taken if key.endswith(COUNTED)}
    if extra := sorted(set(given) - taken - counters):
        shape, hint = list(given[extra[0]].shape), _hint(extra[0])
        raise ValueError(f"{name} has no place for {extra[0]} {shape} ({len(extra)} left over){hint}")
    return tree.pop("params"), tree


def export(name: str, params: Params, model_state: ModelState, **options: Any) -> dict[str, np.ndarray]:
    """The inverse of `load`: torch name -> array in torch's layout; num_batches_tracked is left out.

    Raises:
        ValueError: the variables are not those of the model, or one is complex or not finite.
    """
    table, variables = _table(name), {"params": params, **model_state}
    specs = _specs(name, options)
    if jax.tree.structure(variables) != jax.tree.structure(specs, is_leaf=lambda x: isinstance(x, Spec)):
        raise ValueError(f"the variables are not those of {name}: make them with functional.init or load")
    leaves = jax.tree_util.tree_flatten_with_path(variables)[0]
    for (path, leaf), spec in zip(leaves, jax.tree.leaves(specs, is_leaf=lambda x: isinstance(x, Spec))):
        if tuple(leaf.shape) != spec.shape:
            where, found = functional.path_name(path), list(leaf.shape)
            raise ValueError(f"{where} has shape {found}, {name} with these options needs {list(spec.shape)}")
        _finite(functional.path_name(path), np.asarray(leaf), leaf.dtype)
    named = ((functional.path_name(path).split("/", 1)[1], np.asarray(leaf)) for path, leaf in leaves)
    return {table.torch_name(path): _to_torch(leaf, table.side(path)) for path, leaf in named}


def _table(name: str) -> Names:
    if name not in NAMES:
        raise ValueError(f"no table of torch names for {name!r}; there are tables for {', '.join(sorted(NAMES))}")
    return NAMES[name]


def _in_new_names(table: Names, state_dict: Mapping[str, Any]) -> dict[str, np.ndarray]:
    given = {}
    for old, value in state_dict.items():
        key = re.sub(r"^module\.", "", old)
        for pattern, replacement in table.renamed:
            key = re.sub(pattern, replacement, key)
        if key in given:
            raise ValueError(f"the weights hold {key} twice, once as {old}: leave one of them out")
        given[key] = _array(value)
    return given


def _finite(key: str, value: np.ndarray, dtype: Any) -> np.ndarray:
    """`value` in `dtype`, refused where a model could not compute with it."""
    if not (jnp.issubdtype(value.dtype, jnp.number) or value.dtype == np.bool_):
        raise ValueError(f"{key} is of type {value.dtype}: weights are arrays of numbers")
    if jnp.issubdtype(value.dtype, jnp.complexfloating):
        raise ValueError(f"{key} is complex ({value.dtype}), and all weights are real: give its real form")
    with np.errstate(over="ignore"):
        converted = value.astype(jnp.dtype(dtype))
    if bad := int(np.sum(~np.isfinite(converted))):
        raise ValueError(
            f"{key} holds {bad} of {value.size} numbers that are not finite in {jnp.dtype(dtype)}: give weights of a "
            "run that has not diverged"
        )
    return converted


def _array(value: Any) -> np.ndarray:
    """A numpy array of an array or of a torch tensor: without its gradient, and float32 where it is bfloat16."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value
    return np.asarray(value)


def _hint(key: str) -> str:
    return ": pass aux_heads=False for weights without auxiliary heads, True for others" if key[:3] == "aux" else ""


def _specs(name: str, options: dict[str, Any]) -> dict[str, Any]:
    shape = registry.VARIANTS[name].input_shape
    return functional.specs(models.create(name, **options), jax.ShapeDtypeStruct((1, *shape), jnp.float32))


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """HWIO -> OIHW, (in, out) -> (out, in)."""
    return (shape[3], shape[2], shape[0], shape[1]) if len(shape) == 4 else shape[::-1]


def _from_torch(value: np.ndarray, side: int) -> np.ndarray:
    """OIHW -> HWIO, (out, in) -> (in, out), vectors as they are; the inputs of flattened maps from CHW to HWC."""
    if side:
        return value.reshape(len(value), -1, side, side).transpose(2, 3, 1, 0).reshape(-1, len(value))
    return value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T


def _to_torch(value: np.ndarray, side: int) -> np.ndarray:
    if side:
        features = value.shape[1]
        return value.reshape(side, side, -1, features).transpose(3, 2, 0, 1).reshape(features, -1)
    return value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T
