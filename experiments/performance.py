"""docs/performance.md: the pages of all benchmarks in one table, ours beside its rivals."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments import pages


class Line(NamedTuple):
    """One comparison: times in `unit`, the ratio of ours to the first rival's with its 95 % interval."""

    what: str
    unit: str
    ours: str
    rival: str
    beside: str
    ratio: str
    low: str = ""
    high: str = ""
    torch: str = ""


Rows = Sequence[Mapping[str, str]]


def startup(rows: Rows) -> list[Line]:
    """Process start to first update, with an empty and with a warm cache, beside the plain script."""
    median = {row["program"]: row["median"] for row in rows}
    flax, torch = median["flax + optax script"], median.get("torch script", "")
    lines = []
    for cache in ("empty", "warm"):
        own = median[f"cs231n_jax, {cache} compile cache"]
        ratio = f"{float(own) / float(flax):.2f}"
        lines.append(Line(f"first update, {cache} cache", "s", own, "flax + optax", flax, ratio, torch=torch))
    return lines


def families(rows: Rows) -> list[Line]:
    """A train step of every family, and its trace and compile time, beside plain flax and optax."""
    programs = {(row["net"], row["program"]): row for row in rows}
    lines = []
    for (net, program), own in programs.items():
        if program != "cs231n_jax":
            continue
        flax, torch = programs[net, "flax + optax"], programs.get((net, "torch, channels last"), {})
        step = (own["ratio"], own["low"], own["high"], torch.get("ms", ""))
        lines.append(Line(f"{net}, train step", "ms", own["ms"], "flax + optax", flax["ms"], *step))
        seconds = [f"{float(row['trace s']) + float(row['compile s']):.2f}" for row in (own, flax)]
        compiling = (own["compile ratio"], own["compile low"], own["compile high"])
        lines.append(Line(f"{net}, compile", "s", seconds[0], "flax + optax", seconds[1], *compiling))
    return lines


def optimizers(rows: Rows) -> list[Line]:
    """One update of ResNet-50's parameters, and its trace and compile time, beside optax's."""
    lines = []
    for row in rows:
        if row["optax"]:
            name, interval = row["optimizer"], (row["ratio"], row["low"], row["high"])
            lines.append(Line(f"{name}, update", "ms", row["ours"], "optax", row["optax"], *interval, row["torch"]))
            compiling = (row["compile ratio"], row["compile low"], row["compile high"])
            lines.append(Line(f"{name}, compile", "s", row["compile ours"], "optax", row["compile optax"], *compiling))
    return lines


def regularizers(rows: Rows) -> list[Line]:
    """Fractional pooling beside 2×2 pooling, and augmentation as a share of a step."""
    named = [(row, "a train step" if "step" in row["what"] else "2×2 pooling") for row in rows]
    return [
        Line(row["what"], "ms" if rival == "a train step" else "ns", row["own"], rival, row["beside"], *_interval(row))
        for row, rival in named
    ]


def dropconnect(rows: Rows) -> list[Line]:
    """DropConnect beside the dense layer of the same width."""
    dense = {row["width"]: row["ms"] for row in rows if row["layer"] == "dense"}
    return [
        Line(
            f"DropConnect, {row['layer']}, {row['width']}²",
            "ms",
            row["ms"],
            "dense",
            dense[row["width"]],
            *_interval(row),
        )
        for row in rows
        if row["layer"] != "dense"
    ]


def ensembling(rows: Rows) -> list[Line]:
    """Averaging the predictions of several members beside evaluating one."""
    one = rows[0]
    return [
        Line(f"{row['members']} members averaged", "s", row["seconds"], "one", one["seconds"], *_interval(row))
        for row in rows[1:]
    ]


def recurrent(rows: Rows) -> list[Line]:
    """Recurrent layers, forward and backward, beside flax's, and torch's time."""
    return [
        Line(
            f"{row['cell']}, {row['shape']}",
            "ms",
            row["ours, ms"],
            "flax",
            row["flax, ms"],
            *re.findall(r"\d[\d.]*", row["ratio to flax"]),
            torch=row.get("torch, ms", ""),
        )
        for row in rows
        if row["ours, ms"]
    ]


def beam(rows: Rows) -> list[Line]:
    """Beam search over a batch beside a loop over its sentences."""
    return [
        Line(
            f"beam 5, {row['size'].partition(':')[0]}, a sentence",
            "ms",
            row["batch, ms"],
            "loop",
            row["loop, ms"],
            *_interval(row),
        )
        for row in rows
    ]


def captioning(rows: Rows) -> list[Line]:
    """The attention captioner's step and its search, beside torch's."""
    return [
        Line(f"captioner, {row['what']}", "ms", row["ours, ms"], "torch", row["torch, ms"], *_interval(row))
        for row in rows
    ]


SUMMARIES: dict[str, Callable[[Rows], list[Line]]] = {
    "startup": startup,
    "families": families,
    "optimizers": optimizers,
    "regularizers": regularizers,
    "dropconnect": dropconnect,
    "ensembling": ensembling,
    "recurrent": recurrent,
    "beam": beam,
    "captioning": captioning,
}


def write(folder: Path, path: Path) -> None:
    """Compose the page from those in `folder`; a benchmark without a page has no lines.

    Args:
        folder: of the pages NAME.md of `experiments.benchmark`.
        path: the page; its folder is beside or above `folder`.
    """
    lines: list[dict[str, Any]] = []
    machines = []
    for name, summary in SUMMARIES.items():
        page = folder / f"{name}.md"
        if page.exists():
            link = f"[{name}]({page.relative_to(path.parent)})"
            machine, rows = pages.read(page)
            machines.append(f"- {link}: {machine}")
            lines += [{"page": link} | line._asdict() for line in summary(rows)]
    about = (
        "Every benchmark in one table: medians, the ratio of ours to the rival's in the same process and rounds, with "
        "its 95 % interval, and torch's time where it has the same. The pages say what was done.\n\n"
    )
    pages.write(path, "Performance beside the rivals", about + "\n".join(machines), "", COMMAND, lines)


COMMAND = "python -m experiments.results"


def _interval(row: Mapping[str, str]) -> tuple[str, str, str]:
    return row["ratio"], row["low"], row["high"]
