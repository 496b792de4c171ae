"""What an ensemble is worth for its price: snapshots of one run, averages of weights, independent runs.

Every run goes through the one training loop in a run directory of its own below the study's, so a study that is killed
goes on where it was; what a finished seed found is kept in seedN.json beside them. Equal budget: all members of an
ensemble together train as long as the single run. Full budget: each member of the independent ensemble does.
"""

import dataclasses
import math
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cs231n_jax.config import Config, TrainConfig
from cs231n_jax.data import DataConfig
from cs231n_jax.metrics import scores
from cs231n_jax.models import ModelConfig
from cs231n_jax.optim import OptimizerConfig, ScheduleConfig
from cs231n_jax.train import ensemble, members, record
from cs231n_jax.train.assemble import assemble
from cs231n_jax.train.members import Member
from cs231n_jax.train.snapshots import SnapshotConfig
from experiments.studies import Result, seeds
from experiments.studies import ensembling_claims as claims
from experiments.studies.drawing import canvas, save

EMA_DECAY = 0.995  # the lecture's
ERROR, GAIN, GAIN_ERROR = "its standard error", "gain (points)", "its error"  # columns
DETAILS = """
Momentum 0.9, weight decay 1e-4, batch 128 (digits: 64), peak rate 0.1, pad-crop and flip (digits: crop alone).
One run: half a cosine. Moving average: of that run's weights, after every update. SWA: the peak rate for three eighths
of the run, a straight line to 0.05 at its last quarter, constant there, where weights are averaged. FGE: the peak rate
for a third, a line to 0.05 at two thirds, then triangles down to 0.01 and up again, a member at each lowest point. What
these two gain is of their rates and of their averages together. Snapshots: cosine cycles from 0.1. Short runs:
independent, with a cosine each, of whole epochs that together are at most as long as the single run. Full runs:
independent, each as long as the single run. A budget of 1 is the price of the single run. Averaged weights have batch
statistics of their own, gathered over the training data. The time below is that of the call that printed this page,
which does not train again what an earlier call finished: with the folder of a record in experiments/pinned copied into
--workdir it prints the page of that record, and seedN.json says where each seed was trained.

Published, with other networks and budgets, error in percent. Snapshot ensembles (Huang et al. 2017, table 1),
ResNet-110: CIFAR-100 single 28.02, short independent cycles 24.54, snapshots 24.19; CIFAR-10 5.52, 6.66, 5.32.
DenseNet-40 on CIFAR-100: 6 snapshots 21.9, 6 full runs 19.3 (read off a figure, ± 0.2). FGE (Garipov et al. 2018),
CIFAR-100, accuracy of independent runs and of FGE at equal budgets 1, 2, 3: VGG-16 72.5, 74.8, 75.6 and 74.6, 76.1,
76.6; PreResNet-164 78.4, 80.5, 81.6 and 80.3, 81.3, 81.7. SWA (Izmailov et al. 2018), accuracy of SGD and of SWA at
one budget: CIFAR-100 PreResNet-110 76.77 and 78.75; CIFAR-10 95.03 and 95.51.
""".strip()


class Setting(NamedTuple):
    """A data set, a network and the epochs of the budget."""

    data: DataConfig
    model: ModelConfig
    epochs: int
    seeds: int
    rate: float = 0.1
    sizes: tuple[int, ...] = (3, 5)  # members


DIGITS = Setting(
    DataConfig(name="digits", batch_size=64, augment="crop", augment_padding=1),
    ModelConfig(name="resnet8", options={"width": 8}),
    epochs=30,
    seeds=3,
)
RECORDED = {"options": {}, "batch": 128, "augment": "crop_flip", "padding": 4}
QUICK = ModelConfig(name="mlp")  # compiles in a second
CIFAR = DataConfig(batch_size=128, augment="crop_flip", augment_padding=4)
SETTINGS = {
    "ensembling": DIGITS,
    "ensembling_cifar10": Setting(
        dataclasses.replace(CIFAR, name="cifar10", limit=8_000), ModelConfig(name="resnet8"), epochs=10, seeds=3
    ),
    "ensembling_cifar100": Setting(
        dataclasses.replace(CIFAR, name="cifar100"),
        ModelConfig(name="resnet8", options={"num_classes": 100}),
        epochs=10,
        seeds=3,
    ),
}


def config_of(setting: Setting, seed: int, epochs: int, schedule: ScheduleConfig, count: int, after: str) -> Config:
    """One run: momentum 0.9, weight decay 1e-4, a moving average of the weights, `count` member snapshots."""
    return Config(
        seed=seed,
        model=setting.model,
        data=setting.data,
        optimizer=OptimizerConfig(learning_rate=setting.rate, momentum=0.9, weight_decay=1e-4),
        schedule=schedule,
        train=TrainConfig(steps=f"{epochs}ep", eval_every="0", save_every="5ep", ema_decay=EMA_DECAY),
        snapshots=SnapshotConfig(members=count, after=after),
    )


