"""What an ensemble is worth for its price: snapshots of one run, averages of weights, independent runs.

Every run goes through the one training loop in a run directory of its own below the study's, so a study that is killed
goes on where it was. Equal budget: all members of an ensemble together train as long as the single run. Full budget:
each member of the independent ensemble does.
"""

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cs231n_jax.config import Config, TrainConfig
from cs231n_jax.data import Augment, DataConfig
from cs231n_jax.metrics import scores
from cs231n_jax.models import ModelConfig
from cs231n_jax.optim import OptimizerConfig, ScheduleConfig
from cs231n_jax.train import ensemble, members, record
from cs231n_jax.train.assemble import assemble
from cs231n_jax.train.members import Member
from cs231n_jax.train.run import run
from cs231n_jax.train.snapshots import SnapshotConfig
from experiments.studies import Result
from experiments.studies.drawing import canvas, save

EMA_DECAY = 0.995  # the lecture's


class Setting(NamedTuple):
    """A data set, a network and the epochs of the budget."""

    data: DataConfig
    model: ModelConfig
    epochs: int
    seeds: int
    rate: float = 0.1
    sizes: tuple[int, ...] = (3, 5)  # members


DIGITS = Setting(
    DataConfig(name="digits", batch_size=64, augment=Augment.CROP, augment_padding=1),
    ModelConfig(name="resnet8", options={"width": 8}),
    epochs=30,
    seeds=3,
)
CIFAR = DataConfig(batch_size=128, augment=Augment.CROP_FLIP, augment_padding=4)
SETTINGS = {
    "ensembling": DIGITS,
    "ensembling_cifar10": Setting(
        dataclasses.replace(CIFAR, name="cifar10", limit=10_000), ModelConfig(name="resnet8"), epochs=30, seeds=3
    ),
    "ensembling_cifar100": Setting(
        dataclasses.replace(CIFAR, name="cifar100"),
        ModelConfig(name="resnet8", options={"num_classes": 100}),
        epochs=30,
        seeds=3,
    ),
}


class _Quiet:
    def start(self, done: int, total: int) -> None:
        """Nothing."""

    def advance(self, done: int) -> None:
        """Nothing."""

    def line(self, text: str) -> None:
        """Nothing."""


def config_of(setting: Setting, seed: int, epochs: int, schedule: ScheduleConfig, count: int) -> Config:
    """One run: momentum 0.9, weight decay 1e-4, a moving average of the weights, `count` member snapshots."""
    return Config(
        seed=seed,
        model=setting.model,
        data=setting.data,
        optimizer=OptimizerConfig(learning_rate=setting.rate, momentum=0.9, weight_decay=1e-4),
        schedule=schedule,
        train=TrainConfig(steps=f"{epochs}ep", eval_every="0", save_every="5ep", ema_decay=EMA_DECAY),
        snapshots=SnapshotConfig(members=count),
    )


def measure(name: str, workdir: Path, quick: bool) -> Result:
    """Accuracy of a single run, of its snapshots, of averaged weights and of independent runs, over seeds.

    Ways: one cosine run and the moving average of its weights; M cosine cycles in the same time, their predictions and
    their weights averaged (the latter with statistics of their own); M short independent runs; M full ones.

    Reference: Huang et al. 2017, "Snapshot Ensembles"; Izmailov et al. 2018, "Averaging Weights".
    """
    setting = SETTINGS[name]
    if quick:
        setting = setting._replace(data=DIGITS.data, model=DIGITS.model, epochs=4, seeds=1, sizes=(2,))
    found: dict[str, list[float]] = {}
    examples = 0
    for seed in range(setting.seeds):
        rows, examples = _one_seed(setting, workdir / name / f"seed{seed}", seed)
        for way, accuracy in rows.items():
            found.setdefault(way, []).append(accuracy)
    return _report(name, workdir, setting, found, examples)


