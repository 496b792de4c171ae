"""Every family of convolutional nets on the same images for the same time: one row a family."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from cs231n_jax.config import Config
from cs231n_jax.data import DataConfig
from cs231n_jax.models import ModelConfig, registry
from cs231n_jax.optim import ScheduleConfig
from cs231n_jax.train import record
from cs231n_jax.train.assemble import assemble
from cs231n_jax.train.sharding import MeshConfig
from cs231n_jax.train.step import make_train_step
from experiments.configs import (
    alexnet,
    cifar10_resnet,
    densenet,
    fractalnet,
    googlenet,
    lenet,
    nin,
    squeezenet,
    stochastic_depth,
    vgg,
    wide_resnet,
)
from experiments.studies import Result, long_runs, seeds
from experiments.studies.drawing import canvas, save

ERROR = "error (%)"
MINUTES, CORES = 10, 2
EVERY = 20  # updates between two lines of a run's metrics; an accelerator makes them in one call
TIMES = "updates"  # what --runs calls the measurement of an update's processor time


class Family(NamedTuple):
    """A family's small variant: its model, whose optimizer it is trained with, and how it is made small."""

    model: str
    optimizer: Callable[[], Config]  # the family's own config
    options: dict[str, Any]
    side: int = 32  # pixels that its images are resized to


FAMILIES = {
    "LeNet-5": Family("lenet5", lenet.get_config, {}),
    "AlexNet": Family("alexnet", lambda: alexnet.get_config("torchvision"), {"scale": 0.5, "hidden": 512}, 64),
    "VGG": Family("vgg11_bn_cifar", lambda: vgg.get_config("vgg11_bn_cifar"), {"width": 32}),
    "Network in Network": Family("nin_cifar", nin.get_config, {"scale": 0.5}),
    "GoogLeNet": Family("googlenet_cifar", googlenet.get_config, {"scale": 0.25}),
    "SqueezeNet": Family("squeezenet", squeezenet.get_config, {}, 64),
    "ResNet": Family("resnet20", cifar10_resnet.get_config, {}),
    "stochastic depth": Family("resnet20", stochastic_depth.get_config, {"depth_drop_rate": 0.5}),
    "wide ResNet": Family("wrn16_4", lambda: wide_resnet.get_config("wrn16_4"), {"width": 8}),
    "DenseNet": Family("densenet40_12", lambda: densenet.get_config("densenet40_12"), {"growth": 6, "stem_width": 8}),
    "FractalNet": Family("fractalnet20", fractalnet.get_config, {"widths": (16, 32, 64, 128, 128)}),
}


class Setting(NamedTuple):
    """The images, the time and the seeds."""

    data: str = "cifar10"
    limit: int = 10_000
    batch: int = 128
    seconds: float = 60.0 * MINUTES * CORES  # of the processor, of all threads
    updates: int = 10  # that an update's time is the median of
    seeds: int = 3
    families: tuple[str, ...] = tuple(FAMILIES)


FULL = Setting()
QUICK = Setting("synthetic:32x32x3:10:100", 64, 8, 0.0, 1, 1, ("LeNet-5", "ResNet"))


def families_table(workdir: Path, quick: bool) -> Result:
    """Which family of convolutional nets does best with the same images and the same ten minutes?

    The first 10,000 training images of CIFAR-10, pad-4 crops and flips, batches of 128; a small variant of each family,
    narrowed where an epoch of the published one takes more than 5 minutes on two cores. Each has the optimizer of its
    family's config, its rate warmed up over the first tenth and then falling by half a cosine. How many updates ten
    minutes are follows from the processor time of one (median of ten, compilation apart, of all threads, so that other
    work on the machine does not count): 1,200 seconds of the processor are ten minutes of two cores. All seeds of a
    family make the same number of updates. Errors on all 10,000 test images after the last update; ± is the standard
    error over three seeds. Runs lie below the study's directory, each a record that `experiments.reproduce` replays.

    A row near 90 % is at chance: the family's own method does not suit so short a run. FractalNet has 32 to 43 % right
    while paths are dropped, at the end of training, and with all paths, in the test, 10 to 14 %. From one seed
    SqueezeNet, which has no batch norm, stays at chance too: its gradient falls to zero at its published rate, which
    is for batches of 512.

    The trainings are six hours of work for two cores, and may be shared: `--runs=updates` measures the updates alone,
    `--runs=ResNet_seed1` does one run, and the command without them prints the page of what is kept. An accelerator
    makes the same updates of the same images in float32, its products in full precision, once the updates were
    measured on a CPU.
    """
    setting = QUICK if quick else FULL
    root = workdir / "families_table"
    times = _times(setting, root)
    found = {name: [_finding(setting, root, name, seed) for seed in range(setting.seeds)] for name in setting.families}
    rows = _rows(setting, times, found)
    numbers = {f"{r['family']}: {key}": float(value) for r in rows for key, value in list(r.items())[2:]}
    numbers = {key: value for key, value in numbers.items() if np.isfinite(value)}  # one seed has no error
    return Result(_figure(workdir, rows), numbers, _sentence(setting, rows, root), rows)


