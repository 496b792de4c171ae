"""Different rules for different parameters, chosen by their paths."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from cs231n_jax.optim.base import (
    GradientTransformation,
    Transformation,
    check_transformation,
    of_others,
    run_update,
    stateless,
)
from cs231n_jax.optim.leaves import is_float0, path_name
from cs231n_jax.typing import PyTree

Predicate = Callable[[str], bool] | str
OTHERS = "<others>"
"""The predicate that matches what no other rule of a partition matches."""


class MaskedState(NamedTuple):
    """What `masked` remembers."""

    inner: PyTree  # the state of the transformation, for the parameters it sees


def masked(inner: Transformation, mask: PyTree | Callable[[PyTree], PyTree]) -> GradientTransformation:
    """Apply a transformation to some leaves; the others pass unchanged and have no slots in its state.

    To keep parameters where they are, do not mask an optimizer, whose decay may sit elsewhere in the chain: give them
    the rule `freeze()` in a `partition`.

    Args:
        inner: ours or optax's.
        mask: a tree of booleans with the structure of the parameters, or a function from the parameters (or the
            gradients) to one. True: the transformation sees this leaf. Of a tree those entries count whose leaves
            get here: inside a `partition` or another mask it may still be that of all parameters.

    Returns:
        a transformation.

    Raises:
        ValueError: the mask has another structure than the parameters.
    """

    def seen(tree: PyTree) -> list[bool]:
        flags = mask(tree) if callable(mask) else _shown(mask, tree)
        if jax.tree.structure(flags) != jax.tree.structure(tree):
            raise ValueError(
                f"the mask has the structure {jax.tree.structure(flags)}, the parameters {jax.tree.structure(tree)}; "
                "give one boolean for every parameter"
            )
        return [bool(flag) for flag in jax.tree.leaves(flags)]

    def init(params: PyTree) -> MaskedState:
        return MaskedState(inner.init(_hide(params, seen(params))))

    def update(updates: PyTree, state: MaskedState, params: PyTree = None, **extra: Any) -> tuple[PyTree, MaskedState]:
        flags = seen(updates)
        visible = None if params is None else _hide(params, flags)
        new, inner_state = run_update(inner, _hide(updates, flags), state.inner, visible, of_others(extra))
        return _merge(updates, [(flags, new)]), MaskedState(inner_state)

    return GradientTransformation(init, update)


class PartitionState(NamedTuple):
    """What `partition` remembers."""

    inner: dict[str, PyTree]  # by rule: the state of its transformation, for the parameters it matches


def partition(rules: Mapping[str, tuple[Predicate, Transformation]]) -> GradientTransformation:
    """Give every parameter to the one rule that matches its path.

    >>> partition({
    ...     "backbone": ("^stage", sgd(1e-3)),
    ...     "head": (lambda path: path.startswith("head/"), sgd(1e-1)),
    ...     "rest": (OTHERS, freeze()),
    ... })

    Args:
        rules: name -> (predicate, transformation). A predicate is a function from the path of a leaf, such as
            "stage1/conv/kernel", to a boolean, or a regular expression that is searched for in the path, or `OTHERS`.
            A rule may match nothing.

    Returns:
        a transformation whose state holds, by name, slots for the parameters of each rule and no others.

    Raises:
        TypeError: the rules are no such mapping.
        ValueError: there is no rule; a predicate is no regular expression, or two are `OTHERS`; or a parameter is
            matched by no rule or by several (at init and at update). The message names the rule or the parameter.
    """
    _check_rules(rules)
    if sum(predicate == OTHERS for predicate, _ in rules.values()) > 1:
        raise ValueError("two rules of a partition are OTHERS; there can be one")

    def init(params: PyTree) -> PartitionState:
        groups = assign(rules, params)
        return PartitionState({name: t.init(_hide(params, groups[name])) for name, (_, t) in rules.items()})

    def update(
        updates: PyTree, state: PartitionState, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, PartitionState]:
        groups = assign(rules, updates)
        parts, inner = [], {}
        for name, (_, transformation) in rules.items():
            flags = groups[name]
            visible = None if params is None else _hide(params, flags)
            new, inner[name] = run_update(
                transformation, _hide(updates, flags), state.inner[name], visible, of_others(extra)
            )
            parts.append((flags, new))
        return _merge(updates, parts), PartitionState(inner)

    return GradientTransformation(init, update)


def freeze() -> GradientTransformation:
    """u ← 0, and no state: with this as their last or only rule parameters never move. Integers may be among them."""

    def stay(u: Any) -> Any:
        if is_float0(u):
            return u
        # Negative zero is the number that leaves every number as it is, to the sign of zero.
        return jnp.full_like(u, -0.0)

    return stateless(lambda updates, params: jax.tree.map(stay, updates))


def check_pattern(what: str, predicate: Predicate) -> None:
    """Refuse a text that is no regular expression; `what` names it in the message.

    Raises:
        ValueError: it is none.
    """
    try:
        re.compile(predicate if isinstance(predicate, str) else "")
    except re.error as error:
        raise ValueError(f"{what} is {predicate!r}, which is no regular expression: {error}") from None


def by_path(predicate: Predicate) -> Callable[[PyTree], PyTree]:
    """A mask for `masked`: true at the leaves whose path the predicate matches.

    Raises:
        ValueError: the predicate is a text, but no regular expression.
    """
    check_pattern("the predicate of by_path", predicate)
    return lambda tree: jax.tree_util.tree_map_with_path(lambda path, _: _matches(predicate, path_name(path)), tree)


def not_vectors(params: PyTree) -> PyTree:
    """The mask that leaves biases, slopes and the scale and shift of normalisation (fewer than two axes) out."""
    return jax.tree.map(lambda p: jnp.ndim(p) >= 2, params)


def assign(rules: Mapping[str, tuple[Predicate, Any]], tree: PyTree) -> dict[str, list[bool]]:
    """For every rule, which leaves it matches, in the order of the leaves.

    Raises:
        ValueError: a leaf is matched by no rule or by several.
    """
    owners = []
    rest = [name for name, (predicate, _) in rules.items() if predicate == OTHERS]
    for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]:
        leaf = path_name(path)
        matching = [n for n, (predicate, _) in rules.items() if predicate != OTHERS and _matches(predicate, leaf)]
        matching = matching or rest
        if len(matching) != 1:
            by = f"by {' and '.join(matching)}" if matching else f"by none of {', '.join(rules)}"
            raise ValueError(f"the parameter {leaf!r} is matched {by}; every parameter needs exactly one rule")
        owners.append(matching[0])
    return {name: [owner == name for owner in owners] for name in rules}


def _check_rules(rules: Mapping[str, tuple[Predicate, Any]]) -> None:
    form = "a partition takes {name: (predicate, transformation), …}"
    if not isinstance(rules, Mapping):
        raise TypeError(f"{form}, got a {type(rules).__name__}")
    if not rules:
        raise ValueError(f"{form}, got no rule")
    for name, rule in rules.items():
        if isinstance(rule, Transformation) or not isinstance(rule, tuple) or len(rule) != 2:
            raise TypeError(f"{form}, but the rule {name!r} is {rule!r}: put a predicate in front, such as OTHERS")
        predicate, transformation = rule
        if not isinstance(predicate, str) and not callable(predicate):
            raise TypeError(f"the predicate of the rule {name!r} is {predicate!r}: give a text or a function of a path")
        check_pattern(f"the rule {name!r} of a partition", predicate)
        check_transformation(f"the transformation of the rule {name!r}", transformation)


def _matches(predicate: Predicate, path: str) -> bool:
    return bool(re.search(predicate, path) if isinstance(predicate, str) else predicate(path))


def _shown(mask: PyTree, tree: PyTree) -> PyTree:
    """A mask without the entries of the leaves that `_hide` hid; as it is where its structure is another one."""
    try:
        return jax.tree.map(lambda x, flag: None if x is None else flag, tree, mask, is_leaf=lambda x: x is None)
    except ValueError:
        return mask


def _hide(tree: PyTree, flags: list[bool]) -> PyTree:
    """The tree with None, which has no leaves, in place of every leaf whose flag is false."""
    leaves, structure = jax.tree.flatten(tree)
    return structure.unflatten([leaf if flag else None for leaf, flag in zip(leaves, flags)])


def _merge(tree: PyTree, parts: list[tuple[list[bool], PyTree]]) -> PyTree:
    """The tree with the leaves of each part in the places that its flags name."""
    leaves, structure = jax.tree.flatten(tree)
    for flags, part in parts:
        new = iter(jax.tree.leaves(part))
        leaves = [next(new) if flag else leaf for leaf, flag in zip(leaves, flags)]
    return structure.unflatten(leaves)
