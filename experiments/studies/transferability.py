"""How general the features of each depth are: stages of a net trained on some classes, carried over to the others."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cs231n_jax.config import Config, TrainConfig
from cs231n_jax.data import DataConfig, open_source
from cs231n_jax.data.pipeline import permutation
from cs231n_jax.models import ModelConfig, create
from cs231n_jax.optim import OptimizerConfig, ScheduleConfig
from cs231n_jax.train import record
from cs231n_jax.train.initial import InitialConfig
from cs231n_jax.train.snapshots import SnapshotConfig
from cs231n_jax.train.transfer import applied
from experiments.studies import Result, seeds
from experiments.studies.drawing import canvas, save
from experiments.studies.transfer_data import Images, own_labels, write


class Setting(NamedTuple):
    """What is trained on what."""

    data: DataConfig
    model: str
    options: Mapping[str, Any]
    updates: int
    rate: float
    seeds: int


FULL = Setting(
    DataConfig(name="cifar100", batch_size=64, augment="crop_flip:2", image_size=16),
    "resnet8",
    {},
    updates=400,
    rate=0.1,
    seeds=3,
)
QUICK = Setting(DataConfig(name="digits", batch_size=16), "mlp", {"hidden": (8, 6)}, updates=2, rate=0.1, seeds=1)
WAYS = {"BnB": ("B", 0.0), "BnB+": ("B", 1.0), "AnB": ("A", 0.0), "AnB+": ("A", 1.0)}  # source, factor of the rate


def study(workdir: Path, quick: bool) -> Result:
    """How transferable are the features of each depth? After Yosinski et al., on two halves of CIFAR-100's classes.

    The 100 classes are cut in halves A and B, anew for each seed, and a ResNet-8 is trained on each. Then the first n
    parts of one of the nets (the stem and its stages) begin a net whose other parts are drawn, and which is trained on
    B: from the net of A ("AnB") or from that of B itself ("BnB"), frozen, or learning on at the same rate ("+"). Frozen
    parts keep their batch statistics. Every training is 400 updates of 64 images, rate 0.1 on a cosine to 0, momentum
    0.9, weight decay 1e-4, with crops and flips, on half of the 8,000 images that are here, reduced to 16×16 pixels.

    In the paper (AlexNet, halves of ImageNet) BnB falls in the middle, where neighbouring layers have adapted to each
    other and are torn apart; AnB falls on with depth, since features become specific to their classes; BnB+ is at the
    base's level, and AnB+ above it. "difference" is to the net trained on B alone with the same seed; "±" its standard
    error over the seeds.

    Reference: Yosinski et al. 2014, "How transferable are features in deep neural networks?", section 4.1 and figure 2.
    *Deviation*: stages in place of layers, and far smaller nets, data and trainings.
    """
    setting = QUICK if quick else FULL
    found = [_seed(setting, seed, workdir / "transferability" / f"seed{seed}") for seed in range(setting.seeds)]
    stages = create(setting.model, **setting.options).stages
    table = rows(found, stages)
    numbers = {f"{row['way']}, {row['through']}": row["accuracy (%)"] for row in table}
    figure = _figure(workdir / "transferability.png", found, stages)
    return Result(figure, numbers, sentence(found, stages), table)


def halves(labels: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """The new label of each example in each half, −1 for those of the other: {"A": int32 [N], "B": int32 [N]}."""
    classes = np.unique(labels)
    order = permutation(seed, 0, len(classes))
    parts = {"A": order[: len(order) // 2], "B": order[len(order) // 2 :]}
    new = {}
    for name, chosen in parts.items():
        table = np.full(len(classes), -1, np.int32)
        table[np.sort(chosen)] = np.arange(len(chosen))
        new[name] = table[np.searchsorted(classes, labels)]
    return new


def _prepared(setting: Setting, seed: int, folder: Path) -> dict[str, DataConfig]:
    """A file for each half of the classes."""
    plain = dataclasses.replace(setting.data, dir=str(folder), image_size=0)
    made = {half: dataclasses.replace(plain, name=f"half_{half}.npz") for half in "AB"}
    if not all((folder / data.name).exists() for data in made.values()):
        (train, names), (test, _) = (own_labels(open_source(setting.data, part)) for part in ("train", "eval"))
        folder.mkdir(parents=True, exist_ok=True)
        fitted, tested = halves(train.labels, seed), halves(test.labels, seed)
        for half, data in made.items():
            classes = tuple(names[k] for k in np.unique(train.labels[fitted[half] >= 0]))
            write(folder / data.name, _of(train, fitted[half]), _of(test, tested[half]), classes)
    return made


def _of(images: Images, labels: np.ndarray) -> Images:
    """Those that have a label, with it."""
    return Images(images.images[labels >= 0], labels[labels >= 0])


def config_of(setting: Setting, seed: int, data: DataConfig) -> Config:
    """A net on one half, all drawn."""
    classes = open_source(data, "train").info.num_classes
    return Config(
        seed=seed,
        model=ModelConfig(name=setting.model, options={**setting.options, "num_classes": classes}),
        data=data,
        optimizer=OptimizerConfig(name="momentum", learning_rate=setting.rate, weight_decay=1e-4),
        schedule=ScheduleConfig(name="cosine"),
        train=TrainConfig(steps=str(setting.updates), log_every="25%", eval_every="0", save_every="50%"),
        snapshots=SnapshotConfig(keep=1),
    )


def carried(config: Config, source: Path, depth: int, factor: float) -> Config:
    """The same net with its first `depth` stages from the run in `source`, at `factor` times the rate; 0: frozen."""
    shape = open_source(config.data, "train").info.shapes["image"]
    stages = create(config.model.name, **config.model.options).stages
    factors = {f"^{stage}[_/]": factor if i < depth else 1.0 for i, stage in enumerate(stages)}
    begun = applied(config, InitialConfig(weights=str(source.resolve())), {**factors, "^head[_/]": 1.0}, shape)
    fresh = (*stages[depth:], *begun.initial.fresh)
    return dataclasses.replace(begun, initial=dataclasses.replace(begun.initial, fresh=fresh))


def _seed(setting: Setting, seed: int, root: Path) -> dict[str, float]:
    """Test accuracy on B by run: "base", "AnB 1", ..."""
    data, found = _prepared(setting, seed, root / "data"), {}
    data_used = f"{setting.data.name} {setting.data.image_size} {setting.data.augment}"
    essence = {**setting._asdict(), "data": data_used, "options": {**setting.options}}

    def accuracy(name: str, config: Config) -> float:
        def measure() -> dict[str, float]:
            result = record.read_json(seeds.trained(config, root / name) / "result.json")
            return {"accuracy": result["eval"]["accuracy"]}

        return seeds.kept(root / f"{name}.json", essence, measure)["accuracy"]

    plain = {half: config_of(setting, seed, data[half]) for half in "AB"}
    accuracy("base_A", plain["A"])
    found["base"] = accuracy("base_B", plain["B"])
    beginning = dataclasses.replace(plain["B"], seed=1000 + seed)  # other numbers for what is drawn than the base's
    for way, (source, factor) in WAYS.items():
        for depth in range(1, len(create(setting.model, **setting.options).stages) + 1):
            config = carried(beginning, root / f"base_{source}", depth, factor)
            found[f"{way} {depth}"] = accuracy(f"{way.replace('+', 'plus')}_{depth}", config)
    return found


def _differences(found: list[dict[str, float]], name: str) -> np.ndarray:
    """Points beside the base of the same seed."""
    return np.array([100 * (one[name] - one["base"]) for one in found])


def rows(found: list[dict[str, float]], stages: tuple[str, ...]) -> list[dict[str, Any]]:
    """The base, then every way at every depth."""
    base = 100 * float(np.mean([one["base"] for one in found]))
    table: list[dict[str, Any]] = [{"way": "base B", "through": "", "accuracy (%)": base, "difference": "", "±": ""}]
    for way in WAYS:
        for depth, stage in enumerate(stages, 1):
            name = f"{way} {depth}"
            points = _differences(found, name)
            table.append(
                {
                    "way": way,
                    "through": stage,
                    "accuracy (%)": 100 * float(np.mean([one[name] for one in found])),
                    "difference": float(points.mean()),
                    "±": seeds.error(points) if len(points) > 1 else "",
                }
            )
    return table


def _figure(path: Path, found: list[dict[str, float]], stages: tuple[str, ...]) -> Path:
    figure, (axis,) = canvas(1, 1, width=6)
    for way in WAYS:
        points = np.stack([_differences(found, f"{way} {depth}") for depth in range(1, len(stages) + 1)])
        errors = [np.nan_to_num(seeds.error(one)) for one in points]
        axis.errorbar(range(len(stages)), points.mean(1), yerr=errors, fmt="o-", capsize=3, label=way)
    axis.axhline(0, color="black", lw=0.8)
    axis.set_xticks(range(len(stages)), stages)
    axis.legend()
    axis.set(xlabel="parts carried over, up to", ylabel="points beside the net trained on B")
    return save(figure, path)


def sentence(found: list[dict[str, float]], stages: tuple[str, ...]) -> str:
    """What is lost and gained at the ends."""

    def told(way: str, depth: int) -> str:
        points = _differences(found, f"{way} {depth}")
        return seeds.told(float(points.mean()), seeds.error(points), 1)

    last = len(stages)
    base = 100 * np.mean([one["base"] for one in found])
    return (
        f"Beside a net trained on B ({base:.1f} %, seeds: {len(found)}), points with features of A frozen up to "
        f"{stages[0]}: {told('AnB', 1)}, up to {stages[-1]}: "
        f"{told('AnB', last)}; of B's own {told('BnB', 1)} and {told('BnB', last)}. Where they learn on it is "
        f"{told('AnB+', 1)} and {told('AnB+', last)} of A's, {told('BnB+', 1)} and {told('BnB+', last)} of B's own."
    )


STUDIES = {"transferability": study}
