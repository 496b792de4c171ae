"""The contract of a gradient transformation, and what every one of them is built from."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import math
import numbers
import typing
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from cs231n_jax.optim.leaves import cast, float_leaf, floats, is_float0
from cs231n_jax.typing import PyTree, Schedule

Number = float | int | np.floating | np.integer | np.ndarray | Array
"""A hyper-parameter, one number: a jax.Array (a traced one, say) is taken as it is, all else is checked."""

SMALL = 1 << 16  # elements; leaves up to this size are put together where a tree is reduced


class GradientTransformation(NamedTuple):
    """A pair of pure functions, the same contract as optax's.

    `init(params) -> state` and `update(updates, state, params=None) -> (updates, state)`. Updates have the structure,
    shapes and dtypes of the gradients. What comes out of the last transformation is added to the parameters.

    `chain`, `masked`, `partition` and `drop_nonfinite` also take named arguments, such as the `value=` of the loss,
    and hand them as they are to the parts that name them or take any. optax does so with those of its own class:
    `optax.GradientTransformationExtraArgs(*ours)` makes one of ours, so that they pass through it in `optax.chain`.
    `gradient_norm=`, the norm of the updates that are given where the caller has it already, goes no further than
    these very updates do (see `of_others`).
    """

    init: Callable[[PyTree], PyTree]
    update: Callable[..., tuple[PyTree, PyTree]]


@runtime_checkable
class Transformation(Protocol):
    """Anything with the two functions: ours, or optax's."""

    @property
    def init(self) -> Callable[..., PyTree]:
        """Params -> state."""
        ...

    @property
    def update(self) -> Callable[..., tuple[PyTree, PyTree]]:
        """(updates, state, params) -> (updates, state)."""
        ...


class EmptyState(NamedTuple):
    """The state of a transformation that remembers nothing."""


def stateless(function: Callable[[PyTree, PyTree], PyTree]) -> GradientTransformation:
    """A transformation without memory from `function(updates, params) -> updates`."""

    def init(params: PyTree) -> EmptyState:
        del params
        return EmptyState()

    def update(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, PyTree]:
        return function(updates, params), state

    return GradientTransformation(init, update)


def run_update(
    transformation: Transformation, updates: PyTree, state: PyTree, params: PyTree, extra: dict[str, Any]
) -> tuple[PyTree, PyTree]:
    """`transformation.update` with those of the extra arguments that it takes.

    Another library's has no `gradient_norm=`: it would hand that on to parts which get other updates than it did.
    """
    if not isinstance(transformation, GradientTransformation):
        extra = of_others(extra)
    if extra:
        parameters = inspect.signature(transformation.update).parameters
        if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
            extra = {name: value for name, value in extra.items() if name in parameters}
    return transformation.update(updates, state, params, **extra)


def of_others(extra: dict[str, Any]) -> dict[str, Any]:
    """The extra arguments that stay true where the updates become others: all but their norm."""
    return {name: value for name, value in extra.items() if name != "gradient_norm"}


def identity() -> GradientTransformation:
    """Updates pass unchanged."""
    return stateless(lambda updates, params: updates)


def chain(*transformations: Transformation) -> GradientTransformation:
    """Apply transformations one after the other, the first to the gradient.

    Args:
        *transformations: ours or optax's, any mixture; none at all is the identity.

    Returns:
        a transformation whose state is the tuple of theirs; its update hands named arguments on to those that take
        them (see `GradientTransformation`).

    Raises:
        TypeError: one of them is no transformation.
    """
    for number, transformation in enumerate(transformations, 1):
        check_transformation(f"part {number} of a chain", transformation)

    def init(params: PyTree) -> tuple[PyTree, ...]:
        return tuple(t.init(params) for t in transformations)

    def update(
        updates: PyTree, state: tuple[PyTree, ...], params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, tuple[PyTree, ...]]:
        if len(state) != len(transformations):
            raise ValueError(
                f"a chain of {len(transformations)} transformations was given a state of {len(state)} parts; "
                "pass the state that this chain's init returned"
            )
        new_state = []
        for transformation, part in zip(transformations, state):
            updates, part = run_update(transformation, updates, part, params, extra)
            extra = of_others(extra)
            new_state.append(part)
        return updates, tuple(new_state)

    return GradientTransformation(init, update)


