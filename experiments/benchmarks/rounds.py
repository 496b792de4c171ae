"""Comparing programs on a noisy machine: short rounds in changing order, and the spread of their ratios."""

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

WARM_UP = 3


def interleave(
    programs: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, np.ndarray]:
    """Seconds of one call of every program in every round; another program begins each round.

    Args:
        programs: name -> a function that returns when its work is done.
        rounds: how many rounds count, after three that do not.
        clock: tells seconds; `time.process_time` those of the processor, to which other programs do not add.

    Returns:
        name -> [rounds].
    """
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for number in range(WARM_UP + rounds):
        first = number % len(programs)
        for name in (*list(programs)[first:], *list(programs)[:first]):
            start = clock()
            programs[name]()
            seconds[name].append(clock() - start)
    return {name: np.array(values[WARM_UP:]) for name, values in seconds.items()}


def ratio(own: Sequence[float] | np.ndarray, rival: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    """The median over rounds of own/rival, with the bootstrap 95 % interval of that median.

    Rounds are compared one by one, so that what slows the machine for seconds slows both sides.
    """
    ratios = np.asarray(own) / np.asarray(rival)
    chosen = np.random.default_rng(0).integers(0, len(ratios), (2000, len(ratios)))
    low, high = np.quantile(np.median(ratios[chosen], axis=1), [0.025, 0.975])
    return float(np.median(ratios)), float(low), float(high)
