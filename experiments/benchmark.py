"""Measure beside torch, optax and flax: python -m experiments.benchmark NAME [--quick]; or: list, all."""

from experiments import program  # isort: skip  (first: it sets up the allocator)

import importlib
import json
import os
import pkgutil
import platform
from datetime import date
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
from absl import flags

from cs231n_jax.report.console import ConsoleReporter
from cs231n_jax.train import record
from experiments import benchmarks
from experiments.overrides import UsageError, nearest

_QUICK = flags.DEFINE_bool("quick", False, "Fewer rounds: to see that it works, not for numbers.")
_PAGES = flags.DEFINE_string("pages", "", "A folder for a page NAME.md of each benchmark.")
_JSON = flags.DEFINE_string("json", "", "A file that gets the rows as JSON.")


def registry() -> dict[str, ModuleType]:
    """The modules of experiments.benchmarks that have a TITLE and a run."""
    names = [module.name for module in pkgutil.iter_modules(benchmarks.__path__)]
    names = [name for name in names if not name.startswith("plain_")]  # scripts of the rivals, one of which needs torch
    modules = {name: importlib.import_module(f"{benchmarks.__name__}.{name}") for name in names}
    return {name: module for name, module in modules.items() if hasattr(module, "TITLE") and hasattr(module, "run")}


def main(arguments: list[str]) -> None:
    """Run the benchmarks that are named and print their tables."""
    known = registry()
    names = list(known) if arguments == ["all"] else arguments
    if not names:
        raise UsageError(f"name a benchmark: {', '.join(known)}; or: list, all")
    if names == ["list"]:
        for name, module in known.items():
            print(f"{name:20} {module.TITLE}")
        return
    for name in names:
        if name not in known:
            raise UsageError(f"no benchmark is called {name!r}{nearest(name, known)}; there are {', '.join(known)}")
    jax.config.update("jax_enable_compilation_cache", False)  # compile times are measured too
    results = {}
    with ConsoleReporter() as reporter:
        reporter.line(where())
        for name in names:
            load = os.getloadavg()[0]
            results[name] = known[name].run(_QUICK.value)
            header = list(dict.fromkeys(key for row in results[name] for key in row))
            rows = [[show(row.get(key, "")) for key in header] for row in results[name]]
            reporter.table(known[name].TITLE, header, rows)
            if _PAGES.value:
                write_page(Path(_PAGES.value) / f"{name}.md", known[name], load, [header, *rows])
    if _JSON.value:
        Path(_JSON.value).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


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


def write_page(path: Path, module: ModuleType, load: float, table: list[list[str]]) -> None:
    """The table with where, when and how it was measured."""
    command = f"python -m experiments.benchmark {path.stem}{' --quick' if _QUICK.value else ''} --pages={path.parent}"
    lines = ["| " + " | ".join(row) + " |" for row in table]
    lines.insert(1, "|" + " --- |" * len(table[0]))
    about = f"{where()}; load before the first round {load:.1f}; {date.today().isoformat()}."
    words = [f"# {module.TITLE}", (module.__doc__ or "").strip(), about, f"Printed by `{command}`:", "\n".join(lines)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(words) + "\n", encoding="utf-8")


def show(value: Any) -> str:
    """A number with four digits, anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    program.run(main)