def apply_updates(params: PyTree, updates: PyTree) -> PyTree:
    """params + updates, leaf by leaf, in the dtype of the parameters.

    Args:
        params: any tree of floats: arrays, or numbers of Python or numpy. An integer may be among them where its
            update is one of the same dtype, or of dtype float0, as the gradient by an integer is.
        updates: a tree of the same structure and shapes.

    Returns:
        the new parameters, as arrays; where the update is of dtype float0, the parameter as it came.

    Raises:
        ValueError: a parameter that is no float and its update differ in dtype; the message names it.
    """

    def add(path: Any, p: Any, u: Any) -> Any:
        if is_float0(u):
            return p
        if jnp.issubdtype(jnp.result_type(p), jnp.integer) and jnp.result_type(p) == jnp.result_type(u):
            return jnp.asarray(p) + jnp.asarray(u)
        p, u = float_leaf(path, p), float_leaf(path, u)
        wide = at_least_float32(p.dtype)
        return cast(cast(p, wide) + cast(u, wide), p.dtype)

    return jax.tree_util.tree_map_with_path(add, params, updates)


def square_sum(tree: PyTree, count: Number | None = None) -> Float[Array, ""]:
    """Σ (x / count)² over all elements of all leaves, in the widest of their dtypes, at least float32; None: of x."""
    leaves = packed(floats(tree))
    if count is not None:
        leaves = [x / jnp.asarray(count, x.dtype) for x in leaves]
    leaves = [cast(x, at_least_float32(x.dtype)) for x in leaves]
    dtype = max((x.dtype for x in leaves), key=lambda d: d.itemsize, default=float_dtype())
    return sum((jnp.sum(jnp.square(x)).astype(dtype) for x in leaves), jnp.zeros((), dtype))


def packed(tree: PyTree, largest: int = SMALL) -> list[Array]:
    """The same elements in fewer arrays, for reductions: leaves of at most `largest` elements in one vector a dtype.

    Every array reduced is a kernel to compile and to launch, and most leaves are vectors of a few hundred elements:
    with this, the train step of ResNet-20 takes 4.5 instead of 12 CPU seconds to compile (jax 0.10, 2 cores).
    """
    leaves = jax.tree.leaves(tree)
    small: dict[np.dtype, list[Array]] = {}
    for leaf in leaves:
        if leaf.size <= largest:
            small.setdefault(leaf.dtype, []).append(jnp.ravel(leaf))
    return [x for x in leaves if x.size > largest] + [jnp.concatenate(vectors) for vectors in small.values()]


def global_norm(tree: PyTree, count: Number | None = None) -> Float[Array, ""]:
    """√(Σ (x / count)²) over all elements of all leaves.

    Args:
        tree: any tree of float arrays.
        count: > 0, what each element is divided by, such as how many examples a sum of gradients is over; None: by
            nothing. To divide here, when leaves have been put together, takes one kernel and not one for every shape.

    Returns:
        scalar in the widest dtype of the leaves, at least float32; zero for an empty tree. Infinite where the sum of
        squares overflows, in float32 from a norm of 1.8e19 on; elements below 1e-23, whose squares are 0, do not count.
    """
    return jnp.sqrt(square_sum(tree, count))


def all_finite(tree: PyTree, largest: int = SMALL) -> Bool[Array, ""]:
    """Whether no element of any leaf is NaN or infinite.

    Args:
        tree: any tree of arrays or numbers; integers are finite.
        largest: ≥ 0, elements; leaves up to this size are put together and looked through at once. What is split over
            devices is gathered for that.

    Returns:
        boolean scalar; true for an empty tree.
    """
    leaves = [x if isinstance(x, Array) or is_float0(x) else jnp.asarray(x) for x in jax.tree.leaves(tree)]
    leaves = [x for x in leaves if jnp.issubdtype(x.dtype, jnp.inexact)]
    # x − x is 0 for a finite x and NaN otherwise, and its sum is five times as fast as a conjunction.
    sums = [jnp.sum(x - x).astype(float_dtype()) for x in packed(leaves, largest)]
    return sum(sums, jnp.zeros((), float_dtype())) == 0


def zeros_like(params: PyTree, dtype: DTypeLike | None = None, value: Number = 0) -> PyTree:
    """A slot for every parameter, in its dtype unless another is given."""
    return jax.tree.map(lambda p: jnp.full_like(p, value, dtype=dtype), floats(params))


def increment(count: Int[Array, ""]) -> Int[Array, ""]:
    """count + 1, staying at the largest integer instead of turning negative."""
    last = jnp.iinfo(count.dtype).max
    return jnp.where(count < last, count + 1, last)


def at_least_float32(dtype: DTypeLike) -> np.dtype:
    """The dtype that a leaf is computed in: float32 for a narrower float, else its own."""
    return np.dtype(np.float32) if jnp.finfo(dtype).bits < 32 else np.dtype(dtype)


def widen(*arrays: Array) -> tuple[Array, ...]:
    """The arrays in the widest of their dtypes, at least float32."""
    dtype = max((at_least_float32(a.dtype) for a in arrays), key=lambda d: d.itemsize)
    return tuple(cast(a, dtype) for a in arrays)