def _one_seed(setting: Setting, root: Path, seed: int) -> tuple[dict[str, float], int]:
    """Accuracy by way, and the number of test examples."""
    total, ways = setting.epochs, {}

    def trained(label: str, config: Config) -> Path:
        run(config, root / label, {}, _Quiet(), 0.0)
        return root / label

    def rows_of(chosen: list[Member]) -> dict[str, dict[str, Any]]:
        compared = ensemble.compare(assemble(record.stored_config(chosen[0].workdir)), chosen, thorough=True)
        return {row["name"]: row for row in compared.rows}

    cosine = ScheduleConfig(name="cosine")
    single = members.find([trained("cosine", config_of(setting, seed, total, cosine, 1))])
    rows = rows_of(single)
    alone = rows[f"snapshot at step {single[0].step}"]
    ways["one run"] = alone["accuracy"]
    ways[f"moving average {EMA_DECAY}"] = next(r["accuracy"] for n, r in rows.items() if n.startswith("moving"))
    full = list(single)
    for count in setting.sizes:
        cycles = ScheduleConfig(name="snapshot_cosine", cycles=count)
        rows = rows_of(members.find([trained(f"snapshots{count}", config_of(setting, seed, total, cycles, count))]))
        ways[f"{count} snapshots, predictions"] = rows["average of predictions"]["accuracy"]
        ways[f"{count} snapshots, weights"] = rows["average of weights"]["accuracy"]
        short = [
            trained(f"short{count}_{i}", config_of(setting, 100 * (seed + 1) + i, total // count, cosine, 1))
            for i in range(count)
        ]
        ways[f"{count} short runs"] = rows_of(members.find(short))["average of predictions"]["accuracy"]
        while len(full) < count:
            label = f"full_{len(full)}"
            full += members.find([trained(label, config_of(setting, 1000 * (seed + 1) + len(full), total, cosine, 1))])
        ways[f"{count} full runs"] = rows_of(full[:count])["average of predictions"]["accuracy"]
    return ways, alone["total"]


def _report(name: str, workdir: Path, setting: Setting, found: dict[str, list[float]], examples: int) -> Result:
    means = {way: float(np.mean(values)) for way, values in found.items()}
    chance = scores.standard_error(means["one run"], examples)
    errors = {way: float(np.std(v, ddof=1) / np.sqrt(len(v))) if len(v) > 1 else chance for way, v in found.items()}
    numbers: dict[str, float] = {}
    for way, mean in means.items():
        numbers[f"{way}: accuracy (%)"] = 100 * mean
        numbers[f"{way}: standard error over seeds (points)"] = 100 * errors[way]
    numbers["standard error of the test set (points)"] = 100 * chance
    figure, (axis,) = canvas(1, 1, width=7)
    places = range(len(means))
    bars = [100 * max(errors[way], chance) for way in means]
    axis.errorbar([100 * mean for mean in means.values()], places, xerr=bars, fmt="o", capsize=3)
    axis.set_yticks(places, list(means))
    axis.invert_yaxis()
    axis.set(xlabel="test accuracy (%)", title=f"{setting.data.name}, {setting.epochs} epochs, {setting.seeds} seeds")
    save(figure, path := workdir / f"{name}.png")
    largest = max(setting.sizes)
    gain = {way: 100 * (means[way] - means["one run"]) for way in means}
    snapshots, short, full = (f"{largest} {kind}" for kind in ("snapshots, predictions", "short runs", "full runs"))
    sentence = (
        f"Beside one run of {setting.epochs} epochs ({100 * means['one run']:.2f} %), {largest} snapshots of one such "
        f"run gain {gain[snapshots]:+.2f} points, {largest} independent runs of 1/{largest} each "
        f"{gain[short]:+.2f}, and {largest} full runs, at {largest} times the price, {gain[full]:+.2f}; chance "
        f"moves the test set by {100 * chance:.2f}."
    )
    return Result(path, numbers, sentence)


def _study(name: str) -> Any:
    study = partial(measure, name)
    study.__doc__ = f"Snapshots, averaged weights and independent runs at equal and at full price: {name}."
    return study


STUDIES = {name: _study(name) for name in SETTINGS}
