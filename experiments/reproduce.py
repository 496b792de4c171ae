"""Replay a record and compare every number: python -m experiments.reproduce experiments/pinned/NAME [--steps=N].

A folder of records instead of one replays each of them, in a process of its own; `all` is experiments/pinned.
"""

from experiments import program  # isort: skip  (first: it sets up the allocator)

import subprocess
import sys
import time
from pathlib import Path

from absl import flags

from cs231n_jax.report.console import ConsoleReporter
from cs231n_jax.train.reproduce import read_config, reproduce

_STEPS = flags.DEFINE_integer("steps", 0, "Compare only the first so many updates; 0: all.", lower_bound=0)
PINNED = Path(__file__).with_name("pinned")
_WORKDIR = flags.DEFINE_string("workdir", "", "Where to replay; default: a new runs/reproduce_NAME_TIME.")


def main(arguments: list[str]) -> int:
    """Replay and say what was found; 0 if every line is equal."""
    if len(arguments) != 1:
        raise program.UsageError("give one record: python -m experiments.reproduce experiments/pinned/NAME; or: all")
    folder = PINNED if arguments == ["all"] else Path(arguments[0])
    if not (folder / "config.json").exists() and (records := sorted(p.parent for p in folder.glob("*/config.json"))):
        return replay_all(records, _STEPS.value, _WORKDIR.value)
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
        elsewhere = ", in another environment" if found.environment else ""
        told = ", ".join(f"{name} {value:.1e}" for name, value in found.largest.items())
        print(f"largest relative differences{elsewhere}: {told or 'no line has been replayed'}")
        return program.ERROR
    print(f"all {found.lines} lines of metrics.jsonl are equal")
    return program.DONE


def replay_all(records: list[Path], steps: int, workdir: str) -> int:
    """Replay the first updates of every record; 0 if all are equal.

    Args:
        records: their directories.
        steps: 0: all updates.
        workdir: a folder for the replays, a subfolder each; "" for the default.
    """
    different = []
    for recorded in records:
        print(f"{recorded.name}:", flush=True)
        command = [sys.executable, "-m", "experiments.reproduce", str(recorded), f"--steps={steps}"]
        command += [f"--workdir={Path(workdir) / recorded.name}"] if workdir else []
        if subprocess.run(command).returncode:
            different.append(recorded.name)
    equal = len(records) - len(different)
    print(f"{equal} of {len(records)} records are equal" + (f", and not {', '.join(different)}" if different else ""))
    return program.ERROR if different else program.DONE


if __name__ == "__main__":
    program.run(main)
