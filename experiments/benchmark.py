"""Measure beside torch, optax and flax: python -m experiments.benchmark NAME [--quick]; or: list, all.

`all --pages=docs/benchmarks` also composes docs/performance.md, the table of all pages.
"""

from experiments import program  # isort: skip  (first: it sets up the allocator)

import importlib
import os
import pkgutil
from pathlib import Path
from types import ModuleType

import jax
from absl import flags

from cs231n_jax.report.console import ConsoleReporter
from cs231n_jax.train import record
from experiments import benchmarks, pages, performance
from experiments.overrides import chosen

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
    names = chosen("benchmark", arguments, {name: module.TITLE for name, module in known.items()})
    if not names:
        return
    jax.config.update("jax_enable_compilation_cache", False)  # compile times are measured too
    results = {}
    with ConsoleReporter() as reporter:
        reporter.line(pages.where())
        for name in names:
            load = os.getloadavg()[0]
            results[name] = known[name].run(_QUICK.value)
            reporter.table(known[name].TITLE, *pages.table(results[name]))
            if _PAGES.value:
                page = Path(_PAGES.value) / f"{name}.md"
                command = (
                    f"python -m experiments.benchmark {name}{' --quick' if _QUICK.value else ''} --pages={page.parent}"
                )
                about = (known[name].__doc__ or "").strip()
                machine = f"{pages.where()}; load before the first round {load:.1f}"
                pages.write(page, known[name].TITLE, about, machine, command, results[name])
    if _PAGES.value and arguments == ["all"]:
        performance.write(Path(_PAGES.value), Path(_PAGES.value).parent / "performance.md")
    if _JSON.value:
        record.write_json(Path(_JSON.value), results)


if __name__ == "__main__":
    program.run(main)
