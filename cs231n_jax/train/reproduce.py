"""Replays a record and says whether, and if not where first, the numbers differ."""

from pathlib import Path
from typing import Any, NamedTuple

from cs231n_jax.config import Config
from cs231n_jax.train import record
from cs231n_jax.train.assemble import assemble
from cs231n_jax.train.loop import Loop, Reporter
from cs231n_jax.train.signals import StopRequest


class Comparison(NamedTuple):
    """What a replay found."""

    lines: int  # lines of metrics.jsonl compared
    difference: str  # the first one, "" if there is none
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
    """Replay a record in a fresh directory and compare metrics.jsonl line by line, as text.

    Args:
        recorded: a directory with config.json, environment.json and metrics.jsonl.
        workdir: where to replay; an interrupted replay there is continued.
        steps: stop after so many updates; 0: the whole run.
        reporter: told of the progress.
        started: time.time() at the start of the process.

    Raises:
        WorkdirError: the directory holds something else, or the record has no line within `steps`.
    """
    config = read_config(recorded)
    assembly = assemble(config)
    with record.locked(workdir), StopRequest() as stop:
        record.claim(workdir, config, {})
        environment = record.environment(assembly.fingerprints())
        record.write_json(workdir / "environment.json", environment)
        loop = Loop(assembly, workdir, reporter, stop, started)
        loop.run(until=steps)
        here = loop.metrics.read()
    there = record.Lines(recorded / "metrics.jsonl").read()
    last = steps or assembly.total_steps
    there = [line for line in there if line["step"] <= last]
    here = [line for line in here if line["step"] <= last]
    if not there:
        raise record.WorkdirError(f"the record has no line within {last} updates: pass a larger --steps, or none")
    return Comparison(
        len(there),
        first_difference(there, here),
        record.differences(record.read_json(recorded / "environment.json"), environment),
    )


def first_difference(there: list[dict[str, Any]], here: list[dict[str, Any]]) -> str:
    """The first value that differs, as 'step 8 train loss: 2.3 → 2.4'; "" if all lines are equal."""
    for a, b in zip(there, here):
        if a != b:
            return f"step {a.get('step')} {a.get('split')} {record.differences(a, b)[0]}"
    if len(there) != len(here):
        return f"the record has {len(there)} lines, the replay {len(here)}"
    return ""
