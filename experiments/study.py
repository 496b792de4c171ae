"""Measure claims of the lecture: python -m experiments.study NAME [--workdir=runs/studies] [--quick]; or: list, all."""

from experiments import program  # isort: skip  (first: it sets up the allocator)

import json
import time
from pathlib import Path

from absl import flags

from cs231n_jax.report.console import ConsoleReporter
from experiments import studies
from experiments.overrides import UsageError, nearest

_WORKDIR = flags.DEFINE_string("workdir", "runs/studies", "Where figures and numbers go.")
_QUICK = flags.DEFINE_bool("quick", False, "Fewer repeats and updates: to see that it works, not for numbers.")


def main(arguments: list[str]) -> None:
    """Run the studies that are named and print what they found."""
    known = studies.registry()
    names = list(known) if arguments == ["all"] else arguments
    if not names:
        raise UsageError(f"name a study: {', '.join(known)}; or: list, all")
    if names == ["list"]:
        for name, study in known.items():
            print(f"{name:20} {(study.__doc__ or '').splitlines()[0]}")
        return
    for name in names:
        if name not in known:
            raise UsageError(f"no study is called {name!r}{nearest(name, known)}; there are {', '.join(known)}")
    workdir = Path(_WORKDIR.value)
    workdir.mkdir(parents=True, exist_ok=True)
    with ConsoleReporter() as reporter:
        for name in names:
            start = time.perf_counter()
            result = known[name](workdir, _QUICK.value)
            reporter.table(name, ("number", "value"), [(key, f"{x:.5g}") for key, x in result.numbers.items()])
            report = {"study": name, "quick": _QUICK.value, "sentence": result.sentence, "numbers": result.numbers}
            (workdir / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
            reporter.line(f"{result.sentence} ({time.perf_counter() - start:.0f} s; figure: {result.figure})")


if __name__ == "__main__":
    program.run(main)
