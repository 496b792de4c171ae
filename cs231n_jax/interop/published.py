"""Weights of a model, whoever's names they are in: ours, torch's or Caffe's."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cs231n_jax.interop import caffe, files, torchvision
from cs231n_jax.models.functional import path_name
from cs231n_jax.typing import ModelState, Params

OURS = "params/"


def load(path: str | Path, name: str, **options: Any) -> tuple[Params, ModelState]:
    """Parameters and state of a model from a file.

    Args:
        path: as of `files.read`.
        name: the model, for names of torch and Caffe; ours are taken as they are, for `check` to look at.
        **options: of the model.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or holds other weights than the model's.
    """
    given = files.read(path)
    if any(key.startswith(OURS) for key in given):
        return files.from_flat(given)
    return renamed(given, name, **options)


def renamed(given: Mapping[str, np.ndarray], name: str, **options: Any) -> tuple[Params, ModelState]:
    """Parameters and state of a model from arrays in names of torch or Caffe; raises as `torchvision.load`."""
    return torchvision.load(name, caffe.squeezenet(given) if caffe.FIRST in given else given, **options)


def flat(tree: Any) -> dict[str, Any]:
    """Leaves by path, such as "params/stem_conv/kernel"."""
    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def check(given: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse weights that lack an array, or have one of another shape or with numbers that are not finite.

    Args:
        given: arrays by path.
        wanted: arrays or jax.ShapeDtypeStructs by path.

    Raises:
        ValueError: the message names the first such array, and says what it should be.
    """
    for path, leaf in wanted.items():
        if path not in given:
            raise ValueError(f"the weights lack {path} {list(leaf.shape)}")
        if tuple(given[path].shape) != tuple(leaf.shape):
            raise ValueError(f"{path} has the shape {list(given[path].shape)} in place of {list(leaf.shape)}")
        if not np.all(np.isfinite(np.asarray(given[path], np.float32))):
            raise ValueError(f"{path} holds numbers that are not finite")


def mapped(function: Callable[[str, Any], Any], tree: Any) -> Any:
    """The tree with function(path, leaf) in place of every leaf."""
    return jax.tree_util.tree_map_with_path(lambda path, leaf: function(path_name(path), leaf), tree)
