"""Markdown pages of what a command measured, with the machine, the versions and the command."""

import inspect
import platform
from collections.abc import Mapping, Sequence
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
from PIL import Image

from cs231n_jax.train import record
from experiments.studies import Result, Study

PRINTED = "Printed by"
Rows = Sequence[Mapping[str, Any]]


def where() -> str:
    """The machine and the versions that a number belongs to."""
    versions = {name: installed(name) for name in ("jax", "flax", "optax", "torch")}
    named = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    device = jax.devices()[0]
    gpu = "" if device.platform == "cpu" else f"{device.device_kind}, "
    return f"{gpu}{record.usable_cores()} cores of {record.cpu_name()}, Python {platform.python_version()}, {named}"


def installed(name: str) -> str:
    """The version of a package, "" where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def table(rows: Rows) -> tuple[list[str], list[list[str]]]:
    """The header, every key in order of appearance, and the cells as text."""
    header = list(dict.fromkeys(key for row in rows for key in row))
    return header, [[show(row.get(key, "")) for key in header] for row in rows]


def write(path: Path, title: str, about: str, machine: str, command: str, rows: Rows, answer: str = "") -> None:
    """Write a page.

    Args:
        path: NAME.md; its folder is made.
        title: the heading.
        about: what was done.
        machine: where it was measured; "" where it was not.
        command: prints the page.
        rows: the numbers.
        answer: what they say, and a picture.
    """
    header, cells = table(rows)
    stamped = f"{machine}; {date.today().isoformat()}." if machine else ""
    parts = [f"# {title}", about, answer, stamped, f"{PRINTED} `{command}`:", markdown(header, cells)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")


def rows_of(result: Result) -> Rows:
    """The table of a study; where it has none, its numbers."""
    return result.rows or [{"number": key, "value": float(value)} for key, value in result.numbers.items()]


def of_study(folder: Path, name: str, study: Study, result: Result, took: str, command: str) -> None:
    """Write the page NAME.md of a study and its figure beside it.

    Args:
        folder: where they go.
        name: the study's.
        study: its docstring says what was done.
        result: what it found.
        took: the time.
        command: the program of experiments and its arguments, without --pages.
    """
    title, _, about = (inspect.getdoc(study) or "").partition("\n")
    picture = f"{result.sentence}\n\n![{name}]({name}.png)"
    printed = f"python -m experiments.{command} --pages={folder}"
    write(folder / f"{name}.md", title, about.strip(), f"{where()}; {took}", printed, rows_of(result), picture)
    with Image.open(result.figure) as figure:  # a repository keeps it: sixty-four colours are a fifth of the bytes
        figure.quantize(64).save(folder / f"{name}.png", optimize=True)


def read(path: Path) -> tuple[str, list[dict[str, str]]]:
    """What `write` wrote: the line of machine and date, and the rows, every cell as text."""
    text = path.read_text(encoding="utf-8")
    before, _, after = text.partition(f"\n\n{PRINTED} ")
    header, _, *cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in after.splitlines() if line.startswith("|")
    ]
    return before.rpartition("\n\n")[2], [dict(zip(header, row)) for row in cells]


def markdown(header: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """A table."""
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *cells))


def show(value: Any) -> str:
    """A number with five digits, anything else as it is."""
    return f"{value:.5g}" if isinstance(value, float) else str(value)