def measure(name: str, workdir: Path, quick: bool) -> Result:
    """Accuracy of a single run, of its snapshots, of averaged weights and of independent runs, over seeds.

    Reference: Huang et al. 2017, "Snapshot Ensembles"; Izmailov et al. 2018, "Averaging Weights"; Garipov et al. 2018,
    "Loss Surfaces, Mode Connectivity, and Fast Ensembling".
    """
    setting = SETTINGS[name]
    if quick:
        setting = setting._replace(data=DIGITS.data, model=QUICK, epochs=4, seeds=1, sizes=(2,))
    found: list[dict[str, _Way]] = []
    for seed in range(setting.seeds):
        found.append(_kept(workdir / name / f"seed{seed}.json", setting, seed))
    return _report(name, workdir, setting, found)


class _Way(NamedTuple):
    accuracy: float
    examples: int
    budget: int  # in units of the single run


def essence(setting: Setting) -> dict[str, Any]:
    """What a finding belongs to, as plain values.

    Left out is what was as in `RECORDED` when it was found: files from before those fields were told stay valid. The
    number of classes follows from the data.
    """
    data, model = setting.data, setting.model
    told = {"data": data.name, "limit": data.limit, "model": model.name}
    told |= {"epochs": setting.epochs, "rate": setting.rate, "sizes": list(setting.sizes)}
    more = {
        "options": _options(model),
        "batch": data.batch_size,
        "augment": data.augment,
        "padding": data.augment_padding,
    }
    return told | {name: value for name, value in more.items() if value != RECORDED[name]}


def _options(model: ModelConfig) -> dict[str, Any]:
    """The options that were changed, but for the number of classes."""
    usual = ModelConfig(name=model.name).options
    return {name: value for name, value in model.options.items() if value != usual[name] and name != "num_classes"}


def _kept(path: Path, setting: Setting, seed: int) -> dict[str, _Way]:
    ways = seeds.kept(path, essence(setting), lambda: _one_seed(setting, path.with_suffix(""), seed))
    return {name: _Way(*way) for name, way in ways.items()}


def _one_seed(setting: Setting, root: Path, seed: int) -> dict[str, _Way]:
    total, ways = setting.epochs, {}
    cosine = ScheduleConfig(name="cosine")

    def trained(label: str, schedule: ScheduleConfig, count: int = 1, **changes: Any) -> Path:
        given = {"seed": seed, "epochs": total, "after": "0", **changes}
        return seeds.trained(config_of(setting, schedule=schedule, count=count, **given), root / label)

    def compared(chosen: list[Member]) -> dict[str, dict[str, Any]]:
        rows = ensemble.compare(assemble(record.stored_config(chosen[0].workdir)), chosen, thorough=True).rows
        return {row["name"]: row for row in rows}

    def add(name: str, row: dict[str, Any], budget: int = 1) -> None:
        ways[name] = _Way(row["accuracy"], row["total"], budget)

    single = members.find([trained("cosine", cosine)])
    rows = compared(single)
    add("one run", rows[f"snapshot at step {single[0].step}"])
    add(f"moving average, {EMA_DECAY}", next(row for name, row in rows.items() if name.startswith("moving")))
    largest = max(setting.sizes)
    swa = ScheduleConfig(name="swa", start="75%", final=0.5)
    add(f"SWA of {largest}", compared(members.find([trained("swa", swa, largest, after="75%")]))["average of weights"])
    share = 40 / largest  # the last 40 % of the run; members where the rate is lowest
    fge = ScheduleConfig(name="fge_triangle", start=f"{60 + share / 2:g}%", period=f"{share:g}%", high=0.5, final=0.1)
    rows = compared(members.find([trained("fge", fge, largest, after="60%")]))
    add(f"FGE of {largest}, predictions", rows["average of predictions"])
    full = list(single)
    for count in setting.sizes:
        cycles = ScheduleConfig(name="snapshot_cosine", cycles=count)
        rows = compared(members.find([trained(f"snapshots{count}", cycles, count)]))
        add(f"{count} snapshots, predictions", rows["average of predictions"])
        add(f"{count} snapshots, weights", rows["average of weights"])
        labels = {f"short{count}_{i}": 100 * (seed + 1) + i for i in range(count)}
        short = [trained(label, cosine, epochs=short_epochs(setting, count), seed=own) for label, own in labels.items()]
        add(f"{count} short runs", compared(members.find(short))["average of predictions"])
        while len(full) < count:
            full += members.find([trained(f"full_{len(full)}", cosine, seed=1000 * (seed + 1) + len(full))])
        add(f"{count} full runs", compared(full[:count])["average of predictions"], count)
    return ways


def short_epochs(setting: Setting, count: int) -> int:
    """The whole epochs of each of `count` runs that together are at most as long as the single run."""
    return setting.epochs // count