def cast_like(values: PyTree, like: PyTree) -> PyTree:
    """The values in the dtypes of the slots that they replace."""
    return jax.tree.map(lambda x, slot: cast(x, slot.dtype), values, like)


def float_dtype() -> np.dtype:
    """The dtype of numbers that belong to no leaf: float64 where jax_enable_x64 is on, else float32."""
    return np.dtype(jnp.result_type(float))


def scalar(value: Number, dtype: DTypeLike) -> float | Array:
    """A hyper-parameter ready for arithmetic with arrays of `dtype`; Python numbers take any dtype as they are."""
    return cast(value, dtype) if isinstance(value, Array) else float(value)


def check_range(
    name: str,
    value: Number,
    low: float | int = -math.inf,
    high: float | int = math.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> None:
    """Refuse a hyper-parameter outside [low, high]; a jax.Array, whose value may not be known yet, passes.

    Raises:
        ValueError: it is outside, or not finite; the message names it, its value and the range.
        TypeError: it is not one number.
    """
    if isinstance(value, Array | np.ndarray) and value.ndim:
        raise TypeError(f"{name} is an array of shape {value.shape}; it must be one number")
    if isinstance(value, Array):
        return
    if isinstance(value, np.ndarray):
        value = value[()]
    if isinstance(value, bool) or not isinstance(value, float | int | np.floating | np.integer):
        raise TypeError(f"{name} is {value!r}; it must be a number")
    below = value <= low if open_low else value < low
    above = value >= high if open_high else value > high
    if below or above or not math.isfinite(value):
        bounds = [f"{'above' if open_low else 'at least'} {low:g}"] if low > -math.inf else []
        bounds += [f"{'below' if open_high else 'at most'} {high:g}"] if high < math.inf else []
        raise ValueError(f"{name} is {value}; it must be finite{''.join(' and ' + b for b in bounds)}")


def check_count(name: str, value: Any, low: int) -> None:
    """Refuse what is no whole number, or one below `low`; a jax.Array passes.

    Raises:
        ValueError: it is below, or has a fraction.
        TypeError: it is not one number.
    """
    check_range(name, value, low)
    if not isinstance(value, Array) and value != int(value):
        raise ValueError(f"{name} is {value}; it must be a whole number and at least {low}")


def check_transformation(what: str, given: Any) -> None:
    """Refuse what has no `init` and `update`; raises TypeError."""
    if not isinstance(given, Transformation):
        hint = ": call it, as in sgd(0.1)" if callable(given) else ""
        raise TypeError(f"{what} is {given!r}, which has no init and update{hint}")


def check_state_dtype(dtype: DTypeLike | None) -> None:
    """Refuse a dtype of slots that is none of floats; None passes.

    Raises:
        ValueError: it is none.
    """
    try:
        good = dtype is None or jnp.issubdtype(np.dtype(dtype), jnp.floating)
    except TypeError:
        good = False
    if not good:
        raise ValueError(f"state_dtype is {dtype!r}; it must be a dtype of floats, such as jnp.float32")


def check_rate(learning_rate: Number | Schedule) -> None:
    """Refuse a learning rate that is negative or no number; a schedule passes."""
    if not callable(learning_rate):
        check_range("learning_rate", learning_rate, 0.0)


def require_params(params: PyTree, who: str) -> None:
    """Refuse an update without the parameters that `who` needs."""
    if params is None:
        raise ValueError(f"{who} needs the parameters: call update(updates, state, params)")


def check_types(config: Any, name: str) -> None:
    """Refuse a value of a config's field that is not of the field's type; raises ValueError that names it."""
    for field in dataclasses.fields(config):
        value, kind = getattr(config, field.name), typing.cast(typing.Any, field.type)
        (of, *_), many = (typing.get_args(kind), True) if typing.get_origin(kind) is tuple else ((kind,), False)
        if many and not isinstance(value, tuple | list):
            raise ValueError(f"{name}.{field.name}={value!r} must be a tuple of {of.__name__}")
        wanted = numbers.Real if of is float else of
        hint = ": write it as a string" if of is str else ""
        for item in value if many else (value,):
            if not isinstance(item, wanted) or (isinstance(item, bool) and of is not bool):
                raise ValueError(
                    f"{name}.{field.name}={value!r} must be {'all ' if many else ''}of type {of.__name__}{hint}"
                )


def unknown(kind: str, given: str, allowed: Iterable[str]) -> str:
    """The message for a name that does not exist: the nearest one that does, and all of them."""
    names = list(allowed)
    near = difflib.get_close_matches(given, names, n=1, cutoff=0.4)
    guess = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {kind} {given!r}; {guess}there are {', '.join(names)}"
