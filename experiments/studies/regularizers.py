"""One small net under one regularizer after another, on so few images that it can learn them by heart."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cs231n_jax.config import Config, TrainConfig
from cs231n_jax.data import DataConfig, open_source
from cs231n_jax.data.base import First
from cs231n_jax.metrics import scores
from cs231n_jax.models import ModelConfig
from cs231n_jax.optim import OptimizerConfig, ScheduleConfig
from cs231n_jax.train import marginalise, snapshots
from cs231n_jax.train.assemble import assemble
from cs231n_jax.train.sharding import MeshConfig
from experiments.studies import Result, seeds
from experiments.studies.drawing import canvas, save


class Regularizer(NamedTuple):
    """A row of the table: what is added to the net, and to which row it is compared."""

    options: dict[str, Any]  # of the net
    augmented: bool = False  # whether training images are
    beside: str = "none"


ROWS = {
    "none": Regularizer({}),
    "dropout": Regularizer({"drop_rate": 0.5}),
    "batch norm": Regularizer({"batch_norm": True}),
    "augmentation": Regularizer({}, augmented=True),
    "DropConnect": Regularizer({"drop_connect_rate": 0.5}),
    "fractional max pooling": Regularizer({"pooling": "fractional"}),
    "residual units": Regularizer({"residual": True}),
    "stochastic depth": Regularizer({"residual": True, "depth_drop_rate": 0.5}, beside="residual units"),
}
COMMON = ("dropout", "batch norm", "augmentation")  # the lecture: "below is not common in practice, but cool ideas"
NET = {"widths": (16, 32, 64), "hidden": 64, "batch_norm": False}


class Setting(NamedTuple):
    """A data set, and how long and how often it is trained on."""

    data: DataConfig
    epochs: int
    seeds: int = 3
    passes: int = 32  # of Monte-Carlo inference
    tests: int = 2000  # test images
    augment: str = "crop_flip"
    net: dict[str, Any] = NET
    rate: float = 3e-3  # of Adam
    rows: tuple[str, ...] = tuple(ROWS)


CIFAR = Setting(DataConfig(name="cifar10", image_size=16, limit=1000, batch_size=50, augment_padding=2), epochs=40)
DIGITS = Setting(
    DataConfig(name="digits", limit=200, batch_size=50, augment_padding=1), epochs=60, tests=899, augment="crop"
)
QUICK = DIGITS._replace(  # four rows of one stage: compiling is what takes long
    epochs=2,
    seeds=1,
    passes=2,
    net={**NET, "widths": (4,), "hidden": 8},
    rows=("none", "dropout", "residual units", "stochastic depth"),
)


class Found(NamedTuple):
    """Of one run, in percent and nats; for a net without noise the two of Monte Carlo are those of exact inference."""

    train_error: float
    test_error: float
    test_loss: float
    mc_error: float
    mc_loss: float
    noisy: bool


def regularizers(workdir: Path, quick: bool) -> Result:
    """Train and test error of one small net under six regularizers, and exact against Monte-Carlo inference.

    The net is `convnet`: three stages of a 3×3 convolution (16, 32, 64 channels), PReLU and 2×2 maxima, a global
    average, a hidden layer of 64 units. Each row adds one regularizer to it: dropout of half the hidden units; batch
    norm in the place of the convolutions' biases; random crops (padding 2) and flips; DropConnect of half the
    connections into the hidden layer; fractional max pooling (ratio 1.5, overlapping) in the place of 2×2 maxima, which
    also leaves later stages more pixels to see. Stochastic depth needs units to switch off: it is compared with the
    same net with a residual unit in each stage (the last is off half of the time, the others less), and that with none.

    Data: the first 1,000 training images of CIFAR-10 and the first 2,000 test images, resized to 16×16 pixels. Where
    CIFAR-10 is not prepared: 200 of scikit-learn's digits and 899 test images, without flips. All rows have the same
    seeds, batches of 50, 40 epochs (digits: 60), Adam from 3e-3 down half a cosine, and no weight decay. The training
    error is that of inference over the training images as they are. Exact: one pass, each draw replaced by its
    expectation (fractional pooling: by fixed regions). Monte Carlo: the mean probabilities of 32 passes with the noise
    on. ± are standard errors over the seeds; changes are paired by seed.

    Reference: Srivastava et al. 2014, "Dropout"; Ioffe, Szegedy 2015, "Batch Normalization"; Wan et al. 2013,
    "Regularization of Neural Networks using DropConnect"; Graham 2014, "Fractional Max-Pooling"; Huang et al. 2016,
    "Deep Networks with Stochastic Depth"; Gal, Ghahramani 2016, "Dropout as a Bayesian Approximation".
    """
    setting = QUICK if quick else _prepared()
    found = [_kept(workdir / "regularizers" / f"seed{seed}.json", setting, seed) for seed in range(setting.seeds)]
    return _report(workdir, setting, found)


def _prepared() -> Setting:
    try:
        open_source(CIFAR.data, "eval")
    except FileNotFoundError:
        return DIGITS
    return CIFAR


def config_of(setting: Setting, row: Regularizer, seed: int) -> Config:
    """One run: the net with the row's options, on data augmented or not as it says."""
    return Config(
        seed=seed,
        model=ModelConfig(name="convnet", options={**setting.net, **row.options}),
        data=dataclasses.replace(setting.data, augment=setting.augment if row.augmented else "none"),
        optimizer=OptimizerConfig(name="adam", learning_rate=setting.rate),
        schedule=ScheduleConfig(name="cosine"),
        train=TrainConfig(steps=f"{setting.epochs}ep", log_every="10ep", eval_every="0", save_every="10ep"),
        mesh=MeshConfig(data=1),  # whatever the machine has: a batch of 50 is split by few numbers of devices
    )


