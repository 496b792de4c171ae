"""Markdown pages of what a command measured, with the machine, the versions and the command."""

import platform
from collections.abc import Mapping, Sequence
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from cs231n_jax.train import record

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
