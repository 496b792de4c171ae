"""Replays a record and says whether, and if not where first, the numbers differ."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import jax

from cs231n_jax.config import Config
from cs231n_jax.train import record
from cs231n_jax.train.assemble import assemble
from cs231n_jax.train.loop import Loop, Reporter
from cs231n_jax.train.signals import StopRequest


class Comparison(NamedTuple):
    """What a replay found."""

    lines: int  # lines of metrics.jsonl compared
    difference: str  # the first one, "" if there is none
    largest: dict[str, float]  # what `largest_differences` gives
    environment: list[str]  # what is different here from where the record was made


def read_config(recorded: Path) -> Config:
    """The config of a record.

    Raises:
        FileNotFoundError: the directory holds no record.
        ValueError: its config.json is not a config of this version.
    """
    for name in ("config.json", "metrics.jsonl", "environment.json"):
        if not (recorded / name).is_file():
            raise FileNotFoundError(f"{recorded} is no record: it has no {name}")
    return record.stored_config(recorded)


def reproduce(recorded: Path, workdir: Path, steps: int, reporter: Reporter, started: float) -> Comparison:
    """Replay a record in a directory of its own and compare metrics.jsonl line by line, value by value.

    Args:
        recorded: a directory with config.json, environment.json and metrics.jsonl.
        workdir: where to replay: empty, or with an interrupted replay of the same record by the same code.
        steps: stop after so many updates; 0: the whole run.
        reporter: told of the progress.
        started: time.time() at the start of the process.

    Raises:
        ValueError: the record has no line within `steps`, or fewer updates.
        WorkdirError: the directory holds something else.
    """
    config = read_config(recorded)
    recorded_environment = record.read_json(recorded / "environment.json")
    if recorded_environment["device"]["platform"] != "cpu" and jax.default_backend() == "cpu":
        config.train.steps_per_call = 1  # convolutions in a compiled loop run on one core there
    assembly = assemble(config)
    last = steps or assembly.total_steps
    there = [line for line in record.Lines(recorded / "metrics.jsonl").read() if line["step"] <= last]
    if last > assembly.total_steps or not there:
        raise ValueError(f"--steps={steps}: the record has {assembly.total_steps} updates and no line before the first")
    with StopRequest() as stop, record.locked(workdir):
        environment = record.environment(assembly.fingerprints())
        _claim(workdir, {"record": str(recorded.resolve()), "environment": environment})
        record.claim(workdir, config, {})
        loop = Loop(assembly, workdir, reporter, stop, started)
        loop.run(until=steps)
        here = [line for line in loop.metrics.read() if line["step"] <= last]
        found = Comparison(
            len(there),
            first_difference(there, here),
            largest_differences(there, here),
            record.differences(recorded_environment, environment),
        )
        record.write_json(workdir / ".reproduced.json", found._asdict())
    return found


def _claim(workdir: Path, replay: dict[str, Any]) -> None:
    """Take an empty directory, or go on with an unfinished replay of this record by this very code."""
    marker = workdir / ".replay.json"
    if not any(path.name != ".lock" for path in workdir.iterdir()):
        record.write_json(marker, replay)
        return
    same = marker.exists() and record.read_json(marker) == replay and not replay["environment"]["dirty"]
    if not same or (workdir / ".reproduced.json").exists():
        raise record.WorkdirError(
            f"workdir {workdir} holds something else or a finished replay: pass an empty --workdir"
        )


def first_difference(there: list[dict[str, Any]], here: list[dict[str, Any]]) -> str:
    """The first value of a record that differs, as 'step 8 train loss: 2.3 → 2.4'; "" if all its lines are equal.

    A record of a long run may keep a part of its lines; what else the replay has is not looked at.
    """
    replayed = {(line["step"], line["split"]): line for line in here}
    for line in there:
        at = line["step"], line["split"]
        if at not in replayed:
            return f"step {at[0]} {at[1]}: the replay has no such line"
        if line != replayed[at]:
            return f"step {at[0]} {at[1]} {record.differences(line, replayed[at])[0]}"
    return ""


def largest_differences(there: list[dict[str, Any]], here: list[dict[str, Any]]) -> dict[str, float]:
    """How far the numbers of a replay are from those of the record, by what they measure ("train loss").

    The largest |a − b| / max(|a|, |b|) over the lines that both have, a the record's number and b the replay's; 0 where
    a = b, infinite where only one of them is finite. "step" and "epoch" say where a line is and are not looked at.
    """
    replayed = {(line["step"], line["split"]): line for line in here}
    largest: dict[str, float] = {}
    for line in there:
        other = replayed.get((line["step"], line["split"]), {})
        for name in (key for key in line if key in other and key not in ("step", "epoch", "split")):
            found = _relative(line[name], other[name])
            measured = f"{line['split']} {name}"
            largest[measured] = max(found, largest.get(measured, 0.0))
    return largest


def _relative(a: float | None, b: float | None) -> float:
    """What is not finite is written as null, and read as None."""
    if a is None or b is None:
        return 0.0 if a is b else math.inf
    return abs(a - b) / max(abs(a), abs(b)) if a != b else 0.0
