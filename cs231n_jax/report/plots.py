"""Curves of a run, drawn from what it recorded."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from cs231n_jax.typing import Schedule


def curves(path: Path, lines: list[dict[str, Any]], schedule: Schedule, total_steps: int, members: list[int]) -> Path:
    """Draw loss, error and learning rate against updates into a PNG.

    Args:
        path: the PNG to write.
        lines: the lines of metrics.jsonl.
        schedule: updates done -> learning rate.
        total_steps: updates of the whole run.
        members: steps of the member snapshots, drawn as vertical lines.

    Returns:
        `path`.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    figure = Figure(figsize=(8, 9))
    loss, error, rate = figure.subplots(3, 1, sharex=True)
    figure.subplots_adjust(0.12, 0.06, 0.98, 0.98, hspace=0.08)  # given, for to find them lays all out twice
    for split, style in (("train", "-"), ("eval", "o-")):
        rows = [line for line in lines if line["split"] == split and "loss" in line]
        steps = [line["step"] for line in rows]
        loss.plot(steps, [line["loss"] for line in rows], style, markersize=3, label=split)
        if rows and "accuracy" in rows[0]:
            error.plot(steps, [100 * (1 - line["accuracy"]) for line in rows], style, markersize=3, label=split)
    _draw_rate(rate, schedule, total_steps)
    for axis, label in ((loss, "loss (nats)"), (error, "error (%)"), (rate, "learning rate")):
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
        for step in members:
            axis.axvline(step, color="gray", linewidth=0.8, linestyle=":")
    loss.set_yscale("log")
    loss.minorticks_off()
    low, high = loss.get_ylim()
    loss.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5) if high < 1e3 * low else (1,)))
    loss.yaxis.set_major_formatter("{x:g}")
    loss.legend()
    rate.set_xlabel("updates")
    return save(figure, path)


def learning_rate(path: Path, schedule: Schedule, total_steps: int) -> Path:
    """Draw a schedule against updates into a PNG; returns `path`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.5), layout="constrained")
    axis = figure.subplots()
    _draw_rate(axis, schedule, total_steps)
    axis.set_xlabel("updates")
    axis.set_ylabel("learning rate")
    axis.grid(alpha=0.3)
    return save(figure, path)


def _draw_rate(axis: Any, schedule: Schedule, total_steps: int) -> None:
    """The schedule at every update, or at about 1,000 of them."""
    grid = np.unique(np.linspace(0, total_steps - 1, 1001).round().astype(np.int32))
    axis.plot(grid, jax.jit(schedule)(grid))  # one program, where each operation would be one


def ensemble(path: Path, rows: list[dict[str, Any]], sizes: list[dict[str, Any]]) -> Path:
    """Draw the accuracy of members and averages, and accuracy against the number of members, into a PNG.

    Args:
        path: the PNG to write.
        rows: of `train.ensemble.compare`: name, accuracy, total.
        sizes: of `train.ensemble.compare`: members, accuracy, standard_error; drawn as error bars.

    Returns:
        `path`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3 + 0.3 * len(rows)), layout="constrained")
    each, growth = figure.subplots(1, 2, width_ratios=(2, 1))
    errors = [(row["accuracy"] * (1 - row["accuracy"]) / row["total"]) ** 0.5 for row in rows]
    places = range(len(rows))
    each.errorbar([row["accuracy"] for row in rows], places, xerr=errors, fmt="o", capsize=3)
    each.set_yticks(places, [row["name"] for row in rows])
    each.invert_yaxis()
    each.set_xlabel("accuracy, ± standard error of the test set")
    growth.errorbar(
        [s["members"] for s in sizes],
        [s["accuracy"] for s in sizes],
        yerr=[s["standard_error"] for s in sizes],
        marker="o",
        capsize=3,
    )
    growth.set_xlabel("newest members, predictions averaged")
    growth.set_ylabel("accuracy")
    growth.set_xticks([s["members"] for s in sizes])
    return save(figure, path)


def save(figure: Any, path: Path) -> Path:
    """Write a figure into a PNG, whole or not at all; returns `path`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.writing")
    figure.savefig(temporary, format="png", dpi=110)
    return temporary.replace(path)