def _kept(path: Path, setting: Setting, seed: int) -> dict[str, Found]:
    essence = {"data": setting.data.name, "limit": setting.data.limit, "image_size": setting.data.image_size}
    essence |= {name: getattr(setting, name) for name in ("epochs", "passes", "tests", "augment", "net", "rate")}
    essence |= {"rows": {name: ROWS[name] for name in setting.rows}}

    def measure() -> dict[str, Found]:
        root = path.with_suffix("")
        return {name: _one(setting, ROWS[name], seed, root / name.replace(" ", "_")) for name in setting.rows}

    return {name: Found(*way) for name, way in seeds.kept(path, essence, measure).items()}


def _one(setting: Setting, row: Regularizer, seed: int, workdir: Path) -> Found:
    config = config_of(setting, row, seed)
    assembly = assemble(config)
    weights = snapshots.load(seeds.trained(config, workdir))[1:]
    training = dataclasses.replace(assembly, eval_source=assembly.train_source)
    testing = dataclasses.replace(assembly, eval_source=First(assembly.eval_source, setting.tests))
    noisy = marginalise.draws(assembly.task, *weights, assembly.batch_shapes)
    ways = [marginalise.parse(f"mc:{setting.passes}")] if noisy else []
    (train,), tested = (marginalise.compare(a, weights, w) for a, w in ((training, []), (testing, ways)))
    exact, mc = tested[0], tested[-1]
    return Found(_error(train), _error(exact), exact["loss"], _error(mc), mc["loss"], noisy)


def _error(row: dict[str, Any]) -> float:
    return 100 * (1 - row["accuracy"])


def _report(workdir: Path, setting: Setting, found: list[dict[str, Found]]) -> Result:
    def of(name: str, field: str) -> np.ndarray:
        return np.array([getattr(ways[name], field) for ways in found])

    rows: list[dict[str, Any]] = []
    for name in setting.rows:
        train, test, mc = (of(name, field) for field in ("train_error", "test_error", "mc_error"))
        rows.append({"regularizer": name, "train error (%)": float(train.mean()), "± train": seeds.error(train)})
        rows[-1] |= {"test error (%)": float(test.mean()), "± test": seeds.error(test)}
        if name != "none":
            beside = ROWS[name].beside
            gain = test - of(beside, "test_error")
            rows[-1] |= {"beside": beside, "change (points)": float(gain.mean()), "± change": seeds.error(gain)}
        if found[0][name].noisy:
            rows[-1] |= {f"mc:{setting.passes} (%)": float(mc.mean()), "± mc": seeds.error(mc)}
            rows[-1] |= {"mc − exact (points)": float((mc - test).mean()), "± mc − exact": seeds.error(mc - test)}
            gap = of(name, "mc_loss") - of(name, "test_loss")
            rows[-1] |= {"mc − exact (nats)": float(gap.mean()), "± nats": seeds.error(gap)}
    numbers = {f"{r['regularizer']}: {key}": value for r in rows for key, value in r.items() if _is_number(value)}
    return Result(_figure(workdir, setting, rows), numbers, _sentence(setting, rows), rows)