def train(workdir: Path, quick: bool, chosen: Sequence[str]) -> list[str]:
    """The time of an update, some of the runs, or all, ahead of the study."""
    setting, root = QUICK if quick else FULL, workdir / "families_table"
    runs = {_label(name, seed): (name, seed) for seed in range(setting.seeds) for name in setting.families}
    told = []
    for label in long_runs.chosen([TIMES, *runs], list(runs) if list(chosen) == ["all"] else chosen):
        if label == TIMES:
            times = _times(setting, root)
            told += [f"{name}: {t:.4f} s, {_updates(setting, t):,} updates" for name, t in times.items()]
        else:
            told.append(f"{label}: test error {_finding(setting, root, *runs[label])[ERROR]:.2f} %")
    return told


def recorded(root: Path) -> list[dict[str, Any]]:
    """The table's rows of the families whose findings lie in a folder, whatever seeds they have; nothing is trained."""
    runs = {name: sorted(root.glob(f"{name.replace(' ', '_')}_seed*.json")) for name in FULL.families}
    found = {name: [record.read_json(path)["ways"] for path in paths] for name, paths in runs.items() if paths}
    times = {name: record.read_json(_measured(root, name))["ways"]["seconds"] for name in found}
    return _rows(FULL, times, found)


def _times(setting: Setting, root: Path) -> Mapping[str, float]:
    """Processor seconds of an update of each family."""
    return {name: _time(setting, root, name) for name in setting.families}


def _time(setting: Setting, root: Path, name: str) -> float:
    """Processor seconds of an update of a family, as they were measured or measured now.

    Raises:
        ValueError: they were not, and this is no CPU.
    """
    path, family = _measured(root, name), FAMILIES[name]

    def measure() -> dict[str, float]:
        if jax.default_backend() != "cpu":
            raise ValueError(
                f"how many updates a run makes is measured on a CPU: run `python -m experiments.study families_table "
                f"--runs={TIMES}` there, and put its {path} here"
            )
        return {"seconds": _seconds(setting, name)}

    essence = {"data": setting.data, "batch": setting.batch, "updates": setting.updates}
    essence |= {"model": family.model, "options": family.options, "side": family.side}
    return seeds.kept(path, essence | {"optimizer": family.optimizer().optimizer.name}, measure)["seconds"]


def _measured(root: Path, name: str) -> Path:
    """Where the processor time of a family's update is kept."""
    return root / f"{name.replace(' ', '_')}_update.json"


def _updates(setting: Setting, seconds: float) -> int:
    """How many updates of so many processor seconds a run makes."""
    return max(1, int(setting.seconds / seconds))


def _label(name: str, seed: int) -> str:
    return f"{name.replace(' ', '_')}_seed{seed}"


def _told(family: Family) -> dict[str, Any]:
    optimizer = family.optimizer().optimizer
    told = {"optimizer": optimizer.name, "rate": optimizer.learning_rate, "weight_decay": optimizer.weight_decay}
    return {"model": family.model, "options": family.options, "side": family.side, **told}


