"""What an exploding gradient does to a vanilla RNN, and what clipping it changes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cs231n_jax import optim
from experiments.studies import Result, adding, seeds, wall
from experiments.studies.drawing import canvas, save

WAYS: dict[str, Callable[[optim.GradientTransformation, float], optim.GradientTransformation]] = {
    "none": lambda step, limit: optim.chain(optim.measure_gradient_norm(), step),
    "global norm": lambda step, limit: optim.chain(optim.clip_by_global_norm(limit), step),
}
WORSE = 1.1 * adding.CONSTANT  # a run that ends there would have done better to answer 1


class Setting(NamedTuple):
    """The grid of runs."""

    gains: tuple[float, ...] = (1.0, 2.0)
    rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
    seeds: int = 3
    plan: adding.Plan = adding.Plan(steps=30, updates=1500)
    hidden: int = 32
    wall: tuple[int, int] = (200, 500)  # points along each side, updates


QUICK = Setting((1.0,), (1e-2, 1.0), 2, adding.Plan(steps=10, updates=100, batch=8), 8, (16, 20))


def clipping(workdir: Path, quick: bool) -> Result:
    """An exploding RNN with and without gradient clipping: one unit on a wall, and a net over a grid of rates.

    The unit: x_t = w·σ(x_{t−1}) + b from x_0 = 0.5, and the loss (σ(x_50) − 0.7)². Where a small change of w or b lets
    the 50 steps end at another fixed point the loss is a wall. Gradient descent (rate 1, 500 updates, float64) goes
    from one point that is drawn and from 625 on a grid, with gradients as they are and clipped to a norm of 0.1; it
    "finds the minimum" where the loss falls below 0.001.

    The net: a vanilla RNN of 32 units that learns the adding problem over 30 steps (`memory_task` says what that is),
    orthogonal hidden weights times a gain of 1, or of 2, at which gradients explode before anything is learned;
    momentum 0.9, 1,500 updates on batches of 20, gradients as they are and clipped to a norm of 1 over all parameters.
    Where a gradient is not finite the update is dropped and counted, as in a run of `experiments.train`, which without
    `train.max_dropped` stops there. "not finite" are the runs in which that happened, "worse" those of the others whose
    error at the end is more than a tenth above that of the answer 1 (1/6); "error" is the mean squared error of the
    last 300 batches of those that stayed finite, each batch new, ± its standard error over three seeds; "largest norm"
    that of all gradients that were finite, before they are clipped.

    Reference: Pascanu, Mikolov, Bengio 2013, "On the difficulty of training recurrent neural networks", section 2.3 and
    figure 6 (the wall), algorithm 1 (clipping by the global norm).
    """
    setting = QUICK if quick else Setting()
    surface = wall.measure({way: clip(optim.sgd(1.0), 0.1) for way, clip in WAYS.items()}, *setting.wall)
    runs = [
        adding.Run(adding.Net("RNN", setting.hidden, gain), seed, rate)
        for gain in setting.gains
        for rate in setting.rates
        for seed in range(setting.seeds)
    ]
    found = {way: adding.train(runs, setting.plan, _clipped(way, setting)) for way in WAYS}
    rows = [row for way, history in found.items() for row in _rows(way, history, setting)]
    named = {f"gain {row['gain']:g}, {row['clipping']}, rate {row['rate']:g}": row for row in rows}
    numbers = {f"{name}: {key}": float(row[key]) for name, row in named.items() for key in list(row)[3:]}
    numbers = {name: value for name, value in numbers.items() if np.isfinite(value)}
    numbers |= {f"wall, {way}: starts that find the minimum (%)": 100 * share for way, share in surface.found.items()}
    numbers |= {"wall: largest norm": float(surface.norms.max()), "wall: median norm": float(np.median(surface.norms))}
    return Result(_figure(workdir, setting, surface, found, rows), numbers, _sentence(setting, surface, rows), rows)


def _clipped(way: str, setting: Setting) -> Callable[[Any], optim.GradientTransformation]:
    def make(rate: Any) -> optim.GradientTransformation:
        return optim.drop_nonfinite(WAYS[way](optim.momentum(rate), 1.0), setting.plan.updates)

    return make


def _rows(way: str, history: adding.History, setting: Setting) -> list[dict[str, Any]]:
    shape = (len(setting.gains), len(setting.rates), setting.seeds)
    ends = history.loss[:, -300:].mean(-1).reshape(shape)
    dropped, norms = history.dropped.reshape(shape), history.norm.reshape(*shape, -1)
    rows = []
    for i, j in np.ndindex(shape[:2]):
        finite = dropped[i, j] == 0
        own, norm = ends[i, j][finite], norms[i, j]
        row: dict[str, Any] = {"gain": setting.gains[i], "clipping": way, "rate": setting.rates[j]}
        row |= {"not finite": int((~finite).sum()), "dropped updates": float(dropped[i, j].mean())}
        row |= {"worse": int((own > WORSE).sum()), "error": float(own.mean()) if own.size else np.nan}
        rows.append(row | {"± error": seeds.error(own), "largest norm": float(norm[np.isfinite(norm)].max())})
    return rows


def _figure(
    workdir: Path, setting: Setting, surface: wall.Surface, found: dict[str, adding.History], rows: list[dict[str, Any]]
) -> Path:
    figure, (left, middle, right) = canvas(1, 3)
    extent = (wall.LEFT, wall.RIGHT, wall.LOW, wall.HIGH)
    picture = left.contourf(surface.losses, 8, origin="lower", extent=extent, cmap="Greys")
    figure.colorbar(picture, ax=left, label="loss")
    for way, path in surface.paths.items():
        left.plot(*path.T, ".-", markersize=3, linewidth=0.8, label=f"clipping: {way}")
    left.set(xlim=extent[:2], ylim=extent[2:], xlabel="w", ylabel="b", title="one unit over 50 steps")
    left.legend(fontsize="small")
    for index, gain in enumerate(setting.gains):
        norms = found["global norm"].norm.reshape(len(setting.gains), -1)[index]
        middle.hist(np.log10(norms[norms > 0]), bins=60, histtype="step", label=f"gain {gain:g}")
    middle.axvline(0, color="gray", linestyle=":", label="where it is clipped")
    middle.set(
        yscale="log",
        xlabel="log₁₀ of the gradient's norm before clipping",
        ylabel="updates",
        title="gradients of the clipped runs",
    )
    middle.legend(fontsize="small")
    for gain in setting.gains:
        for way, style in zip(WAYS, (":", "-")):
            own = [row for row in rows if row["gain"] == gain and row["clipping"] == way]
            means, bars = ([row[key] for row in own] for key in ("error", "± error"))
            label = f"gain {gain:g}, clipping: {way}"
            right.errorbar(setting.rates, means, yerr=np.nan_to_num(bars), fmt=f"o{style}", capsize=3, label=label)
    right.axhline(adding.CONSTANT, color="gray", linewidth=0.8, label="the answer 1")
    right.set(xscale="log", yscale="log", xlabel="learning rate of momentum", ylabel="error of the finite runs")
    right.set(title=f"RNN, adding problem, {setting.seeds} seeds")
    right.legend(fontsize="small")
    return save(figure, workdir / "clipping.png")


def _sentence(setting: Setting, surface: wall.Surface, rows: list[dict[str, Any]]) -> str:
    lost, ends = {}, []
    for way in WAYS:
        own = [row for row in rows if row["clipping"] == way]
        lost[way] = sum(row["not finite"] for row in own), sum(row["worse"] for row in own)
    for gain in setting.gains:
        best = [_best([row for row in rows if row["gain"] == gain and row["clipping"] == way]) for way in WAYS]
        ends.append(f"{' and '.join(best)} at a gain of {gain:g}")
    (stopped, worse), (clipped_stopped, clipped_worse) = lost.values()
    verdict = "agrees with the lecture" if clipped_stopped + clipped_worse < stopped + worse else "is not seen here"
    limit = ", though it does not save a rate that is too high" if clipped_worse else ""
    return (
        f"On the wall the gradient is up to {surface.norms.max():.0f} long where its median is "
        f"{np.median(surface.norms):.2g}, and descent finds the minimum from {100 * surface.found['none']:.0f} % of "
        f"the starts, with clipping from {100 * surface.found['global norm']:.0f} %; of the RNN's "
        f"{setting.seeds * len(rows) // len(WAYS)} runs over {len(setting.rates)} rates {stopped} stop being finite "
        f"and {worse} more end worse than a constant, with clipping {clipped_stopped} and {clipped_worse}; the best "
        f"errors without and with it are {', '.join(ends)} (guessing: {adding.CONSTANT:.3f}): that clipping is the "
        f"remedy for exploding gradients {verdict}{limit}."
    )


def _best(rows: list[dict[str, Any]]) -> str:
    """The lowest error of those rates at which every run stayed finite."""
    row = min(rows, key=lambda row: (row["not finite"], row["error"]))
    return f"{row['error']:.3f} ± {row['± error']:.3f}"


STUDIES = {"clipping": clipping}
