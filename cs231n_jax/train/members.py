"""The member snapshots of one or of several runs: which they are, whether they fit together, how to read them."""

import itertools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cs231n_jax.config import Config, differences, to_json
from cs231n_jax.train import carry, record, snapshots
from cs231n_jax.train.assemble import member_steps
from cs231n_jax.typing import ModelState, Params

# Of data, what is each run's own; whether what lies in two places is the same, fingerprints tell.
OWN = ("dir", "batch_size", "eval_batch_size", "augment", "augment_padding", "window", "limit")


class Member(NamedTuple):
    """A snapshot of a run."""

    workdir: Path
    step: int


def find(
    workdirs: Sequence[Path], last: int = 0, steps: Sequence[int] = (), leave_out: Callable[[str], None] | None = None
) -> list[Member]:
    """The members to compare, run by run, oldest first.

    Args:
        workdirs: run directories.
        last: only the newest so many of each run; 0: all.
        steps: these snapshots of each run instead, members or not, in any order.
        leave_out: go on without members that do not match their manifests, `last` counting whole ones; told of each.

    Raises:
        FileNotFoundError: there is no run, no member, or no snapshot of that step.
        ValueError: a run has fewer members than asked for, the runs do not belong together, or a run or a step is named
            twice.
        DamagedSnapshotError: all members are damaged and to be left out.
    """
    _named_once(workdirs, steps)
    _check_same([(workdir, record.stored_config(workdir)) for workdir in workdirs])
    found = [Member(workdir, step) for workdir in workdirs for step in _of_run(workdir, last, sorted(steps), leave_out)]
    if not found:
        raise snapshots.DamagedSnapshotError("all members are damaged: there is nothing to average")
    return found


def _named_once(workdirs: Sequence[Path], steps: Sequence[int]) -> None:
    places = [workdir.resolve() for workdir in workdirs]
    if twice := [str(workdir) for workdir, place in zip(workdirs, places) if places.count(place) > 1]:
        raise ValueError(f"a run is named twice, as {' and '.join(twice)}: name each once")
    if twice := [str(step) for step in dict.fromkeys(steps) if steps.count(step) > 1]:
        raise ValueError(f"the snapshot at step {twice[0]} is named twice: name each once")


def _of_run(workdir: Path, last: int, steps: list[int], leave_out: Callable[[str], None] | None) -> list[int]:
    there = [snapshots.resolve(workdir, step) for step in steps] if steps else snapshots.members(workdir)
    if not there:
        raise FileNotFoundError(f"{workdir} has no member snapshots: train with --config.snapshots.members=5")
    if leave_out:
        there = _whole(workdir, there, last, leave_out)
    if last > len(there):
        kind = "whole member snapshots" if leave_out else "member snapshots"
        raise ValueError(f"--last={last} but {workdir} has {len(there)} {kind}, at steps {there}")
    return there[-last:]


def _whole(workdir: Path, steps: list[int], last: int, leave_out: Callable[[str], None]) -> list[int]:
    """Those that match their manifests, oldest first; of `last` above 0, the newest so many."""
    kept: list[int] = []
    for step in reversed(steps):
        if last and len(kept) == last:
            break
        try:
            snapshots.manifest(workdir, step)
        except snapshots.DamagedSnapshotError as error:
            leave_out(f"left out: {error}")
        else:
            kept.insert(0, step)
    return kept


def gone(workdir: Path) -> list[int]:
    """The steps of the members that a finished run has no more; a run under way tells of its own at its end."""
    path = workdir / "result.json"
    if not path.exists():
        return []
    last = record.read_json(path).get("eval", {})  # at the end of the run
    if not last.get("epoch"):
        return []
    planned = member_steps(record.stored_config(workdir).snapshots, last["step"], round(last["step"] / last["epoch"]))
    return sorted({*planned} - {*snapshots.members(workdir)})


def _check_same(runs: Sequence[tuple[Path, Config]]) -> None:
    """Refuse runs whose outputs cannot be averaged: other tasks, networks, data or preprocessing."""
    for one, other in itertools.combinations(runs, 2):
        if found := differences(_essence(one[1]), _essence(other[1])) or _other_data(one, other):
            raise ValueError(
                f"{one[0]} and {other[0]} do not belong together ({found[0]}): members need the same task, model, "
                "classes, data and preprocessing"
            )


def _essence(config: Config) -> dict[str, Any]:
    data = {name: value for name, value in to_json(config.data).items() if name not in OWN}
    parts = {name: to_json(getattr(config, name)) for name in ("model", "encoder")}
    return {"task": config.task.name, **parts, "data": data}


def _other_data(a: tuple[Path, Config], b: tuple[Path, Config]) -> list[str]:
    """The splits whose content was not the same when the runs began; a training split that one of them cut may differ.

    Of weights that were imported no content is known.
    """
    one, other = (fingerprints(workdir) for workdir, _ in (a, b))
    if not one or not other:
        return []
    cut = {a[1].data.train_split} if a[1].data.limit != b[1].data.limit and len(one) > 1 else set()
    differing = (name for name in {*one} & {*other} - cut if one[name] != other[name])
    return [f"the data of split {name} is another" for name in sorted(differing)]


def fingerprints(workdir: Path) -> dict[str, str]:
    """SHA-256 of the data by split: of a run when it began, of an average those of the run it is called after."""
    path, steps = workdir / "environment.json", snapshots.steps(workdir)
    if path.is_file():
        return record.read_json(path).get("data", {})
    return snapshots.manifest(workdir, steps[-1]).get("data", {}) if steps else {}


def reference(members: Sequence[Member]) -> tuple[Path, Config]:
    """The run whose training data re-estimates batch statistics, the one with the most of it, and its config.

    Among equals the first by its JSON form, so that the order in which runs are named does not matter.
    """
    runs = {member.workdir: record.stored_config(member.workdir) for member in members}
    return min(runs.items(), key=lambda run: (-(run[1].data.limit or math.inf), json.dumps(to_json(run[1]))))


def newest_first(members: Sequence[Member]) -> list[int]:
    """The places of the members in `members` by falling step, equal ones by their runs' configs."""
    configs = {run: json.dumps(to_json(record.stored_config(run))) for run in {member.workdir for member in members}}
    return sorted(range(len(members)), key=lambda i: (-members[i].step, configs[members[i].workdir]))


def names(members: Sequence[Member]) -> list[str]:
    """What to call each: "snapshot at step 84", and of several runs "seed0 at step 84"."""
    called = run_names(members)
    return [f"{called[run] if len(called) > 1 else 'snapshot'} at step {step}" for run, step in members]


def run_names(members: Sequence[Member]) -> dict[Path, str]:
    """What to call each run: the name of its directory, or where two have one name its path."""
    runs = dict.fromkeys(member.workdir for member in members)
    short = {run: (run if run.name not in ("", "..") else run.resolve()).name for run in runs}
    return short if len({*short.values()}) == len(short) else {run: str(run) for run in runs}


def load(member: Member) -> tuple[Params, ModelState]:
    """Parameters and state of a member, without a carry.

    Raises:
        DamagedSnapshotError: it does not match its manifest; the message says what to do.
    """
    try:
        _, params, model_state = snapshots.load(member.workdir, member.step)
    except snapshots.DamagedSnapshotError as error:
        raise snapshots.DamagedSnapshotError(
            f"{error}; put a copy of it back, or leave this member out (experiments.ensemble --leave_out_damaged)"
        ) from error
    return params, carry.without(model_state)
