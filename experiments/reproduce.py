"""Replay a record and compare every number: python -m experiments.reproduce experiments/pinned/NAME [--steps=N]."""

from experiments import program  # isort: skip  (first: it sets up the allocator)

import time
from pathlib import Path

from absl import flags

from cs231n_jax.report.console import ConsoleReporter
from cs231n_jax.train.reproduce import read_config, reproduce

_STEPS = flags.DEFINE_integer("steps", 0, "Compare only the first so many updates; 0: all.", lower_bound=0)
_WORKDIR = flags.DEFINE_string("workdir", "", "Where to replay; default: a new runs/reproduce_NAME_TIME.")


def main(arguments: list[str]) -> int:
    """Replay and say what was found; 0 if every line is equal."""
    if len(arguments) != 1:
        raise program.UsageError("give one record: python -m experiments.reproduce experiments/pinned/NAME")
    recorded = Path(arguments[0])
    now = time.strftime("%Y%m%d_%H%M%S")
    workdir = Path(_WORKDIR.value or f"runs/reproduce_{recorded.resolve().name}_{now}")
    program.prepare(read_config(recorded))
    with ConsoleReporter() as reporter:
        found = reproduce(recorded, workdir, _STEPS.value, reporter, program.process_start())
    for line in found.environment:
        print(f"environment differs, {line}")
    if found.difference:
        print(f"first difference: {found.difference}")
        return program.ERROR
    print(f"all {found.lines} lines of metrics.jsonl are equal")
    return program.DONE


if __name__ == "__main__":
    program.run(main)
