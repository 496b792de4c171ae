"""What the scale of the initial weights does to the training of a deep net, without and with batch normalisation."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from cs231n_jax import optim
from cs231n_jax.ops import activations, init, norm
from experiments.studies import Result, dense_runs, digit_runs
from experiments.studies.drawing import canvas, save

WIDTHS = (50,) * 7
SCALES = tuple(float(scale) for scale in np.logspace(-4, 0, 20))
PLAN = dense_runs.Plan(epochs=10, batch=50)
RATE, MOMENTUM, EPS = 1e-3, 0.9, 1e-5
LAST = 100  # updates that the final loss is averaged over
GUESSING = 10.0  # percent
KINDS = {"plain": False, "batch norm": True}


class Found(NamedTuple):
    """Best accuracies of an epoch (%) and the final loss, each [scales, seeds]."""

    training: np.ndarray
    validation: np.ndarray
    loss: np.ndarray


def centred_cifar() -> dense_runs.Data | None:
    """1000 training and 1000 test images of CIFAR-10, pixels 0 … 255 less the mean image; None where it is not."""
    data = dense_runs.real_images("cifar10", 1000, 1000)
    if data is None:
        return None
    mean = data["train_x"].mean(axis=0)
    return {key: value - mean if key.endswith("_x") else value for key, value in data.items()}


SETS: dict[str, Callable[[], dense_runs.Data | None]] = {"digits": digit_runs.digits, "cifar10": centred_cifar}


def batchnorm_scales(workdir: Path, quick: bool) -> Result:
    """An eight-layer net with and without batch normalisation, over twenty scales of its initial weights.

    The figure of the cs231n assignments: seven hidden layers of 50 ReLUs, weights from N(0, scale²) for 20 scales from
    1e-4 to 1, zero biases, Adam with a rate of 1e-3, batches of 50, 10 epochs. The best accuracies of an epoch, in
    inference with the running statistics, and the loss over the last 100 updates. Digits: all 898 training images,
    standardised, validated on the 899 others. CIFAR-10, where it is prepared, as in the assignment: 1000 images, pixels
    0 … 255 less the mean image, validated on 1000 others; published there: about 30 % with batch normalisation at
    all scales, without it a collapse except near 0.1. Errors are standard errors over the seeds.
    """
    names, scales, seeds, plan = list(SETS), SCALES, 3, PLAN
    if quick:
        names, scales, seeds, plan = ["digits"], SCALES[::6], 2, PLAN._replace(epochs=3)
    figure, axes = canvas(len(names), 3, height=3.6)
    rows: list[dict[str, Any]] = []
    told = []
    for name, three in zip(names, (axes[i : i + 3] for i in range(0, len(axes), 3))):
        data = SETS[name]()
        if data is None:
            rows.append({"data": name, "weight scale": "no data"})
            three[0].set_title(f"{name}: no data")
            continue
        found = {kind: _train(data, scales, seeds, plan, normalised) for kind, normalised in KINDS.items()}
        _draw(three, name, scales, found)
        rows += [
            _row(name, scale, {kind: [v[i] for v in f] for kind, f in found.items()}) for i, scale in enumerate(scales)
        ]
        told.append(_told(name, scales, found))
    save(figure, path := workdir / "batchnorm_scales.png")
    numbers = {
        f"{row['data']}, {row['weight scale']:.2g}: {key}": row[key]
        for row in rows
        if row["weight scale"] != "no data"
        for key in list(row)[2:]
    }
    sentence = (
        f"Plain and with batch norm, {'; '.join(told)}: it widens the scales that train and bounds the loss, more "
        "than it raises the best accuracy, and with it, too, the scale matters, where the assignment's figure is flat."
    )
    return Result(path, numbers, sentence, rows)


def start(images: Any, scale: float, seed: int, normalised: bool, classes: int = 10) -> tuple[Any, Any]:
    """Parameters and running statistics of the net: weights N(0, scale²); the same draw for all scales."""
    sizes = (int(np.prod(images.shape[1:])), *WIDTHS, classes)
    drawn = lambda spec, path: jnp.asarray(init.draw(spec, seed, path))  # noqa: E731
    params, state = {}, {}
    for layer, shape in enumerate(pairwise(sizes), 1):
        own = {"kernel": drawn(init.normal(shape, scale), f"layer{layer}/kernel"), "bias": jnp.zeros(shape[1])}
        if normalised and layer <= len(WIDTHS):
            own["scale"] = jnp.ones(shape[1])
            state[f"layer{layer}"] = {"mean": jnp.zeros(shape[1]), "var": jnp.ones(shape[1])}
        params[f"layer{layer}"] = own
    return params, state


def apply(params: Any, state: Any, images: Any, train: bool) -> tuple[Any, Any]:
    """(logits, new running statistics); layers without a `scale` are not normalised."""
    x, new = images.reshape(len(images), -1), {}
    for layer in range(1, len(params)):
        name = f"layer{layer}"
        x, own = x @ params[name]["kernel"], params[name]
        if name not in state:
            x = activations.relu(x + own["bias"][None])
        elif train:
            x, *batch = norm.batch_norm(x, own["scale"], own["bias"], eps=EPS, relu=True)
            old = state[name]
            new[name] = {key: MOMENTUM * old[key] + (1 - MOMENTUM) * b for key, b in zip(("mean", "var"), batch)}
        else:
            x = norm.normalize(x, **state[name], scale=own["scale"], bias=own["bias"], eps=EPS, relu=True)
    head = params[f"layer{len(params)}"]
    return x @ head["kernel"] + head["bias"][None], new


def _train(
    data: dense_runs.Data, scales: Sequence[float], seeds: int, plan: dense_runs.Plan, normalised: bool
) -> Found:
    starts = [start(data["train_x"], scale, seed, normalised) for scale in scales for seed in range(seeds)]
    order = list(range(seeds)) * len(scales)
    runs = dense_runs.train(apply, starts, optim.adam, [RATE] * len(starts), order, data, plan)
    shape = (len(scales), seeds, -1)
    training, validation = (
        100 * (1 - error.reshape(shape)).max(axis=2) for error in (runs.train_error, runs.test_error)
    )
    return Found(training, validation, runs.loss.reshape(shape)[:, :, -LAST:].mean(axis=2))


def _row(name: str, scale: float, by_kind: dict[str, list[np.ndarray]]) -> dict[str, Any]:
    row: dict[str, Any] = {"data": name, "weight scale": scale}
    for kind, (training, validation, loss) in by_kind.items():
        row[f"{kind}: training (%)"] = float(training.mean())
        row[f"{kind}: validation (%)"] = float(validation.mean())
        row[f"{kind}: ± validation"] = float(validation.std(ddof=1) / np.sqrt(len(validation)))
        row[f"{kind}: final loss"] = float(loss.mean())
    return row


def _draw(axes: Sequence[Any], name: str, scales: Sequence[float], found: dict[str, Found]) -> None:
    for axis, field, label in zip(
        axes, Found._fields, ("best training accuracy (%)", "best validation accuracy (%)", "final loss")
    ):
        for kind, values in found.items():
            chosen = getattr(values, field)
            bars = chosen.std(axis=1, ddof=1) / np.sqrt(chosen.shape[1])
            axis.errorbar(scales, chosen.mean(axis=1), yerr=bars, fmt="o-", markersize=4, capsize=3, label=kind)
        axis.set_xscale("log")
        axis.set(title=name, xlabel="weight scale", ylabel=label)
        axis.legend(fontsize=8)
    axes[-1].set_yscale("log")


def _told(name: str, scales: Sequence[float], found: dict[str, Found]) -> str:
    means = {kind: values.validation.mean(axis=1) for kind, values in found.items()}
    best = {kind: int(np.argmax(values)) for kind, values in means.items()}
    bars = {kind: v.validation[best[kind]].std(ddof=1) / np.sqrt(v.validation.shape[1]) for kind, v in found.items()}
    half = (GUESSING + max(values.max() for values in means.values())) / 2
    told = [f"{means[k][i]:.1f} ± {bars[k]:.1f} % {k} at scale {scales[i]:.2g}" for k, i in best.items()]
    trains = [f"{(values > half).sum()}" for values in means.values()]
    losses = [f"{values.loss[-1].mean():.2g}" for values in found.values()]
    return (
        f"on {name} the best validation accuracies are {' and '.join(told)}, {' and '.join(trains)} of {len(scales)} "
        f"scales get half-way there from guessing, the final loss at scale 1 is {' and '.join(losses)}, and batch norm "
        f"ranges from {means['batch norm'].min():.0f} to {means['batch norm'].max():.0f} %"
    )


STUDIES = {"batchnorm_scales": batchnorm_scales}