def _short(setting: Setting) -> dict[str, tuple[str, float]]:
    """What to call the short runs, and their budget."""
    found = {}
    for count in setting.sizes:
        each, total = short_epochs(setting, count), setting.epochs
        left = "" if each * count == total else f" ({each * count} of {total})"
        epochs = "epoch" if each == 1 else "epochs"
        found[f"{count} short runs"] = (f"{count} short runs of {each} {epochs}{left}", each * count / total)
    return found


def _report(name: str, workdir: Path, setting: Setting, found: list[dict[str, _Way]]) -> Result:
    accuracy = {way: 100 * np.array([ways[way].accuracy for ways in found]) for way in found[0]}
    chance = 100 * scores.standard_error(float(accuracy["one run"].mean()) / 100, found[0]["one run"].examples)
    short = _short(setting)
    rows = [
        _row(*short.get(way, (way, found[0][way].budget)), values, values - accuracy["one run"])
        for way, values in accuracy.items()
    ]
    numbers = {f"{r['way']}: {key}": r[key] for r in rows for key in list(r)[2:]}
    numbers["standard error of the test set (points)"] = chance
    path = _figure(workdir / f"{name}.png", setting, rows, chance, len(found))
    called, shortest = {way: name for way, (name, _) in short.items()}, f"{max(setting.sizes)} short runs"
    told, updates = _trained(setting)
    text = [
        f"{told} {claims.training(updates, accuracy, shortest, chance, called)}",
        _summary(setting, rows, chance, len(found)),
        claims.verdict(accuracy, setting.sizes, chance, called),
    ]
    return Result(path, numbers, "\n\n".join(text), rows)


def _row(way: str, budget: float, values: np.ndarray, gains: np.ndarray) -> dict[str, Any]:
    """One seed has no standard errors."""
    error, of_gain = (
        {name: seeds.error(x)} if len(x) > 1 else {} for name, x in ((ERROR, values), (GAIN_ERROR, gains))
    )
    gain = round(float(gains.mean()), 6)  # where nothing is gained exactly 0
    return {"way": way, "budget": budget, "accuracy (%)": float(values.mean()), **error, GAIN: gain, **of_gain}


def _figure(path: Path, setting: Setting, rows: list[dict[str, Any]], chance: float, count: int) -> Path:
    figure, (axis,) = canvas(1, 1, width=7)
    means, bars = [row["accuracy (%)"] for row in rows], [row.get(ERROR, chance) for row in rows]
    axis.axvspan(means[0] - chance, means[0] + chance, alpha=0.15, label="one run ± standard error of the test set")
    axis.errorbar(means, range(len(rows)), xerr=bars, fmt="o", capsize=3)
    axis.set_yticks(range(len(rows)), [f"{row['way']}, budget {row['budget']:g}" for row in rows])
    axis.invert_yaxis()
    axis.legend(fontsize="small")
    axis.set(xlabel="test accuracy (%)", title=f"{setting.data.name}, {setting.epochs} epochs, {count} seeds")
    return save(figure, path)


def _trained(setting: Setting) -> tuple[str, int]:
    """The network, the data and the length of a run, in words; its updates."""
    assembly = assemble(config_of(setting, 0, setting.epochs, ScheduleConfig(name="cosine"), 1, "0"))
    images, tests, updates = len(assembly.train_source), len(assembly.eval_source), assembly.total_steps
    first = "the first " if setting.data.limit else ""
    options = "".join(f", {name} {value}" for name, value in _options(setting.model).items())
    text = (
        f"The network is {setting.model.name}{options}, trained on {first}{images:,} images of {setting.data.name} and "
        f"tested on {tests:,}; one run is {setting.epochs} epochs in batches of {setting.data.batch_size}, {updates:,} "
        "updates."
    )
    return text, updates


def _summary(setting: Setting, rows: list[dict[str, Any]], chance: float, count: int) -> str:
    largest = max(setting.sizes)
    gain = {row["way"]: seeds.told(row[GAIN], row.get(GAIN_ERROR, math.nan), 2) for row in rows}
    short = _short(setting)[f"{largest} short runs"][0]
    spread = f"standard errors over {count} seeds; that of" if count > 1 else "one seed; the standard error of"
    return (
        f"Beside one run of {setting.epochs} epochs ({rows[0]['accuracy (%)']:.2f} %), {largest} snapshots of one such "
        f"run gain {gain[f'{largest} snapshots, predictions']} points, {short} {gain[short]}, and {largest} full runs, "
        f"at {largest} times the price, {gain[f'{largest} full runs']} ({spread} the test set is {chance:.2f})."
    )


def _study(name: str) -> Any:
    study = partial(measure, name)
    study.__doc__ = f"Snapshots, averaged weights and independent runs at equal and at full price: {name}.\n\n{DETAILS}"
    return study


STUDIES = {name: _study(name) for name in SETTINGS}
