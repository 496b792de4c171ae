"""Measure beside torch, optax and flax: python -m experiments.benchmark NAME [--quick]; or: list, all."""

from experiments import program  # isort: skip  (first: it sets up the allocator)

import importlib
import json
import os
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
from absl import flags

from cs231n_jax.report.console import ConsoleReporter
from experiments import benchmarks
from experiments.overrides import UsageError, nearest

_QUICK = flags.DEFINE_bool("quick", False, "Fewer rounds: to see that it works, not for numbers.")
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
        reporter.line(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, jax {jax.__version__}")
        for name in names:
            results[name] = known[name].run(_QUICK.value)
            header = list(dict.fromkeys(key for row in results[name] for key in row))
            rows = [[show(row.get(key, "")) for key in header] for row in results[name]]
            reporter.table(known[name].TITLE, header, rows)
    if _JSON.value:
        Path(_JSON.value).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def show(value: Any) -> str:
    """A number with four digits, anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    program.run(main)
