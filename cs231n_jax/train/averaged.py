"""The average of some members as a run directory of its own, that every program can load, with its provenance."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cs231n_jax.train import record, snapshots
from cs231n_jax.train.evaluator import Weights
from cs231n_jax.train.members import Member, fingerprints, reference

CLAIM = ("config.json", "overrides.json", "snapshots")  # what a kill may leave before anything was saved


def check(members: Sequence[Member], workdir: Path) -> None:
    """Refuse a directory that `save` would refuse, before anything is computed; nothing is written there.

    Raises:
        WorkdirError: it cannot be written, or holds something else than this average.
    """
    if _saved(members, workdir):
        return
    near = next(path for path in (workdir, *workdir.absolute().parents) if path.exists())
    if not near.is_dir() or not os.access(near, os.W_OK | os.X_OK):
        raise record.WorkdirError(f"cannot write to workdir {workdir}: pass another directory")
    names = sorted(path.name for path in workdir.iterdir()) if workdir.exists() else []
    if strangers := [name for name in names if not name.startswith(".") and name not in CLAIM]:
        raise record.WorkdirError(f"workdir {workdir} holds {strangers[0]} already: pass an empty or a new directory")


def save(members: Sequence[Member], weights: Weights, workdir: Path) -> Path:
    """Make the average a member snapshot in a run directory of its own.

    After a kill at any moment the same call makes it whole, or finds that it is.

    Args:
        members: what was averaged.
        weights: parameters and state, from `ensemble.compare`.
        workdir: a new or empty directory.

    Returns:
        the snapshot's directory.

    Raises:
        WorkdirError: the directory cannot be written, or holds something else than this average.
    """
    check(members, workdir)
    with record.locked(workdir):
        if saved := _saved(members, workdir):
            return saved
        snapshots.clean(workdir)
        run, config = reference(members)
        record.claim(workdir, config, {})
        step = max(member.step for member in members)
        about = {"averaged": origin(members), "data": fingerprints(run)}
        return snapshots.save_weights(workdir, step, *weights, about)


def origin(members: Sequence[Member]) -> list[dict[str, Any]]:
    """Which snapshots they are: workdir, step, and the SHA-256 of the content."""
    return [{"workdir": str(m.workdir.resolve()), "step": m.step, "sha256": snapshots.digest(*m)} for m in members]


def _saved(members: Sequence[Member], workdir: Path) -> Path | None:
    """The snapshot of this very average where it is there, None where there is no snapshot.

    Raises:
        WorkdirError: there are others.
    """
    there = snapshots.steps(workdir)
    if not there:
        return None
    known = snapshots.manifest(workdir, there[-1]).get("averaged", [])
    wanted = sorted(snapshots.digest(*member) for member in members)
    if len(there) > 1 or sorted(one["sha256"] for one in known) != wanted:
        raise record.WorkdirError(
            f"workdir {workdir} holds snapshots already, and not this average: pass an empty or a new directory"
        )
    return snapshots.directory(workdir, there[-1])
