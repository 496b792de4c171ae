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

    Rounds are compared one by one, so that what slows the machine for seconds slows both sides. Where each side was
    compiled several times, it is the mean over its compilations that is compared, and the interval draws these too:
    two compilations of one program lie elsewhere in memory and differ by some percent, for as long as they live.

    Args:
        own: seconds [rounds], or [compilations, rounds].
        rival: likewise.
    """
    sides = [np.atleast_2d(np.asarray(side, np.float64)) for side in (own, rival)]
    random = np.random.default_rng(0)

    def drawn(size: int) -> np.ndarray:
        return random.integers(0, size, size)

    def median(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.median(a.mean(0) / b.mean(0)))

    rounds = sides[0].shape[1]
    medians = []
    for _ in range(2000):
        chosen = drawn(rounds)
        medians.append(median(*(side[drawn(len(side))][:, chosen] for side in sides)))
    low, high = np.quantile(medians, [0.025, 0.975])
    return median(*sides), float(low), float(high)
