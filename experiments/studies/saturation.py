"""Where an activation lets no gradient through: saturated units, deep stacks of them, and dead ReLUs."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax import models, optim
from cs231n_jax.models import functional
from cs231n_jax.ops import activations, init
from experiments.studies import Result, dense_runs, digit_runs
from experiments.studies.drawing import canvas, save

POINTS = (0.0, 2.0, 5.0, 10.0)
LAYERS, WIDTH, BATCH = 10, 128, 64
STACKS = {"sigmoid": init.lecture_xavier, "tanh": init.lecture_xavier, "relu": init.he_normal}
HIDDEN = (100, 100)
RATES = tuple(2.0 ** (k / 2) for k in range(-8, 4))  # 1/16 to 2.8
DEAD = 40  # percent; the notes: "as much as 40 % of your network can be dead if the learning rate is set too high"


def saturation(workdir: Path, quick: bool) -> Result:
    """Saturated neurons kill the gradient; does a ReLU not saturate?

    Left: derivatives. Middle: the length of the gradient at the input of each of ten layers of 128 units, over its
    length at the output, for inputs and output gradients from N(0, 1) and weights without stretching (orthogonal,
    ‖W‖ = 1: at most (¼)^10 comes through ten sigmoids, 1 through ten tanh or ReLU) or from the usual initialisation
    (1/√n, for ReLU √(2/n)). Right: ReLUs that are active on at least one training image of digits after training an
    MLP 64-100-100-10 by plain SGD, against the learning rate; bars are standard errors over the seeds.
    """
    seeds = 3 if quick else 10
    figure, (left, middle, right) = canvas(1, 3)
    numbers = _derivatives(left)
    with jax.enable_x64(True):
        numbers |= _stacks(middle, seeds)
    numbers |= _live(right, 3 if quick else 5, 3 if quick else 20)
    save(figure, path := workdir / "saturation.png")
    live = {rate: numbers[f"rate {rate:.2g}: live ReLUs (%)"] for rate in RATES}
    errors = {rate: numbers[f"rate {rate:.2g}: test error (%)"] for rate in RATES}
    best = min(errors, key=errors.__getitem__)
    high = next((rate for rate in RATES if live[rate] <= 100 - DEAD), RATES[-1])
    through = {name: numbers[f"{name}, usual weights: gradient through {LAYERS} layers"] for name in STACKS}
    slopes = ", ".join(f"{numbers[f'sigmoid′({x:g})']:.3g}" for x in POINTS)
    sentence = (
        f"Saturation does kill the gradient (σ′ is {slopes} at 0, 2, 5, 10), but ten sigmoids kill it without being "
        f"saturated: {through['sigmoid']:.2g} of it comes through with the usual weights (tanh {through['tanh']:.2g}, "
        f"ReLU {through['relu']:.2g}), and with ‖W‖ = 1 "
        f"{numbers[f'sigmoid, ‖W‖ = 1: gradient through {LAYERS} layers']:.2g}, below (¼)^10 = {0.25**LAYERS:.2g}; and "
        f"that ReLU does not saturate, as the lecture says, holds for positive inputs only: {live[best]:.0f} % of the "
        f"units live at the best rate {best:.2g}, {live[high]:.0f} % at {high:.2g}, where the test error is "
        f"{errors[high]:.0f} instead of {errors[best]:.1f} %, and {live[RATES[-1]]:.0f} % at {RATES[-1]:.2g}."
    )
    return Result(path, numbers, sentence)


def _derivatives(axis: Any) -> dict[str, float]:
    numbers, grid = {}, jnp.linspace(-10, 10, 401)
    with jax.enable_x64(True):
        for name in ("sigmoid", "tanh"):
            slope = jax.grad(activations.get(name))
            numbers |= {f"{name}′({x:g})": float(slope(jnp.float64(x))) for x in POINTS}
    for name in ("sigmoid", "tanh", "relu", "leaky_relu", "elu"):
        axis.plot(grid, jax.vmap(jax.grad(activations.get(name)))(grid), label=name)
    axis.set(title="derivatives", xlabel="x", xlim=(-6, 6))
    axis.legend()
    return numbers


def _stacks(axis: Any, seeds: int) -> dict[str, float]:
    numbers: dict[str, float] = {}
    depth = np.arange(LAYERS + 1)
    for name, start in STACKS.items():
        for kind in ("usual weights", "‖W‖ = 1"):
            shares = np.stack(
                [gradient_shares(name, start if kind == "usual weights" else None, s) for s in range(seeds)]
            )
            key = f"{name}, {kind}: gradient through {LAYERS} layers"
            numbers[key] = float(np.exp(np.log(shares[:, -1]).mean()))
            numbers[f"{key}, largest"] = float(shares[:, -1].max())
            style = "o-" if kind == "usual weights" else "s:"
            axis.semilogy(depth, np.exp(np.log(shares).mean(axis=0)), style, markersize=4, label=f"{name}, {kind}")
    axis.semilogy(depth, 0.25**depth, color="gray", label="(¼)^layers")
    axis.set(title="gradient on the way down", xlabel="layers passed", ylabel="length / length at the output")
    axis.legend(fontsize=7)
    return numbers


def gradient_shares(name: str, start: Any, seed: int) -> np.ndarray:
    """‖∂L/∂h_l‖ / ‖∂L/∂h_10‖ for l = 10, 9, …, 0 [LAYERS + 1]; `start` None means orthogonal matrices."""
    activate, random = activations.get(name), np.random.default_rng(seed)
    shape = (WIDTH, WIDTH)
    drawn = [init.draw((start or init.lecture_xavier)(shape), seed, f"layer{i}").astype(float) for i in range(LAYERS)]
    weights = [jnp.asarray(w if start else np.linalg.qr(w)[0]) for w in drawn]
    x, cotangent = (jnp.asarray(random.standard_normal((BATCH, WIDTH))) for _ in range(2))
    pulls = []
    for w in weights:
        x, pull = jax.vjp(lambda h, w=w: activate(h @ w), x)
        pulls.append(pull)
    lengths = [float(jnp.linalg.norm(cotangent))]
    for pull in reversed(pulls):
        (cotangent,) = pull(cotangent)
        lengths.append(float(jnp.linalg.norm(cotangent)))
    return np.array(lengths) / lengths[0]


def _live(axis: Any, seeds: int, epochs: int) -> dict[str, float]:
    """Train one net for every rate and seed; the live units of both hidden layers, and the errors."""
    data, runs = digit_runs.digits(), [(rate, seed) for rate in RATES for seed in range(seeds)]
    model = models.create("mlp", num_classes=10, hidden=HIDDEN)
    starts = [functional.init(model, seed, data["train_x"][:1]) for _, seed in runs]

    def apply(params: Any, state: Any, images: Any, train: bool) -> Any:
        return functional.apply(model, params, state, images, train=train, noise=False)

    rates, order = zip(*runs)
    found = dense_runs.train(apply, starts, optim.sgd, rates, order, data, dense_runs.Plan(epochs))

    @jax.jit
    @jax.vmap
    def live(params: Any) -> Any:
        features, _ = functional.apply(model, params, {}, jnp.asarray(data["train_x"]), method="features")
        return jnp.concatenate([(features[stage] > 0).any(0) for stage in model.stages]).mean()

    finite = np.all([np.isfinite(leaf).reshape(len(runs), -1).all(axis=1) for leaf in jax.tree.leaves(found.params)], 0)
    if not finite.all():  # units that are not a number are not dead
        raise FloatingPointError(f"{(~finite).sum()} of {len(runs)} runs overflowed; lower the highest of the rates")
    numbers = {}
    for label, shares in {"live ReLUs": live(found.params), "test error": found.test_error[:, -1]}.items():
        values = 100 * np.asarray(shares, float).reshape(len(RATES), seeds)
        means, bars = values.mean(axis=1), values.std(axis=1, ddof=1) / np.sqrt(seeds)
        numbers |= {f"rate {rate:.2g}: {label} (%)": float(mean) for rate, mean in zip(RATES, means)}
        numbers |= {f"rate {rate:.2g}: {label}, standard error": float(bar) for rate, bar in zip(RATES, bars)}
        axis.errorbar(RATES, means, yerr=bars, fmt="o-", capsize=3, label=label)
    axis.set_xscale("log")
    axis.set(title=f"MLP on digits, {epochs} epochs, {seeds} seeds", xlabel="learning rate of SGD", ylabel="%")
    axis.legend()
    return numbers


STUDIES = {"saturation": saturation}
