"""Trainings that take a CPU hours and an accelerator a minute: each in a directory and with a finding of its own.

Several processes may fill one folder at the same time, each with other runs; the study then prints what is kept:

    python -m experiments.plan --config=experiments/configs/cifar10_resnet.py:resnet20      # decodes the images, once
    export XLA_PYTHON_CLIENT_PREALLOCATE=false                                              # they share a GPU
    for run in {plain,resnet}{56,20}_seed{0,1,2}; do python -m experiments.study depth_degradation --runs=$run & done
    for run in depth{110,40,16}_seed{0,1,2}; do python -m experiments.study width_vs_depth --runs=$run & done; wait
    python -m experiments.study depth_degradation width_vs_depth --pages=docs/studies
"""

import dataclasses
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from cs231n_jax.config import Config, TrainConfig, nearest, to_json
from cs231n_jax.data import DataConfig
from cs231n_jax.models import ModelConfig, Precision, registry
from cs231n_jax.optim import OptimizerConfig, ScheduleConfig
from cs231n_jax.train import record, sharding, snapshots
from cs231n_jax.train.assemble import assemble, assemble_here
from cs231n_jax.train.evaluate import CUT, device_batches, evaluate, make_eval_step
from cs231n_jax.train.loop import Loop, Silent
from cs231n_jax.train.signals import Interrupted, StopRequest
from experiments.studies import seeds

IMAGES = DataConfig(
    name="cifar10", limit=10_000, batch_size=128, eval_batch_size=1000, augment="crop_flip", augment_padding=4
)
TINY = DataConfig(name="digits", batch_size=64, augment="crop", augment_padding=1)
CALL = 100  # updates that an accelerator makes in one call, at most an epoch
TIMED = 12  # calls that an update's time is the median of
T = (12.71, 4.30, 3.18, 2.78)  # Student's, two-sided 95 %, for two seeds and more
TRAINING, TEST = "training error (%)", "test error (%)"


class Setting(NamedTuple):
    """Nets that are trained alike, each from several seeds."""

    nets: Mapping[str, ModelConfig]
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    epochs: int
    seeds: int = 3
    data: DataConfig = IMAGES
    dtype: str = "float32"  # of the computation
    calls: int = 1  # updates in one compiled call


def here(setting: Setting) -> Setting:
    """As it is on a CPU; on an accelerator computed in bfloat16, with the images on the device."""
    return setting if jax.default_backend() == "cpu" else setting._replace(dtype="bfloat16", calls=CALL)


def labels(setting: Setting) -> list[str]:
    """The names of all runs: NET_seedN."""
    return [f"{net}_seed{seed}" for net in setting.nets for seed in range(setting.seeds)]


def config_of(setting: Setting, net: str, seed: int) -> Config:
    """One run."""
    given = setting.nets[net]
    return Config(
        seed=seed,
        model=ModelConfig(name=given.name, options=dict(given.options), dtype=Precision(setting.dtype)),
        data=setting.data,
        optimizer=setting.optimizer,
        schedule=setting.schedule,
        train=TrainConfig(
            steps=f"{setting.epochs}ep", eval_every="10ep", save_every="5ep", steps_per_call=setting.calls
        ),
        mesh=sharding.MeshConfig(data=1),
    )


def train(setting: Setting, root: Path, given: Sequence[str]) -> list[str]:
    """Do some of the runs, each to its finding in `root`, and return the sentences that say what they found.

    Raises:
        ValueError: there is no run of a name.
        Interrupted: a signal came; the same call goes on where this one was.
    """
    known = labels(setting)
    return [
        f"{label}: {TRAINING} {found[TRAINING]:.2f}, {TEST} {found[TEST]:.2f}"
        for label in chosen(known, known if list(given) == ["all"] else given)
        for found in (_finding(setting, root, label),)
    ]


def chosen(known: Sequence[str], given: Sequence[str]) -> Sequence[str]:
    """What is given, if all of it is known.

    Raises:
        ValueError: there is no run of a name.
    """
    for label in given:
        if label not in known:
            raise ValueError(f"no run is called {label!r}{nearest(label, known)}; there are {', '.join(known)}")
    return given


def findings(setting: Setting, root: Path) -> dict[str, list[Mapping[str, Any]]]:
    """What every net's runs found, from `root` or trained now, seeds in order.

    Raises:
        ValueError: some were computed in one dtype and some in another.
    """
    found = {label: _finding(setting, root, label) for label in labels(setting)}
    if len(kinds := sorted({one["dtype"] for one in found.values()})) > 1:
        raise ValueError(f"the runs in {root} were computed in {' and '.join(kinds)}: train all of them in one")
    each = iter(found.values())
    return {net: [next(each) for _ in range(setting.seeds)] for net in setting.nets}


