"""Replay a record and compare every number: python -m experiments.reproduce experiments/pinned/NAME [--steps=N].

A folder of records instead of one replays each of them, in a process of its own; `all` is experiments/pinned. With
--steps each is replayed at least to the first line that it keeps, and which environments differ is said at the end.
"""

from experiments import program  # isort: skip  (first: it sets up the allocator)

import subprocess
import sys
import time
from pathlib import Path

from absl import flags

from cs231n_jax.report.console import ConsoleReporter
from cs231n_jax.train.record import Lines, read_json
from cs231n_jax.train.reproduce import read_config, reproduce

_STEPS = flags.DEFINE_integer("steps", 0, "Compare only the first so many updates; 0: all.", lower_bound=0)
PINNED = Path(__file__).with_name("pinned")
EQUAL, NOT = "are equal", "were not replayed"
ELSEWHERE, HERE = "differ, and so does the environment", "differ, in the environment of the record"
_WORKDIR = flags.DEFINE_string("workdir", "", "Where to replay; default: a new runs/reproduce_NAME_TIME.")


def main(arguments: list[str]) -> int:
    """Replay and say what was found; 0 if every line is equal."""
    if len(arguments) != 1:
        raise program.UsageError("give one record: python -m experiments.reproduce experiments/pinned/NAME; or: all")
    folder = PINNED if arguments == ["all"] else Path(arguments[0])
    now = time.strftime("%Y%m%d_%H%M%S")
    if not (folder / "config.json").exists() and (records := sorted(p.parent for p in folder.rglob("config.json"))):
        return replay_all(folder, records, _STEPS.value, Path(_WORKDIR.value or f"runs/reproduce_{now}"))
    recorded = Path(arguments[0])
    workdir = Path(_WORKDIR.value or f"runs/reproduce_{recorded.resolve().name}_{now}")
    program.prepare(read_config(recorded))
    with ConsoleReporter() as reporter:
        found = reproduce(recorded, workdir, _STEPS.value, reporter, program.process_start())
    for line in found.environment:
        print(f"environment differs, {line}")
    if found.difference:
        print(f"first difference: {found.difference}")
        elsewhere = ", in another environment" if _is_elsewhere(found.environment) else ""
        told = ", ".join(f"{name} {value:.1e}" for name, value in found.largest.items())
        print(f"largest relative differences{elsewhere}: {told or 'no line has been replayed'}")
        return program.ERROR
    print(f"all {found.lines} lines of metrics.jsonl are equal")
    return program.DONE


def replay_all(folder: Path, records: list[Path], steps: int, workdir: Path) -> int:
    """Replay the first updates of every record, at least to the first line that it keeps; 0 if all are equal.

    Where that line lies beyond `steps`, what another kind of device recorded is left: it cannot be equal here.

    Args:
        folder: where the records are.
        records: their directories below it.
        steps: 0: all updates.
        workdir: a folder for the replays, a subfolder each.
    """
    ask = [sys.executable, "-c", "import jax; print(jax.default_backend())"]  # elsewhere: a GPU is for the replays
    here = subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip()
    outcomes: dict[str, list[str]] = {EQUAL: [], ELSEWHERE: [], HERE: [], NOT: []}
    for recorded in records:
        name = str(recorded.relative_to(folder))
        first = next(iter(Lines(recorded / "metrics.jsonl").read()), {"step": 0})["step"]
        needed = max(steps, first) if steps else 0
        print(f"{name}, {f'{needed} updates' if needed else 'all updates'}:", flush=True)
        if needed > steps and (made := _made_on(recorded)) != here:
            print(f"environment differs, device.platform: '{made}' → '{here}'")
            outcomes[NOT].append(name)
            continue
        replay = workdir / name
        command = [sys.executable, "-m", "experiments.reproduce", str(recorded), f"--steps={needed}"]
        done = subprocess.run([*command, f"--workdir={replay}"])
        outcomes[_outcome(done.returncode, replay / ".reproduced.json")].append(name)
    print(f"{len(outcomes[EQUAL])} of {len(records)} records are equal")
    for outcome in (ELSEWHERE, HERE, NOT):
        if outcomes[outcome]:
            print(f"{len(outcomes[outcome])} {outcome}: {', '.join(outcomes[outcome])}")
    return program.DONE if len(outcomes[EQUAL]) == len(records) else program.ERROR


def _made_on(recorded: Path) -> str:
    environment = recorded / "environment.json"
    return read_json(environment)["device"]["platform"] if environment.exists() else ""


def _outcome(status: int, found: Path) -> str:
    if status == program.DONE:
        return EQUAL
    if not found.exists():
        return NOT
    return ELSEWHERE if _is_elsewhere(read_json(found)["environment"]) else HERE


def _is_elsewhere(differences: list[str]) -> bool:
    """Whether more than the code differs from where the record was made."""
    return any(not line.startswith(("commit", "dirty")) for line in differences)


if __name__ == "__main__":
    program.run(main)
