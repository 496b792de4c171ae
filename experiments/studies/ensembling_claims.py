"""The lecture's two claims about ensembles, and what the accuracies of a study say of them, in words."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from experiments.studies import seeds

PROMISED = 2.0  # points: "enjoy 2% extra performance"
PUBLISHED_UPDATES = 200 * 50_000 // 64  # of one run of Huang et al. 2017 on CIFAR: 200 epochs in batches of 64


class Gain(NamedTuple):
    """How much one accuracy is above another, and its standard error, in points."""

    mean: float
    error: float

    def __str__(self) -> str:
        return f"{self.mean:+.2f} ± {self.error:.2f}"


def gain(a: np.ndarray, b: np.ndarray, test_error: float) -> Gain:
    """The mean of a − b over seeds, with an error of seeds and test set together.

    error² = standard error over seeds² + 2 · test_error²

    The second part is that of two accuracies on two test sets, which on one test set it cannot exceed while both tend
    to be wrong on the same images.

    Args:
        a: accuracies in percent [seeds].
        b: the same of what it is compared with, seed by seed.
        test_error: standard error of one accuracy on the test set, in points.
    """
    over_seeds = seeds.error(a - b)
    return Gain(
        float(np.mean(a - b)), math.hypot(0.0 if math.isnan(over_seeds) else over_seeds, math.sqrt(2) * test_error)
    )


def promised(found: Gain) -> str:
    """What a gain over one run says of the promised 2 points; certain is what two standard errors do not undo."""
    low, high = found.mean - 2 * found.error, found.mean + 2 * found.error
    if low >= PROMISED:
        return "true"
    if high < 0:
        return "false, it costs accuracy"
    if high < PROMISED:
        return "less than that, but a gain" if low > 0 else "false, if there is a gain it is smaller"
    return "a gain, and 2 points are within its error" if low > 0 else "not decided: no gain and 2 points both fit"


def worth_more(found: Gain) -> str:
    """What the lead of one ensemble over another says of its being worth more."""
    if abs(found.mean) <= 2 * found.error:
        return "not decided: no difference beyond two errors"
    return "true" if found.mean > 0 else "false"


def verdict(
    accuracy: Mapping[str, np.ndarray], sizes: Sequence[int], test_error: float, called: Mapping[str, str]
) -> str:
    """Both claims at equal total budget and at full budget each, as Markdown.

    Args:
        accuracy: in percent [seeds], of "one run", and for each size M of "M snapshots, predictions", "M short runs"
            and "M full runs"; "FGE …" where it was run, with as many members as the largest M.
        sizes: numbers of members M.
        test_error: standard error of one accuracy on the test set, in points.
        called: what to call the short runs.
    """

    def gained(way: str, other: str) -> Gain:
        return gain(accuracy[way], accuracy[other], test_error)

    def told(way: str, other: str, words: Callable[[Gain], str]) -> str:
        found = gained(way, other)
        return f"{found} points, {words(found)}."

    kinds = ("snapshots, predictions", "short runs", "full runs")
    snapshots, short, full = ([f"{count} {kind}" for count in sizes] for kind in kinds)
    fge = [way for way in accuracy if way.startswith("FGE")]
    lines = ['"Enjoy 2 % extra performance" from averaging independent models, in points above one run:', ""]
    lines += [f"- {called[way]}, at equal total budget: {told(way, 'one run', promised)}" for way in short]
    lines += [f"- {way}, at full budget each: {told(way, 'one run', promised)}" for way in full]
    lines += ["", "Snapshots of one run at its budget, counted in the same way:", ""]
    lines += [f"- {way}: {told(way, 'one run', promised)}" for way in (*snapshots, *fge)]
    lines += ["", "Snapshots of one model are worth more than independent models, as their lead over the latter:", ""]
    pairs = [*zip(snapshots, short, full), *((way, short[-1], full[-1]) for way in fge)]
    lines += [f"- {way}, over {called[other]}, equal budget: {told(way, other, worth_more)}" for way, other, _ in pairs]
    lines += [f"- {way}, over {other}, full budget each: {told(way, other, worth_more)}" for way, _, other in pairs]
    lines.append("")
    if all(gained(way, "one run").mean < 0 for way in (*snapshots, *short)):
        lines.append(
            "In the mean cycles and short runs are all below one run: one long decay was worth more than either."
        )
    lines.append(
        f"Errors are those of seeds and test set together, √(e² + 2·{test_error:.2f}²), with {test_error:.2f} the "
        "standard error of one accuracy on the test set; what is called true or false is so by two of them."
    )
    return "\n".join(lines)


def training(
    updates: int, accuracy: Mapping[str, np.ndarray], way: str, test_error: float, called: Mapping[str, str]
) -> str:
    """Whether the networks are under-trained: what the short runs `way` say, averaged."""
    found = gain(accuracy[way], accuracy["one run"], test_error)
    times = f"a published run has about {PUBLISHED_UPDATES / updates:.0f} times as many updates"
    if found.mean + 2 * found.error < 0:
        return (
            f"The networks are under-trained at this budget: {times}, and {called[way]} are, averaged, "
            f"{-found.mean:.2f} ± {found.error:.2f} points below one run."
        )
    return f"That is short ({times}), but shorter runs lose little: {called[way]} are, averaged, at {found} points."
