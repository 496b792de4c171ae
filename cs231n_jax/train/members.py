"""The member snapshots of one or of several runs: which they are, whether they fit together, how to read them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cs231n_jax.config import Config, differences, to_json
from cs231n_jax.train import carry, record, snapshots
from cs231n_jax.typing import ModelState, Params

OWN = ("batch_size", "eval_batch_size", "augment", "augment_padding", "window")  # of data, each run's own affair


class Member(NamedTuple):
    """A snapshot of a run."""

    workdir: Path
    step: int


def find(workdirs: Sequence[Path], last: int = 0, steps: Sequence[int] = ()) -> list[Member]:
    """The members to compare, run by run, oldest first.

    Args:
        workdirs: run directories.
        last: only the newest so many of each run; 0: all.
        steps: these snapshots of each run instead, members or not.

    Raises:
        FileNotFoundError: there is no run, no member, or no snapshot of that step.
        ValueError: a run has fewer members than asked for, the runs do not belong together, or one is named twice.
    """
    if len(set(workdirs)) != len(workdirs):
        raise ValueError(f"a run is named twice among {', '.join(map(str, workdirs))}: name each once")
    _check_same([(workdir, record.stored_config(workdir)) for workdir in workdirs])
    found = []
    for workdir in workdirs:
        there = snapshots.members(workdir)
        if steps:
            there = [snapshots.resolve(workdir, step) for step in steps]
        elif not there:
            raise FileNotFoundError(f"{workdir} has no member snapshots: train with --config.snapshots.members=5")
        elif last > len(there):
            raise ValueError(f"--last={last} but {workdir} has {len(there)} member snapshots, at steps {there}")
        found += [Member(workdir, step) for step in there[-last:]]
    return found


def _check_same(runs: Sequence[tuple[Path, Config]]) -> None:
    """Refuse runs whose outputs cannot be averaged: other tasks, networks, data or preprocessing."""
    first_dir, first = runs[0]
    for workdir, other in runs[1:]:
        if found := differences(_essence(first), _essence(other)):
            raise ValueError(
                f"{first_dir} and {workdir} do not belong together ({found[0]}): members need the same task, model, "
                "classes and preprocessing"
            )


def _essence(config: Config) -> dict[str, Any]:
    data = {name: value for name, value in to_json(config.data).items() if name not in OWN}
    return {"task": config.task.name, "model": to_json(config.model), "data": data}


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


def whole(members: Sequence[Member], warn: Callable[[str], None]) -> list[Member]:
    """Those that match their manifests; `warn` is told of each other one.

    Raises:
        DamagedSnapshotError: none does.
    """
    kept = []
    for member in members:
        try:
            snapshots.manifest(*member)
        except snapshots.DamagedSnapshotError as error:
            warn(f"left out: {error}")
        else:
            kept.append(member)
    if not kept:
        raise snapshots.DamagedSnapshotError(f"all {len(members)} members are damaged: there is nothing to average")
    return kept
