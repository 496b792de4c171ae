"""Measure claims of the lecture: python -m experiments.study NAME [--pages=docs/studies] [--quick]; or: list, all.

Of a study with long trainings --runs=NAME_seed0,… does some alone and keeps what they find: several such commands may
fill one --workdir at the same time, and the command without it then prints the page of what is kept.
"""

from experiments import program  # isort: skip  (first: it sets up the allocator)

import time
from pathlib import Path

from absl import flags

from cs231n_jax.report.console import ConsoleReporter
from cs231n_jax.train import record
from experiments import pages, studies
from experiments.overrides import UsageError, chosen

_WORKDIR = flags.DEFINE_string("workdir", "runs/studies", "Where figures and numbers go.")
_PAGES = flags.DEFINE_string("pages", "", "A folder for a page NAME.md and the figure of each study.")
_QUICK = flags.DEFINE_bool("quick", False, "Fewer repeats and updates: to see that it works, not for numbers.")
_RUNS = flags.DEFINE_list("runs", [], "Do these trainings of a study alone and print no page: NET_seedN, or all.")


def main(arguments: list[str]) -> None:
    """Run the studies that are named and print what they found."""
    known = studies.registry()
    names = chosen("study", arguments, {name: (study.__doc__ or "").splitlines()[0] for name, study in known.items()})
    if not names:
        return
    workdir = Path(_WORKDIR.value)
    if _RUNS.value:
        _train(names, workdir)
        return
    with ConsoleReporter() as reporter:
        for name in names:
            workdir.mkdir(parents=True, exist_ok=True)
            start = time.perf_counter(), time.process_time()
            result = known[name](workdir, _QUICK.value)
            seconds, processor = time.perf_counter() - start[0], time.process_time() - start[1]
            took = f"{seconds:.0f} s, {processor:.0f} s of processor time"  # of all threads; others may have shared it
            reporter.table(name, *pages.table(pages.rows_of(result)))
            report = {"study": name, "quick": _QUICK.value, "sentence": result.sentence, "numbers": result.numbers}
            record.write_json(workdir / f"{name}.json", report)
            reporter.line(f"{result.sentence} ({took}; figure: {result.figure})")
            if _PAGES.value:
                command = f"study {name}{' --quick' if _QUICK.value else ''}"
                pages.of_study(Path(_PAGES.value), name, known[name], result, took, command)


def _train(names: list[str], workdir: Path) -> None:
    known = studies.trainings()
    for name in names:
        if name not in known:
            raise UsageError(f"--runs is for studies with long trainings, {', '.join(known)}; {name} is none: leave it")
    for name in names:
        for sentence in known[name](workdir, _QUICK.value, _RUNS.value):
            print(sentence, flush=True)


if __name__ == "__main__":
    program.run(main)
