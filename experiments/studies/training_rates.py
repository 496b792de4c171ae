"""What the lecture says about learning rates, tried on scikit-learn's digits."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cs231n_jax import optim
from cs231n_jax.optim import schedules
from experiments.studies import Result, digit_runs
from experiments.studies.drawing import canvas, save

UPDATES_PER_EPOCH = 14


def learning_rate(workdir: Path, quick: bool) -> Result:
    """The four curves of the lecture: loss against time for a low, a good, a high and a very high learning rate.

    Good: the lowest loss at the end. Very high: the next one that ends no better than guessing (ln 10). High: half of
    it. Low: a hundredth of good. Images are shifted at random, as a network that fits them all forgives much.
    """
    rates, epochs = [2.0**k for k in range(-11, 5)], 4 if quick else 20
    curves = digit_runs.train("mlp", optim.sgd, lambda count: 1.0, rates, 1, epochs, shift=1).loss[:, 0]
    by_epoch = curves.reshape(len(rates), epochs, UPDATES_PER_EPOCH).mean(axis=2)
    last = np.where(np.isfinite(by_epoch[:, -1]), by_epoch[:, -1], np.inf)
    good = int(np.argmin(last))
    start, guessing = float(curves[0, 0]), math.log(10)
    very_high = next((i for i in range(good, len(rates)) if last[i] >= 0.95 * guessing), len(rates) - 1)
    chosen = {"low": max(good - 7, 0), "good": good, "high": very_high - 1, "very high": very_high}
    figure, (axis,) = canvas(1, 1)
    for label, index in chosen.items():
        axis.plot(range(1, epochs + 1), np.minimum(by_epoch[index], 10), label=f"{label}: {rates[index]:.3g}")
    axis.set(xlabel="epoch", ylabel="training loss (nats, cut at 10)", title="MLP 64-100-10 on digits, SGD")
    axis.axhline(guessing, color="gray", linestyle=":")
    axis.set_ylim(0, 1.5 * start)
    axis.legend()
    save(figure, path := workdir / "learning_rate.png")
    numbers = {f"{label} ({rates[i]:.3g}): loss after {epochs} epochs": float(last[i]) for label, i in chosen.items()}
    numbers |= {f"{label} ({rates[i]:.3g}): loss after 1 epoch": float(by_epoch[i, 0]) for label, i in chosen.items()}
    ends = {label: f"{rates[i]:.2g} ends at {last[i]:.2g}" for label, i in chosen.items()}
    sentence = (
        f"From {start:.2f} nats, in {epochs} epochs the good rate {ends['good']}, the low rate {ends['low']} and falls "
        f"on, the high rate {ends['high']}, the very high rate {ends['very high']} (guessing: {guessing:.2f}): from "
        f"good to useless is a factor of {rates[very_high] / rates[good]:.0f}."
    )
    return Result(path, numbers, sentence)


def adam_start(workdir: Path, quick: bool) -> Result:
    """Is Adam with (0.9, 0.999) and a rate of 1e-3 or 5e-4 a great starting point? A grid over three models."""
    rates = [1e-5, 1e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 1e-1]
    names, seeds, epochs = (("mlp",), 1, 4) if quick else (tuple(digit_runs.MODELS), 2, 15)
    figure, (axis,) = canvas(1, 1)
    numbers: dict[str, float] = {}
    behind: dict[float, list[float]] = {1e-3: [], 5e-4: []}
    best = []
    for name in names:
        found = digit_runs.train(name, optim.adam, lambda count: 1.0, rates, seeds, epochs)
        errors = 100 * found.test_error.mean(axis=1)
        numbers |= {f"{name}, {rate:g}: test error (%)": float(e) for rate, e in zip(rates, errors)}
        best.append(f"{rates[int(np.argmin(errors))]:g} ({name}, {errors.min():.1f} %)")
        for rate, gaps in behind.items():
            gaps.append(float(errors[rates.index(rate)] - errors.min()))
        axis.semilogx(rates, errors, "o-", label=name)
    for rate in behind:
        axis.axvline(rate, color="gray", linestyle=":")
    axis.set(
        xlabel="learning rate of Adam", ylabel="test error (%)", title=f"digits, {epochs} epochs, mean of {seeds} seeds"
    )
    axis.legend()
    save(figure, path := workdir / "adam_start.png")
    sentence = (
        f"Of {len(rates)} rates from 1e-5 to 0.1 the best are {', '.join(best)}; 1e-3 is "
        f"{' / '.join(f'{gap:.1f}' for gap in behind[1e-3])} points behind the best and 5e-4 "
        f"{' / '.join(f'{gap:.1f}' for gap in behind[5e-4])}: "
        + ("a great start" if max(behind[1e-3]) <= 1 else "a fair start, not the best")
        + f" for runs of {epochs} epochs ({', '.join(names)})."
    )
    return Result(path, numbers, sentence)


def decay(workdir: Path, quick: bool) -> Result:
    """Does letting the learning rate decay help SGD with momentum more than Adam?

    The images are shifted at random, so that the gradient stays noisy to the end; without that the network fits all
    training images at every good rate and decay changes nothing.
    """
    epochs, seeds = (4, 2) if quick else (20, 12)
    total = epochs * UPDATES_PER_EPOCH
    shapes: dict[str, Callable[[Any], Any]] = {
        "constant": schedules.constant(1.0),
        "step": schedules.step(1.0, [total // 2, total * 3 // 4], [0.1, 0.1]),
        "cosine": schedules.cosine(1.0, total),
    }
    kinds: dict[str, tuple[digit_runs.Make, list[float]]] = {
        "momentum": (optim.momentum, [10 ** (k / 4) for k in range(-6, 1)]),
        "Adam": (optim.adam, [10 ** (k / 4) for k in range(-10, -3)]),
    }
    figure, axes = canvas(1, 2)
    numbers: dict[str, float] = {}
    errors: dict[tuple[str, str], np.ndarray] = {}  # of the best rate, by seed
    for axis, (kind, (make, rates)) in zip(axes, kinds.items()):
        for name, shape in shapes.items():
            found = 100 * digit_runs.train("mlp", make, shape, rates, seeds, epochs, shift=1).test_error
            best = int(np.argmin(found.mean(axis=1)))
            errors[kind, name] = found[best]
            numbers[f"{kind}, {name} (rate {rates[best]:.2g}): test error (%)"] = float(found[best].mean())
            axis.semilogx(rates, found.mean(axis=1), "o-", label=name)
        axis.set(xlabel="peak learning rate", ylabel="test error (%)", title=f"{kind}, MLP on digits")
        axis.set_ylim(4, 20)
        axis.legend()
    save(figure, path := workdir / "decay.png")
    gains = {}
    for kind in kinds:
        better = min(("step", "cosine"), key=lambda name: errors[kind, name].mean())
        gain = errors[kind, "constant"] - errors[kind, better]  # the same seeds, one by one
        gains[kind] = (better, float(gain.mean()), float(gain.std(ddof=1) / np.sqrt(seeds)))
        numbers[f"{kind}: gain by {better} (points)"] = gains[kind][1]
        numbers[f"{kind}: standard error of the gain"] = gains[kind][2]
    difference = gains["momentum"][1] - gains["Adam"][1]
    error = float(np.hypot(gains["momentum"][2], gains["Adam"][2]))
    told = " and ".join(f"{gain:.2f} ± {se:.2f} points for {kind} ({name})" for kind, (name, gain, se) in gains.items())
    if abs(difference) <= 2 * error:
        verdict = "as far as this can tell, it helps both alike"
    else:
        verdict = f"it helps {'momentum' if difference > 0 else 'Adam'} more"
    sentence = (
        f"Each at its best rate, decay lowers the test error by {told}, {seeds} seeds: the difference is "
        f"{difference:.2f} ± {error:.2f}, so {verdict}."
    )
    return Result(path, numbers, sentence)


STUDIES = {"learning_rate": learning_rate, "adam_start": adam_start, "decay": decay}
