"""What a leaf of parameters, gradients or updates is: its path, and its value as an array of floats."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array

from cs231n_jax.typing import PyTree


def path_name(path: tuple[Any, ...]) -> str:
    """The path of a leaf as "stage1/conv/kernel"."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def is_float0(leaf: Any) -> bool:
    """Whether a leaf has the dtype of a gradient by an integer, which has no values."""
    return getattr(leaf, "dtype", None) == jax.dtypes.float0


def float_leaf(path: tuple[Any, ...], leaf: Any) -> Array:
    """A leaf as an array of floats; numbers of Python and numpy become one.

    Raises:
        ValueError: it is no float.
    """
    if not isinstance(leaf, Array) and not is_float0(leaf):
        leaf = jnp.asarray(leaf)
    if not jnp.issubdtype(leaf.dtype, jnp.floating):
        name = "float0" if is_float0(leaf) else leaf.dtype.name
        where = f"the leaf {path_name(path)!r}" if path else "the tree"
        raise ValueError(
            f"{where} is of dtype {name}, and only floats are optimized: give it the rule freeze() in a "
            "partition, or leave it out of the tree"
        )
    return leaf


def cast(x: Array, dtype: DTypeLike) -> Array:
    """x.astype(dtype), and x itself where nothing changes: a leaf of most models, several times an update."""
    return x if x.dtype == dtype and not x.weak_type else x.astype(dtype)


def floats(tree: PyTree) -> PyTree:
    """The leaves as arrays of floats, for what computes with each of them.

    Raises:
        ValueError: a leaf is no float; the message names its path and dtype.
    """
    return jax.tree_util.tree_map_with_path(float_leaf, tree)