def _is_number(value: Any) -> bool:
    return isinstance(value, float) and np.isfinite(value)


def _figure(workdir: Path, setting: Setting, rows: list[dict[str, Any]]) -> Path:
    figure, (left, right) = canvas(1, 2, width=6)
    noisy, mc = [row for row in rows if "± mc" in row], f"mc:{setting.passes} (%)"
    bars = [
        (left, rows, "train error (%)", "± train", -0.1),
        (left, rows, "test error (%)", "± test", 0.1),
        (right, noisy, "test error (%)", "± test", -0.1),
        (right, noisy, mc, "± mc", 0.1),
    ]
    for axis, shown, key, error, shift in bars:
        means, errors = [row[key] for row in shown], np.nan_to_num([row[error] for row in shown])
        axis.errorbar(means, np.arange(len(shown)) + shift, xerr=errors, fmt="o", capsize=3, label=key)
    for axis, shown in ((left, rows), (right, noisy)):
        axis.set_yticks(range(len(shown)), [row["regularizer"] for row in shown])
        axis.invert_yaxis()
        axis.legend(fontsize="small")
    left.set(xlabel="error (%)", title=f"{setting.data.limit:,} images of {setting.data.name}, {setting.seeds} seeds")
    right.set(xlabel="test error (%)", title=f"exact inference and {setting.passes} random passes")
    return save(figure, workdir / "regularizers.png")


def _sentence(setting: Setting, rows: list[dict[str, Any]]) -> str:
    plain, *others = rows
    others = sorted(others, key=lambda row: row["change (points)"])
    changes = [_told(row, "change (points)", "± change") for row in others]
    noise = [_told(row, "mc − exact (points)", "± mc − exact") for row in rows if "± mc" in row]
    chance = 100 * scores.standard_error(plain["test error (%)"] / 100, setting.tests)
    return (
        f"The net without a regularizer errs on {plain['train error (%)']:.1f} % of its {setting.data.limit:,} "
        f"training images and on {plain['test error (%)']:.1f} % of the test images; the most is gained by "
        f"{others[0]['regularizer']}: the test error changes, in points, by {', '.join(changes)}; an average of "
        f"{setting.passes} random passes in the place of exact inference changes it by {', '.join(noise)} (± standard "
        f"errors, seeds: {setting.seeds}; that of the test set is {chance:.1f}); {_beside_the_lecture(others)}."
    )


def _beside_the_lecture(rows: list[dict[str, Any]]) -> str:
    """Mean changes of the regularizers that the lecture calls common in practice, and of the others."""
    changes = {row["regularizer"]: row["change (points)"] for row in rows if row["regularizer"] != "residual units"}
    common = float(np.mean([change for name, change in changes.items() if name in COMMON]))
    rare = float(np.mean([change for name, change in changes.items() if name not in COMMON]))
    gain = "do not gain less" if rare <= common else "gain less"
    return (
        f"those that the lecture calls not common in practice (DropConnect, fractional pooling, stochastic depth) "
        f"{gain} here than the common ones: {rare:+.1f} points on average, beside {common:+.1f}"
    )


def _told(row: dict[str, Any], key: str, error: str) -> str:
    beside = f" beside {row['beside']}" if row.get("beside", "none") != "none" else ""
    return f"{seeds.told(row[key], row[error], 1)} ({row['regularizer']}{beside})"


STUDIES = {"regularizers": regularizers}
