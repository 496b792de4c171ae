"""What the options of models may be: the type from the annotation of the module's field, the range from one table."""

import math
import numbers
import typing
from typing import Any, NamedTuple

from cs231n_jax.ops import activations


class Range(NamedTuple):
    """The numbers from `low` to `high`; without the ends where `above` and `below` say so."""

    low: float
    high: float
    above: bool = False
    below: bool = False

    def __contains__(self, value: Any) -> bool:
        over = value > self.low if self.above else value >= self.low
        return over and (value < self.high if self.below else value <= self.high)

    def __str__(self) -> str:
        low = f"above {self.low:,} and" if self.above else f"from {self.low:,}"
        high = f"below {self.high:,}" if self.below else f"{'up ' if self.above else ''}to {self.high:,}"
        return f"{low} {'and ' if self.below and not self.above else ''}{high}"


LARGEST = 2**24  # of any size: products of a few of these still fit 64 bits
PROBABILITY, DROPPED = Range(0, 1), Range(0, 1, below=True)  # what is always dropped has nothing to be scaled by

# Of options that are in no row here, integers are sizes and floats are factors.
DEFAULTS: dict[type, Range] = {int: Range(1, LARGEST), float: Range(0, 1000, above=True)}
RANGES: dict[str, Range | tuple[int, ...] | tuple[str, ...]] = {
    "activation": activations.NAMES,
    "aux_drop_rate": DROPPED,
    "aux_weight": Range(0, 1000),
    "column": Range(0, 10),
    "columns": Range(1, 10),  # column C has 2^(C − 1) units, and a join up to ten inputs
    "depth_drop_rate": PROBABILITY,
    "drop_connect_rate": DROPPED,
    "drop_rate": DROPPED,
    "drop_rates": DROPPED,
    "embedding": Range(0, LARGEST),
    "embedding_std": Range(0, 1000),
    "forget_bias": Range(0, 1000),
    "ghost_batch": Range(0, LARGEST),
    "global_rate": PROBABILITY,
    "head_padding": (0, 1),
    "kernel5": (1, 3, 5, 7),  # an even one would change the size of the maps
    "padding": Range(0, 1024),
    "path_drop_rate": DROPPED,
    "pool_ratio": Range(1, 2, above=True, below=True),
}


def checked(model: str, option: str, value: Any, kind: Any, example: Any) -> Any:
    """`value` as the field of a module wants it: lists as tuples, numpy's numbers as Python's, integers as floats.

    Args:
        model: registry name, for the message.
        option: name of the field, for the message and the range.
        value: what was given.
        kind: the field's annotation: bool, int, float, str, a Literal of strings, or tuple[int | float | str, ...].
        example: a good value, such as the default, which is always allowed.

    Raises:
        ValueError: wrong type, or out of range; the message says what the option may be.
    """
    try:
        return value if kind is str and value == example else _converted(option, value, kind)
    except ValueError:
        words, example = allowed(option, kind), example or ("stage1",) if kind == tuple[str, ...] else example
        words += f" or {example!r}" if kind is str and example and repr(example) not in words else ""
        hint = "" if words.startswith(("one of", "True")) else f", such as {example!r}"
        raise ValueError(f"option {option}={value!r} of model {model!r} must be {words}{hint}") from None


def allowed(option: str, kind: Any) -> str:
    """The values that an option may have, in words."""
    if typing.get_origin(kind) is typing.Literal:
        return f"one of {', '.join(map(repr, typing.get_args(kind)))}"
    if kind is bool:
        return "True or False"
    if element := _element(kind):
        return f"a tuple with each element {allowed(option, element)}"
    span = RANGES.get(option) if kind is str else RANGES.get(option, DEFAULTS[kind])
    if span is None:
        return "a string"
    if not isinstance(span, Range):
        return f"one of {', '.join(map(repr, span))}"
    return f"{'an integer' if kind is int else 'a number'} {span}"


def _element(kind: Any) -> type | None:
    """The type of the elements of tuple[…, ...]; None for anything else."""
    return typing.get_args(kind)[0] if typing.get_origin(kind) is tuple else None


def _converted(option: str, value: Any, kind: Any) -> Any:
    """Raises a ValueError without a message."""
    if typing.get_origin(kind) is typing.Literal:
        return _only(value, isinstance(value, str) and value in typing.get_args(kind))
    if element := _element(kind):
        values = _only(value, isinstance(value, list | tuple))
        return tuple(_converted(option, one, element) for one in values)
    if kind in (bool, str):
        return _only(value, isinstance(value, kind) and (kind is bool or value in RANGES.get(option, (value,))))
    wanted = {int: numbers.Integral, float: numbers.Real}[kind]
    number = kind(_only(value, isinstance(value, wanted) and not isinstance(value, bool)))
    return _only(number, math.isfinite(number) and number in RANGES.get(option, DEFAULTS[kind]))


def _only(value: Any, fits: bool) -> Any:
    if not fits:
        raise ValueError
    return value