def config_of(setting: Setting, name: str, updates: int, seed: int) -> Config:
    """One run of a family: its model made small, its optimizer, the images and the schedule of all."""
    family = FAMILIES[name]
    resized = family.side if family.side != 32 else 0
    config = family.optimizer()
    options = {"num_classes": 10, **family.options}
    config.seed, config.model = seed, ModelConfig(name=family.model, options=options)
    config.data = DataConfig(
        name=setting.data,
        limit=setting.limit,
        batch_size=setting.batch,
        augment="crop_flip",
        augment_padding=4,
        image_size=resized,
    )
    config.schedule = ScheduleConfig(name="cosine", warmup=str(updates // 10))
    config.train.steps, config.train.log_every = str(updates), str(min(updates, EVERY))
    config.train.eval_every, config.train.save_every = "0", "5%" if updates >= 20 else "0"
    config.mesh = MeshConfig(data=1)
    if jax.default_backend() != "cpu":
        config.train.steps_per_call, config.data.eval_batch_size = EVERY, 1000
    return config


def _seconds(setting: Setting, name: str) -> float:
    """Processor seconds of one update, of all threads."""
    config = config_of(setting, name, 100, 0)
    assembly = assemble(config)
    update = jax.jit(make_train_step(assembly.task, assembly.optimizer, config.seed), donate_argnums=0)
    batch = assembly.train_source[assembly.pipeline.indices(0)] | assembly.pipeline.draws(0)
    state, taken = jax.block_until_ready(update(assembly.new_state(), batch)), []
    for _ in range(setting.updates):
        start = time.process_time()
        state = jax.block_until_ready(update(state, batch))
        taken.append(time.process_time() - start)
    return float(np.median(taken))


def _finding(setting: Setting, root: Path, name: str, seed: int) -> Mapping[str, float]:
    """The test error of a run in percent, and the seconds of the clock that its training took where it was trained."""
    updates = _updates(setting, _time(setting, root, name))
    essence = {key: value for key, value in setting._asdict().items() if key not in ("families", "seeds")}
    essence |= {"family": _told(FAMILIES[name]), "updates": updates}
    label = _label(name, seed)
    return seeds.kept(root / f"{label}.json", essence, lambda: _error(setting, name, updates, seed, root / label))


def _error(setting: Setting, name: str, updates: int, seed: int, workdir: Path) -> dict[str, float]:
    with jax.default_matmul_precision("highest") if jax.default_backend() != "cpu" else nullcontext():
        run = seeds.trained(config_of(setting, name, updates, seed), workdir)
    result = record.read_json(run / "result.json")
    return {ERROR: 100 * (1 - result["eval"]["accuracy"]), "seconds": result["train_seconds"]}


def _rows(setting: Setting, times: Mapping[str, float], found: Mapping[str, Any]) -> list[dict[str, Any]]:
    return sorted((_row(setting, name, times[name], found[name]) for name in found), key=lambda row: row[ERROR])


def _row(setting: Setting, name: str, seconds: float, found: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    errors, family = long_runs.errors(found, ERROR), FAMILIES[name]
    return {
        "family": name,
        "model": f"{family.model} {family.options or ''}".strip(),
        ERROR: float(errors.mean()),
        "± error": seeds.error(errors),
        "parameters": registry.parameter_count(family.model, **{"num_classes": 10, **family.options}),
        "processor seconds an update": seconds,
        "updates": _updates(setting, seconds),
        "seeds": len(found),
    }


def _figure(workdir: Path, rows: list[dict[str, Any]]) -> Path:
    figure, (left, right) = canvas(1, 2, width=6)
    names, errors = [row["family"] for row in rows], [row[ERROR] for row in rows]
    left.barh(names, errors, xerr=np.nan_to_num([row["± error"] for row in rows]), capsize=3)
    left.invert_yaxis()
    left.set(xlabel="test error (%)", title="the same images and processor time")
    right.loglog([row["processor seconds an update"] for row in rows], errors, "o")
    for row in rows:
        right.annotate(row["family"], (row["processor seconds an update"], row[ERROR]), fontsize=8)
    right.set(xlabel="processor seconds an update", ylabel="test error (%)")
    return save(figure, workdir / "families_table.png")


def _sentence(setting: Setting, rows: list[dict[str, Any]], root: Path) -> str:
    told = [f"{r['family']} {r[ERROR]:.1f}" + _spread(r["± error"]) for r in rows]
    labels = [_label(name, seed) for name in setting.families for seed in range(setting.seeds)]
    measured = _places(_measured(root, name) for name in setting.families)
    trained = _places(root / f"{label}.json" for label in labels)
    return (
        f"On {setting.limit:,} images of {setting.data.partition(':')[0]} and {setting.seconds:,.0f} seconds of the "
        f"processor the test errors are, in percent, {', '.join(told)} (± standard errors, seeds: {setting.seeds}); "
        f"{rows[0]['family']} comes first with {rows[0]['updates']:,} updates and {rows[0]['parameters']:,} "
        f"parameters. The seconds are those of {measured}; the runs were trained on {trained}."
    )


def _places(paths: Iterable[Path]) -> str:
    """The machines that findings come from, in words."""
    return "; and ".join(sorted({record.read_json(path)["where"] for path in paths}))


def _spread(error: float) -> str:
    return "" if np.isnan(error) else f" ± {error:.1f}"


STUDIES = {"families_table": families_table}
RUNS = {"families_table": train}
