"""What a program does with PRNG keys: its jaxpr is carried out, and every key that is drawn from or split is noted.

Values, not names, are compared: a key that reaches two layers, steps or micro-batches by different ways is found too.
Only what the keys depend on is computed, so that a model's arithmetic costs nothing where no key waits for it.
What a backward pass draws again to save memory stands under the name scope `dropconnect.AGAIN`: it may be what was
drawn outside of it, once each, and nothing else.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from cs231n_jax.ops.dropconnect import AGAIN

KINDS = {"random_bits": "draw", "random_split": "split", "random_fold_in": "fold"}


class Use(NamedTuple):
    """One key and what was done with it."""

    kind: str  # "draw", "split" or "fold"
    key: bytes
    what: Any  # the shape drawn, the shape of the split, or the number folded in
    again: bool = False  # under the name scope AGAIN


def uses(function: Any, *args: Any) -> list[Use]:
    """The keys that `function(*args)` uses, in the order of computation; a key array counts once an element."""
    closed = jax.make_jaxpr(function)(*args)
    found: list[Use] = []
    _run(closed, jax.tree.leaves(args), [False] * len(_bare(closed).outvars), found, False)
    return found


def repeated(found: Sequence[Use]) -> list[Use]:
    """Uses that share random numbers: of a key drawn from or split and used again, or of a number folded in twice.

    Under AGAIN also what was not drawn, split or folded in outside of it, and what was there oftener than outside.
    """
    first = [use for use in found if not use.again]
    times, again = Counter(first), Counter(use._replace(again=False) for use in found if use.again)
    spent = Counter(use.key for use in first if use.kind != "fold")
    folded = {use.key for use in first if use.kind == "fold"}

    def twice(use: Use) -> bool:
        return times[use] > 1 if use.kind == "fold" else spent[use.key] > 1 or use.key in folded

    return [*filter(twice, first), *(again - times)]


def _run(closed: Any, args: Sequence[Any], wanted: Sequence[bool], found: list[Use], again: bool) -> list[Any]:
    """The outputs of a jaxpr, None for those that are not wanted."""
    jaxpr = _bare(closed)
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*getattr(closed, "consts", ()), *args], strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else values.get(atom)

    for equation, outputs in _needed(jaxpr, wanted)[0]:
        scoped = again or AGAIN in str(equation.source_info.name_stack)
        results = _evaluate(equation, [read(atom) for atom in equation.invars], outputs, found, scoped)
        values.update(zip(equation.outvars, results, strict=True))
    return [read(atom) if want else None for atom, want in zip(jaxpr.outvars, wanted, strict=True)]


def _needed(jaxpr: Any, wanted: Sequence[bool]) -> tuple[list[tuple[Any, list[bool]]], list[bool]]:
    """The equations that use keys and those that they or the wanted outputs depend on, each with its wanted outputs.

    Returns:
        (these equations, which inputs of the jaxpr they depend on).
    """
    waited = {atom for atom, want in zip(jaxpr.outvars, wanted) if want and not isinstance(atom, Literal)}
    kept = []
    for equation in reversed(jaxpr.eqns):
        outputs = [v in waited for v in equation.outvars]
        if any(outputs) or _uses_keys(equation):
            inputs = zip(equation.invars, _inputs(equation, outputs), strict=True)
            waited |= {atom for atom, wait in inputs if wait and not isinstance(atom, Literal)}
            kept.append((equation, outputs))
    return kept[::-1], [v in waited for v in jaxpr.invars]


def _inputs(equation: Any, outputs: list[bool]) -> list[bool]:
    """Which inputs of an equation its keys and its wanted outputs depend on."""
    name, params = equation.primitive.name, equation.params
    if name in KINDS or not _uses_keys(equation):
        return [True] * len(equation.invars)
    if name == "scan":
        return _scan_inputs(params, outputs)
    if name == "cond":
        return [True, *map(any, zip(*(_needed(_bare(branch), outputs)[1] for branch in params["branches"])))]
    (inner,) = _inner(equation)
    return _needed(_bare(inner), outputs)[1]


def _scan_inputs(params: Any, outputs: list[bool]) -> list[bool]:
    """`_inputs` of a scan: what is wanted of the state after the last round, and what any round needs of it."""
    start, end = _carry(params)
    state, each = outputs[: end - start], outputs[end - start :]
    while True:
        inputs = _needed(_bare(params["jaxpr"]), [*state, *each])[1]
        more = [a or b for a, b in zip(state, inputs[start:end])]
        if more == state:
            return [*inputs[:start], *state, *inputs[end:]]
        state = more


def _carry(params: Any) -> tuple[int, int]:
    """Where the state begins and ends among the inputs of a scan, which are constants, state and rows."""
    if "num_consts" in params:  # jax < 0.12
        return params["num_consts"], params["num_consts"] + params["num_carry"]
    names = range(len(_bare(params["jaxpr"]).invars))
    constants, state, _ = (list(part) for part in params["ft_in"].update(names).unpack())
    return len(constants), len(constants) + len(state)


def _bare(jaxpr: Any) -> Any:
    return getattr(jaxpr, "jaxpr", jaxpr)


def _inner(equation: Any) -> list[Any]:
    def is_jaxpr(x: Any) -> bool:
        return isinstance(x, Jaxpr | ClosedJaxpr)

    return [x for x in jax.tree.leaves(list(equation.params.values()), is_leaf=is_jaxpr) if is_jaxpr(x)]


def _uses_keys(equation: Any) -> bool:
    inside = (inner for jaxpr in _inner(equation) for inner in _bare(jaxpr).eqns)
    return equation.primitive.name in KINDS or any(map(_uses_keys, inside))


def _evaluate(equation: Any, inputs: list[Any], wanted: list[bool], found: list[Use], again: bool) -> list[Any]:
    name, params = equation.primitive.name, equation.params
    if name in KINDS:
        found += _noted(name, params, inputs, again)
    if name in KINDS or not _uses_keys(equation):
        outputs = equation.primitive.bind(*inputs, **params) if any(wanted) else [None] * len(wanted)
        return list(outputs) if isinstance(outputs, list | tuple) else [outputs]
    if name == "scan":
        return _scan(params, inputs, wanted, found, again)
    if name == "cond":
        return _run(params["branches"][int(inputs[0])], inputs[1:], wanted, found, again)
    (inner,) = _inner(equation)  # a call: of a jitted function, of one with a derivative of its own, of a checkpoint
    return _run(inner, inputs, wanted, found, again)


def _scan(params: Any, inputs: list[Any], wanted: list[bool], found: list[Use], again: bool) -> list[Any]:
    start, end = _carry(params)
    fixed, state, over = inputs[:start], inputs[start:end], inputs[end:]
    needs = [*_scan_inputs(params, wanted)[start:end], *wanted[len(state) :]]
    rows = []
    for i in range(params["length"])[:: -1 if params["reverse"] else 1]:
        now = [None if x is None else x[i] for x in over]
        outputs = _run(params["jaxpr"], [*fixed, *state, *now], needs, found, again)
        state = outputs[: len(state)]
        rows.append(outputs[len(state) :])
    columns = zip(*(rows[::-1] if params["reverse"] else rows))
    return [*state, *(None if column[0] is None else jnp.stack(column) for column in columns)]


def _noted(name: str, params: Any, inputs: list[Any], again: bool) -> list[Use]:
    keys = np.asarray(jax.random.key_data(inputs[0]))
    numbers = np.asarray(inputs[1] if name == "random_fold_in" else 0)
    shape = np.broadcast_shapes(keys.shape[:-1], numbers.shape)
    rows = np.broadcast_to(keys, (*shape, keys.shape[-1])).reshape(-1, keys.shape[-1])
    folded = np.broadcast_to(numbers, shape).reshape(-1).tolist()
    what = folded if name == "random_fold_in" else [tuple(params["shape"])] * len(rows)
    return [Use(KINDS[name], row.tobytes(), one, again) for row, one in zip(rows, what, strict=True)]
