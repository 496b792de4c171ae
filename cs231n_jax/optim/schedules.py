"""Schedules: functions from the number of updates done so far to a value, and ways to put them together.

Every schedule takes a Python integer or an integer array of any shape, traced or not, and returns float32 (float64
under x64). `count` is 0 at the first update; where a paper counts t from 1, t = count + 1. Values, rates and factors
are at least 0, lengths and boundaries whole numbers of updates.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from cs231n_jax.optim.base import check_count, check_range, float_dtype
from cs231n_jax.typing import Schedule


def constant(value: float) -> Schedule:
    """The value, always.

    Raises:
        ValueError: a negative value.
    """
    value = _number("value", value, 0.0)
    return lambda count: jnp.full(jnp.shape(count), value, float_dtype())


def step(peak: float, boundaries: Sequence[int], factors: Sequence[float]) -> Schedule:
    """peak·Π factors[i] over all i with count ≥ boundaries[i].

    Args:
        peak: the value before the first boundary.
        boundaries: updates, increasing.
        factors: one for each boundary, applied to the value before it.

    Raises:
        ValueError: the boundaries do not increase, or there is another number of factors; or a number is negative or,
            among the boundaries, not whole.
    """
    peak = _number("peak", peak, 0.0)
    _check_boundaries(boundaries)
    factors = [_number("factor", factor, 0.0) for factor in factors]
    if len(factors) != len(boundaries):
        raise ValueError(f"there are {len(boundaries)} boundaries and {len(factors)} factors; give one for each")

    def schedule(count: Any) -> Array:
        value, result = peak, constant(peak)(count)
        for boundary, factor in zip(boundaries, factors):
            value *= factor
            result = jnp.where(_count(count) >= boundary, value, result)
        return result

    return schedule


def staircase(peak: float, period: int, factor: float) -> Schedule:
    """peak·factor^⌊count / period⌋: halve every five epochs, say.

    Raises:
        ValueError: a negative peak or factor, or a period below 1.
    """
    peak = _number("peak", peak, 0.0)
    check_count("period", period, 1)
    factor = _number("factor", factor, 0.0)
    return lambda count: peak * jnp.power(factor, _float(_count(count) // period))


def exponential(peak: float, rate: float) -> Schedule:
    """peak·exp(−rate·count).

    Raises:
        ValueError: a negative peak or rate.
    """
    peak = _number("peak", peak, 0.0)
    rate = _number("rate", rate, 0.0)
    return lambda count: peak * jnp.exp(-rate * _float(count))


def inverse_time(peak: float, rate: float) -> Schedule:
    """peak / (1 + rate·count); torch.optim.Adagrad's `lr_decay` is the rate.

    Raises:
        ValueError: a negative peak or rate.
    """
    peak = _number("peak", peak, 0.0)
    rate = _number("rate", rate, 0.0)
    return lambda count: peak / (1 + rate * _float(count))


def inverse_sqrt(peak: float, rate: float = 1.0) -> Schedule:
    """peak / √(1 + rate·count); with rate = 1 the lecture's α₀/√t.

    Raises:
        ValueError: a negative peak or rate.
    """
    peak = _number("peak", peak, 0.0)
    rate = _number("rate", rate, 0.0)
    return lambda count: peak / jnp.sqrt(1 + rate * _float(count))


def linear(start: float, end: float, steps: int) -> Schedule:
    """From start to end in `steps` updates, then end.

    Raises:
        ValueError: a negative start or end, or steps below 1.
    """
    start = _number("start", start, 0.0)
    end = _number("end", end, 0.0)
    check_count("steps", steps, 1)
    return lambda count: start + (end - start) * _share(count, steps)


def cosine(peak: float, steps: int, final: float = 0.0) -> Schedule:
    """final + ½·(peak − final)·(1 + cos(π·count / steps)), then final.

    Raises:
        ValueError: a negative peak or final, or steps below 1.

    *Deviation*: torch.optim.lr_scheduler.CosineAnnealingLR rises again after `T_max`.
    """
    peak = _number("peak", peak, 0.0)
    final = _number("final", final, 0.0)
    check_count("steps", steps, 1)
    return lambda count: _half_cosine(peak, final, _share(count, steps))


def cosine_restarts(peak: float, period: int, t_mult: float = 1.0, final: float = 0.0) -> Schedule:
    """Half a cosine from peak to final in cycles of period, period·t_mult, period·t_mult², … updates (rounded).

    Args:
        peak: the value at the start of every cycle.
        period: length of the first cycle.
        t_mult: ≥ 1.
        final: what a cycle falls towards; its last update is one step short of it.

    Raises:
        ValueError: a negative peak or final, a period below 1, or a t_mult below 1 or so near it that the cycles are
            too many.

    Reference: Loshchilov, Hutter 2017 (SGDR), equation 5.
    """
    peak = _number("peak", peak, 0.0)
    final = _number("final", final, 0.0)
    check_count("period", period, 1)
    t_mult = _number("t_mult", t_mult, 1.0)
    if t_mult == 1:
        return lambda count: _half_cosine(peak, final, _float(_count(count) % period) / period)
    starts, length = [0], float(period)
    while starts[-1] + round(length) <= _LAST_COUNT:
        starts.append(starts[-1] + round(length))
        length *= t_mult
        if len(starts) > _MOST_CYCLES:
            raise ValueError(f"t_mult is {t_mult}; it makes more than {_MOST_CYCLES} cycles: take 1, or 1.001 and more")
    lengths = [b - a for a, b in zip(starts, [*starts[1:], starts[-1] + round(length)])]

    def schedule(count: Any) -> Array:
        count = _count(count)
        begins = jnp.asarray(starts, count.dtype)
        cycle = jnp.searchsorted(begins, count, side="right") - 1
        return _half_cosine(peak, final, _float(count - begins[cycle]) / jnp.asarray(lengths, float_dtype())[cycle])

    return schedule


def snapshot_cosine(peak: float, total_steps: int, cycles: int) -> Schedule:
    """½·peak·(cos(π·mod(t − 1, C) / C) + 1) with C = ⌈total_steps / cycles⌉ and t = count + 1.

    Raises:
        ValueError: a negative peak, or no whole number of cycles from 1 to total_steps.

    Reference: Huang, Li, Pleiss, Liu, Hopcroft, Weinberger 2017 (Snapshot Ensembles), equation 2.
    """
    check_count("cycles", cycles, 1)
    check_count("total_steps", total_steps, 1)
    if cycles > total_steps:
        raise ValueError(f"cycles is {cycles}; it must be at least 1 and at most the {total_steps} steps of the run")
    return cosine_restarts(peak, math.ceil(total_steps / cycles))


def held_then_linear(peak: float, final: float, steps: int) -> Schedule:
    """The peak for the first half of `steps` updates, then a straight line to final, then final.

    Weights are averaged, or cycles run, from there on.

    Args:
        peak: the value at first.
        final: the value from `steps` on.
        steps: updates until it is reached.

    Raises:
        ValueError: a negative peak or final, or steps below 1.

    Reference: Izmailov et al. 2018 (Averaging Weights), section 4 (the schedule in front of the average).
    """
    line = linear(peak, final, max(1, steps - steps // 2))
    return join([constant(peak), line], [steps // 2]) if steps > 1 else line


def fge_triangle(high: float, low: float, period: int) -> Schedule:
    """Down from high to low in the first half of a cycle, up again in the second.

    With t = (mod(count, period) + 1) / period: (1 − 2t)·high + 2t·low up to t = ½, then (2 − 2t)·low + (2t − 1)·high.
    Models are taken where the rate is lowest.

    Args:
        high: value at the end of a cycle.
        low: value in its middle.
        period: length of a cycle, even.

    Raises:
        ValueError: the period is odd, so that it has no middle, or below 1; or high or low is negative.

    Reference: Garipov, Izmailov, Podoprikhin, Vetrov, Wilson 2018 (Fast Geometric Ensembling), section 4.
    """
    high = _number("high", high, 0.0)
    low = _number("low", low, 0.0)
    check_count("period", period, 1)
    if period % 2:
        raise ValueError(f"period is {period}; a triangle needs an even number of updates")

    def schedule(count: Any) -> Array:
        t = _float(_count(count) % period + 1) / period
        return high + (low - high) * (1 - jnp.abs(1 - 2 * t))

    return schedule


def warmup(schedule: Schedule, steps: int, start: float = 0.0, *, shift: bool = True) -> Schedule:
    """A straight line from `start` to where a schedule takes over after `steps` updates.

    Args:
        schedule: what follows.
        steps: length of the line; 0: there is none.
        start: its first value.
        shift: the schedule starts at its own beginning when the line ends; else it counts from the start of training
            as if there were no line, which leaves its boundaries and cycles where they are.

    Raises:
        ValueError: steps that are negative or not whole, or a negative start.
        TypeError: the schedule is no function.

    Reference: Goyal et al. 2017, section 2.2 (gradual warm-up).
    """
    _check_schedule("the schedule behind a warm-up", schedule)
    check_count("steps", steps, 0)
    start = _number("start", start, 0.0)
    if steps == 0:
        return schedule
    offset = steps if shift else 0

    def warmed(count: Any) -> Array:
        ramp = start + (schedule(steps - offset) - start) * _share(count, steps)
        return jnp.where(_count(count) < steps, ramp, schedule(jnp.maximum(_count(count) - offset, 0)))

    return warmed


def join(schedules: Sequence[Schedule], boundaries: Sequence[int]) -> Schedule:
    """schedules[i] from boundaries[i − 1] to boundaries[i], each counting from its own beginning.

    Raises:
        ValueError: there is no schedule; the boundaries do not increase from 0 or later, or are not one fewer than the
            schedules.
        TypeError: one of the schedules is no function.
    """
    if not schedules:
        raise ValueError("there is no schedule to join; give at least one")
    for schedule in schedules:
        _check_schedule("one of the schedules to join", schedule)
    if len(schedules) != len(boundaries) + 1:
        raise ValueError(
            f"{len(schedules)} schedules need {len(schedules) - 1} increasing boundaries, got {tuple(boundaries)}"
        )
    _check_boundaries(boundaries)

    def joined(count: Any) -> Array:
        value = schedules[0](count)
        for schedule, boundary in zip(schedules[1:], boundaries):
            later = schedule(jnp.maximum(_count(count) - boundary, 0))
            value = jnp.where(_count(count) >= boundary, later, value)
        return value

    return joined


def duration(text: str, *, total_steps: int, steps_per_epoch: int) -> int:
    """A length of time in updates: "500" updates, "10ep" epochs, "90%" of the run; fractions are rounded.

    Raises:
        ValueError: it is none of these, negative, or more than the whole run.
    """
    if not isinstance(text, str):
        raise ValueError(f'the duration {text!r} is a {type(text).__name__}; write it as a string, such as "500"')
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)(ep|%)?", text.strip(), re.ASCII)
    if not found or (not found[2] and "." in found[1]):
        raise ValueError(f'the duration {text!r} is none of "500" (updates), "10ep" (epochs) or "90%" (of the run)')
    number, unit = float(found[1]), found[2]
    if unit == "%" and number > 100:
        raise ValueError(f"the duration {text!r} is more than the run; a share is at most 100%")
    if unit == "ep":
        return round(number * steps_per_epoch)
    return round(number * total_steps / 100) if unit else int(found[1])


_LAST_COUNT = 2**31 - 1
_MOST_CYCLES = 100_000


def _count(count: Any) -> Array:
    """The count as an array that boundaries fit into."""
    count = jnp.asarray(count)
    return count if count.dtype.itemsize >= 4 else count.astype(jnp.int32)


def _float(count: Any) -> Array:
    return jnp.asarray(count).astype(float_dtype())


def _share(count: Any, steps: int) -> Array:
    """How much of `steps` is over, from 0 to 1."""
    return jnp.minimum(_float(jnp.minimum(_count(count), steps)) / steps, 1)


def _half_cosine(peak: float, final: float, share: Array) -> Array:
    return final + 0.5 * (peak - final) * (1 + jnp.cos(math.pi * share))


def _check_boundaries(boundaries: Sequence[int]) -> None:
    for boundary in boundaries:
        check_count("boundary", boundary, 0)
    if list(boundaries) != sorted(set(boundaries)):
        raise ValueError(f"boundaries are {tuple(boundaries)}; they must increase")


def _check_schedule(what: str, schedule: Any) -> None:
    if not callable(schedule):
        raise TypeError(f"{what} is {schedule!r}, which is no function of the count: write constant({schedule!r})")


def _number(name: str, value: Any, low: float) -> Any:
    """A parameter that takes any dtype in arithmetic; a jax.Array stays one."""
    check_range(name, value, low)
    return value.astype(float_dtype()) if isinstance(value, Array) else float(value)