def places(setting: Setting, root: Path) -> str:
    """Where the runs that are kept were trained, and in what dtype, in words."""
    kept = [record.read_json(root / f"{label}.json") for label in labels(setting)]
    machines = sorted({one["where"] for one in kept})
    return f"trained in {kept[0]['ways']['dtype']} on {'; and on '.join(machines)}"


def _finding(setting: Setting, root: Path, label: str) -> Mapping[str, Any]:
    net, _, seed = label.rpartition("_seed")

    def measure() -> dict[str, Any]:
        run = seeds.trained(config_of(setting, net, int(seed)), root / label)
        lines = record.Lines(run / "metrics.jsonl").read()
        curve = {"train": [], "eval": []}
        for line in lines:
            curve[line["split"]].append([round(line["epoch"], 3), round(100 * (1 - line["accuracy"]), 4)])
        return {
            TRAINING: error_on_training_images(run),
            TEST: curve["eval"][-1][1],
            "while training": curve["train"],
            "test": curve["eval"],
            "dtype": setting.dtype,
        }

    return seeds.kept(root / f"{label}.json", essence(setting, net), measure)


def essence(setting: Setting, net: str) -> dict[str, Any]:
    """What a finding belongs to, as plain values; in which dtype it was computed is a part of the finding."""
    data, model = setting.data, setting.nets[net]
    usual = ModelConfig(name=model.name).options
    options = {key: to_json(value) for key, value in model.options.items() if value != usual[key]}
    told = {"model": model.name, "options": options, "epochs": setting.epochs, "data": data.name}
    told |= {name: getattr(data, name) for name in ("limit", "batch_size", "augment", "augment_padding")}
    parts = {"optimizer": setting.optimizer, "schedule": setting.schedule}
    return told | {name: _changed(part) for name, part in parts.items()}


def _changed(part: Any) -> dict[str, Any]:
    """The fields of a config that were given."""
    usual, own = to_json(type(part)()), to_json(part)
    return {key: value for key, value in own.items() if key == "name" or value != usual[key]}


def error_on_training_images(run: Path) -> float:
    """The share of its training images, in percent, that a finished run has wrong in inference, not augmented."""
    assembly = assemble_here(record.stored_config(run))
    assembly = dataclasses.replace(assembly, eval_source=assembly.train_source)
    _, params, model_state = snapshots.load(run)
    params, model_state = sharding.put_state((params, model_state), assembly.mesh)
    metrics = evaluate(jax.jit(make_eval_step(assembly.task)), params, model_state, device_batches(assembly))
    if metrics is None:
        raise Interrupted(CUT)
    return 100 * (1 - assembly.task.summarize(metrics)["accuracy"])


def seconds_an_update(setting: Setting, net: str) -> float:
    """Seconds of the clock for one update inside the training loop, the median over calls; compilation apart."""
    watch = _Watch()
    with tempfile.TemporaryDirectory() as folder, StopRequest() as stop:
        assembly = assemble(config_of(setting, net, 0))
        most = min(setting.calls, assembly.pipeline.steps_per_epoch)
        Loop(assembly, Path(folder), watch, stop, time.time()).run(until=most * (TIMED + 2))
    done, at = np.array(watch.seen).T
    return float(np.median(np.diff(at)[1:] / np.diff(done)[1:]))


class _Watch(Silent):
    """Notes when how many updates were done."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, float]] = []

    def advance(self, done: int) -> None:
        self.seen.append((done, time.perf_counter()))


def errors(found: Iterable[Mapping[str, Any]], kind: str) -> np.ndarray:
    """One number for each seed, in percent."""
    return np.array([one[kind] for one in found])


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """The mean over seeds and its standard error."""
    return float(values.mean()), seeds.error(values)


def verdict(values: np.ndarray) -> str:
    """What is to be said of a claim that these differences, one for each seed, are above zero.

    It is decided where their 95 % interval by Student's t, mean ± t·error, is without zero.
    """
    mean, error = mean_and_error(values)
    if np.isnan(error):
        return "seen in the one seed" if mean > 0 else "not seen in the one seed"
    margin = T[min(len(values), len(T) + 1) - 2] * error
    return "confirmed" if mean > margin else "refuted" if mean < -margin else "not decided"


def images(setting: Setting) -> str:
    """What the nets were trained on, in words."""
    return f"{setting.data.limit:,} images of {setting.data.name}" if setting.data.limit else setting.data.name


def row(setting: Setting, net: str, found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A net's line of the table."""
    model = setting.nets[net]
    told: dict[str, Any] = {"net": net, "parameters": registry.parameter_count(model.name, **model.options)}
    for kind in (TRAINING, TEST):
        told |= {kind: float(errors(found, kind).mean()), f"± {kind}": seeds.error(errors(found, kind))}
    return {key: value for key, value in told.items() if value == value}  # one seed has no error


def mean_curve(found: Sequence[Mapping[str, Any]], kind: str) -> np.ndarray:
    """[points, 2]: epochs and the mean error over the seeds, in percent."""
    return np.mean([one[kind] for one in found], axis=0)
