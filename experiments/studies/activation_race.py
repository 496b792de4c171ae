"""Which activation gets a network to a given training error first."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cs231n_jax import models, optim
from cs231n_jax.models import functional
from experiments.studies import Result, dense_runs, digit_runs
from experiments.studies.drawing import canvas, save

ACTIVATIONS = ("sigmoid", "tanh", "relu", "leaky_relu", "elu")
HIDDEN = (100, 100)
RATES = tuple(10.0 ** (k / 2) for k in range(-5, 1))  # 0.0032 to 1
FASTER = 6.0  # Krizhevsky et al. 2012, figure 1: ReLU against tanh


class Setting(NamedTuple):
    """A data set, how long to train on it, and the error to reach."""

    data: Callable[[], dense_runs.Data | None]
    plan: dense_runs.Plan
    target: float  # training error, share


def small_cifar() -> dense_runs.Data | None:
    """3000 training and 2000 test images of CIFAR-10, each 2×2 pixels averaged; None where it is not prepared."""
    data = dense_runs.real_images("cifar10", 3000, 2000)
    if data is None:
        return None
    halves = {key: data[key].reshape(-1, 16, 2, 16, 2, 3).mean((2, 4)) for key in ("train_x", "test_x")}
    return dense_runs.standardized({**data, **halves})


SETTINGS = {
    "digits": Setting(digit_runs.digits, dense_runs.Plan(epochs=12, checks=4), 0.01),
    "cifar10": Setting(small_cifar, dense_runs.Plan(epochs=20, checks=2), 0.25),
}


def activation_race(workdir: Path, quick: bool) -> Result:
    """Sigmoid, tanh, ReLU, leaky ReLU and ELU: epochs to a fixed training error.

    An MLP with two hidden layers of 100 units, He initialisation, momentum 0.9, batches of 64, the same seeds for all
    activations; each at the one of six learning rates from 0.0032 to 1 with which it gets there first on average.
    Digits: 898 images of 8×8 pixels, to 1 % of training error. CIFAR-10, where it is prepared: 3000 images with 2×2
    pixels averaged, to 25 %, the error of Krizhevsky et al. 2012, figure 1, where a convolutional net with ReLU was six
    times faster than one with tanh. The training error is taken over all training images, a quarter (CIFAR-10: half)
    of an epoch apart. Errors are standard errors over the seeds.
    """
    settings = {"digits": SETTINGS["digits"]._replace(plan=dense_runs.Plan(5, checks=2), target=0.1)}
    settings, seeds = (settings, 2) if quick else (SETTINGS, 3)
    figure, axes = canvas(1, len(settings))
    rows: list[dict[str, Any]] = []
    told: list[str] = []
    for axis, (name, setting) in zip(axes, settings.items()):
        data = setting.data()
        axis.set(title=f"MLP on {name}, {seeds} seeds", xlabel="epoch", ylabel="training error (%, at least 0.1)")
        if data is None:
            rows.append({"data": name, "activation": "no data"})
            axis.text(0.5, 0.5, "no data", ha="center", transform=axis.transAxes)
            continue
        found = [_row(name, activation, setting, data, seeds, axis) for activation in ACTIVATIONS]
        axis.axhline(100 * setting.target, color="gray", linestyle=":")
        axis.set_yscale("log")
        axis.set_ylim(0.9 * 10.0 ** math.floor(math.log10(axis.dataLim.ymin) + 1e-6), 110)  # labels at whole decades
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter("")
        axis.legend(fontsize=8)
        rows += found
        told.append(_told(setting, found))
    save(figure, path := workdir / "activation_race.png")
    numbers = {f"{r['data']}, {r['activation']}: {key}": r[key] for r in rows for key in list(r)[2:]}
    slower = [name for name in settings if _is_slower(numbers, name)]
    verdict = (
        f"and so is tanh on {' and '.join(slower)}" if slower else "but to these errors tanh is not slower than ReLU"
    )
    sentence = (
        f"Each at its best rate, {'; '.join(told)}: of the two that the lecture faults for saturating the sigmoid is "
        f"slow, {verdict} (Krizhevsky's deep one is {FASTER:.0f} times slower with tanh)."
    )
    return Result(path, numbers, sentence, rows)


def _row(name: str, activation: str, setting: Setting, data: dense_runs.Data, seeds: int, axis: Any) -> dict[str, Any]:
    """Train at all rates; the numbers of the best one."""
    model = models.create("mlp", num_classes=10, hidden=HIDDEN, activation=activation)
    drawn = [functional.init(model, seed, data["train_x"][:1]) for seed in range(seeds)]

    def apply(params: Any, state: Any, images: Any, train: bool) -> Any:
        return functional.apply(model, params, state, images, train=train, noise=False)

    rates, order = np.repeat(RATES, seeds), list(range(seeds)) * len(RATES)
    found = dense_runs.train(apply, drawn * len(RATES), optim.momentum, list(rates), order, data, setting.plan)
    errors = found.train_error.reshape(len(RATES), seeds, -1)
    epochs = np.array([[reached(curve, setting) for curve in curves] for curves in errors])
    best = int(np.argmin(epochs.mean(axis=1)))
    time = np.arange(1, errors.shape[-1] + 1) / setting.plan.checks
    axis.plot(time, 100 * np.maximum(errors[best].mean(axis=0), 1e-3), label=f"{activation}, rate {RATES[best]:.2g}")
    return {
        "data": name,
        "activation": activation,
        "best rate": float(RATES[best]),
        "epochs": float(epochs[best].mean()),
        "± epochs": _error(epochs[best]),
        "training error at the end (%)": float(100 * errors[best, :, -1].mean()),
        "test error (%)": float(100 * found.test_error.reshape(errors.shape)[best, :, -1].mean()),
    }


def reached(curve: Sequence[float], setting: Setting) -> float:
    """The epoch of the first check that is at the target, infinite without one."""
    there = np.asarray(curve) <= setting.target
    return (int(there.argmax()) + 1) / setting.plan.checks if there.any() else math.inf


def _error(values: np.ndarray) -> float:
    """The standard error, which is not a number where some run did not arrive."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if np.isfinite(values).all() else math.nan


def _is_slower(numbers: dict[str, float], name: str) -> bool:
    """Whether tanh takes more epochs than ReLU, by more than two standard errors."""
    if f"{name}, tanh: epochs" not in numbers:
        return False
    gap = numbers[f"{name}, tanh: epochs"] - numbers[f"{name}, relu: epochs"]
    if math.isinf(gap):  # one of them did not arrive
        return gap > 0
    return gap > 2 * math.hypot(numbers[f"{name}, tanh: ± epochs"], numbers[f"{name}, relu: ± epochs"])


def _told(setting: Setting, rows: Sequence[dict[str, Any]]) -> str:
    by = {row["activation"]: row["epochs"] for row in rows}
    ends = {row["activation"]: row["training error at the end (%)"] for row in rows}
    each = ", ".join(f"{row['activation']} {row['epochs']:.1f} ± {row['± epochs']:.1f}" for row in rows)
    return (
        f"epochs to {100 * setting.target:.0f} % of training error on {rows[0]['data']}: {each}, so ReLU is "
        f"{by['sigmoid'] / by['relu']:.2f} times as fast as sigmoid and {by['tanh'] / by['relu']:.2f} times as tanh "
        f"(errors after {setting.plan.epochs} epochs: ReLU {ends['relu']:.1f} %, tanh {ends['tanh']:.1f} %)"
    )


STUDIES = {"activation_race": activation_race}
