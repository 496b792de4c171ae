"""What the ways of transfer found, as rows, a figure and sentences beside the lecture's advice."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cs231n_jax.data import Normalization
from cs231n_jax.train.transfer import Transfer
from experiments.studies import Result, long_runs, seeds
from experiments.studies.drawing import canvas, save
from experiments.studies.transfer_data import LITTLE, MUCH, Target

ADVICE = {  # by (similar, amount): the way, and the lecture's words
    (True, LITTLE): (Transfer.PROBE_TOP, "use a linear classifier on the top layer"),
    (False, LITTLE): (Transfer.PROBE_STAGES, "you are in trouble: try linear classifiers from different stages"),
    (True, MUCH): (Transfer.FINETUNE_FEW, "finetune a few layers"),
    (False, MUCH): (Transfer.FINETUNE_MANY, "finetune a larger number of layers"),
}
KIND = {True: "similar", False: "different"}
Found = Mapping[tuple[str, str], Sequence[Mapping[str, Mapping[str, Any]]]]


class Verdict(NamedTuple):
    """How an advice did on one target."""

    advised: str
    winner: str  # the way with the best mean; of equals the advised one
    behind: float  # points that the advised way is behind the best of the others; negative: ahead
    error: float  # of that difference, over the seeds
    said: str  # in the words of `judged`


def accuracies(found: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, np.ndarray]:
    """{way: percent by seed}."""
    return {way: np.array([100 * one[way]["accuracy"] for one in found]) for way in found[0]}


def verdict(advised: str, values: Mapping[str, np.ndarray]) -> Verdict:
    """The advised way beside the others.

    Args:
        advised: a way.
        values: {way: accuracies by seed}; the same seeds for all.
    """
    winner = max(values, key=lambda way: (values[way].mean(), way == advised))
    rival = max((way for way in values if way != advised), key=lambda way: values[way].mean())
    behind = values[rival] - values[advised]
    return Verdict(advised, winner, float(behind.mean()), seeds.error(behind), judged(advised, values))


def judged(advised: str, values: Mapping[str, np.ndarray]) -> str:
    """Whether the advised way leads, as `long_runs.verdict` says of its paired differences to each other way.

    "confirmed": it leads all others for certain; "refuted": at least one other leads it for certain; "not decided":
    neither, as where ways are equal. Of one seed, whether it led there.
    """
    each = [long_runs.verdict(values[advised] - own) for way, own in values.items() if way != advised]
    if len({*each}) == 1:
        return each[0]
    return next(word for word in ("refuted", "not decided", "not seen in the one seed") if word in each)


def rows(targets: Mapping[str, Target], found: Found) -> list[dict[str, Any]]:
    """One row a way of a cell."""
    made = []
    for (name, amount), by_seed in found.items():
        values = accuracies(by_seed)
        similar = targets[name].similar
        advised = ADVICE[similar, amount][0].value
        best = max(one.mean() for one in values.values())
        sizes = next((one for one in by_seed[0].values() if "images" in one), {})
        for way, own in values.items():
            marks = [*(["advised"] if way == advised else []), *(["best"] if own.mean() == best else [])]
            made.append(
                {
                    "data": f"{KIND[similar]}, {amount}",
                    "target": name,
                    "images": f"{sizes.get('images', '')}",
                    "tests": f"{sizes.get('tests', '')}",
                    "way": way,
                    "accuracy (%)": round(float(own.mean()), 2),
                    "±": round(seeds.error(own), 2) if len(own) > 1 else "",
                    "": ", ".join(marks),
                    "stages chosen": ", ".join(one[way]["stage"] for one in by_seed if "stage" in one[way]),
                }
            )
    return made


def sentences(targets: Mapping[str, Target], found: Found) -> list[str]:
    """For each cell of the table what the lecture says, what won, and whether the seeds decide on it."""
    told = []
    for (similar, amount), (way, words) in ADVICE.items():
        cells = {
            name: verdict(way.value, accuracies(by_seed))
            for (name, how_much), by_seed in found.items()
            if how_much == amount
            and targets[name].similar == similar
            and way.value in by_seed[0]
            and len(by_seed[0]) > 1
        }
        if not cells:
            continue
        said = {one.said: [name for name in cells if cells[name].said == one.said] for one in cells.values()}
        result = " and ".join(f"{word} by {', '.join(names)}" for word, names in said.items())
        each = "; ".join(f"{name}: {_standing(one)}" for name, one in cells.items())
        told.append(f"{KIND[similar].capitalize()} data, {amount} of it: “{words}” is {result} ({each}).")
    return told


def _standing(one: Verdict) -> str:
    difference = seeds.told(abs(one.behind), one.error, 2).removeprefix("+")
    if one.winner == one.advised:
        return f"{one.advised} is best, {difference} points ahead of the next"
    return f"{one.winner} is best, {one.advised} is {difference} points behind"


def figure(path: Path, targets: Mapping[str, Target], found: Found) -> Path:
    """Above the ways of every cell, below the probes by stage."""
    chart, axes = canvas(2, len(found), width=3.6, height=3.4)
    for axis, below, ((name, amount), by_seed) in zip(axes, axes[len(found) :], found.items()):
        values = accuracies(by_seed)
        advised = ADVICE[targets[name].similar, amount][0].value
        for place, (way, own) in enumerate(values.items()):
            colour = "C1" if way == advised else "C0"
            axis.errorbar(own.mean(), place, xerr=np.nan_to_num(seeds.error(own)), fmt="o", capsize=3, color=colour)
        axis.set_yticks(range(len(values)), list(values))
        axis.invert_yaxis()
        axis.set(title=f"{name}, {amount} ({KIND[targets[name].similar]})", xlabel="test accuracy (%)")
        curves = [one[Transfer.PROBE_STAGES.value]["curve"] for one in by_seed if Transfer.PROBE_STAGES.value in one]
        if curves:
            every = 100 * np.array([list(curve.values()) for curve in curves])
            errors = np.nan_to_num([seeds.error(column) for column in every.T])
            below.errorbar(range(every.shape[1]), every.mean(0), yerr=errors, fmt="o-", capsize=3)
            below.set_xticks(range(every.shape[1]), list(curves[0]), rotation=30)
            below.set(ylabel="accuracy of the probe (%)")
    chart.suptitle("orange: what the lecture advises")
    return save(chart, path)


def normalised(how: str) -> str:
    """How the images of the targets were normalised: as the weights know theirs, but for the numbers of "dataset"."""
    if how == Normalization.DATASET.value:
        return "normalised by each target's own mean and deviation, not by those of the data that the weights know"
    return f"normalised by the numbers of {how}"


def images(targets: Mapping[str, Target], normalize: str) -> str:
    """How the images of each target were made to fit."""
    each = "; ".join(f"{name}: {target.was}" for name, target in targets.items())
    return f"Images, {normalised(normalize)}: {each}."


def time_taken(found: Found) -> str:
    """The seconds of all that was measured, in whatever calls."""
    every = [one for by_seed in found.values() for ways in by_seed for one in ways.values()]
    clock, processor = (sum(one.get(name, 0.0) for one in every) for name in ("seconds", "processor_seconds"))
    return (
        f"All of it took {clock:,.0f} s by the clock and {processor:,.0f} s of processor time (an "
        f"hour of two cores has {2 * 3600:,})."
    )


def result(path: Path, targets: Mapping[str, Target], found: Found, normalize: str) -> Result:
    """The answer of the study."""
    table = rows(targets, found)
    numbers = {f"{row['target']}, {row['data']}: {row['way']}": row["accuracy (%)"] for row in table}
    told = [*sentences(targets, found), images(targets, normalize), time_taken(found)]
    return Result(figure(path, targets, found), numbers, "\n\n".join(told), table)
