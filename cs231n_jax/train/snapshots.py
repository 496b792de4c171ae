"""Snapshots on disk: written whole or not at all, checked when read, readable on any number of devices.

A snapshot is a directory `snapshots/step_00000123/` with the orbax tree in `state/` and a `manifest.json` that holds
the SHA-256 of every file. It is written under a temporary name, synced, and renamed; what has no valid manifest does
not exist. The tree is plain nested dicts, so no template is needed to read it.
"""

import contextlib
import enum
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cs231n_jax.models.functional import path_name
from cs231n_jax.optim.schedules import duration
from cs231n_jax.train import processes
from cs231n_jax.train.state import TrainState
from cs231n_jax.typing import ModelState, Params, PyTree

FORMAT = 1
_NAME = re.compile(r"step_(\d{8})$")


class Kind(enum.Enum):
    """Why a snapshot was written: to continue (pruned), or as a member of an ensemble (kept)."""

    RESUME = "resume"
    MEMBER = "member"


class DamagedSnapshotError(Exception):
    """A snapshot whose files do not match its manifest."""


@dataclass(kw_only=True, slots=True)
class SnapshotConfig:
    """How many members a run leaves for its ensemble, and how many resume snapshots are kept."""

    members: int = 0  # saved at the end of each of so many equal cycles; 0: none
    after: str = "0"  # where the first cycle begins: "500" updates, "10ep" epochs, "75%" of the run
    keep: int = 2  # newest resume snapshots kept

    def validate(self) -> None:
        """Refuse numbers out of range."""
        if self.members < 0 or self.keep < 1:
            raise ValueError(f"snapshots.members={self.members} must be ≥ 0 and snapshots.keep={self.keep} ≥ 1")
        try:
            duration(self.after, total_steps=1, steps_per_epoch=1)
        except ValueError as error:
            raise ValueError(f"snapshots.after: {error}") from None


def save(workdir: Path, state: TrainState, kind: Kind, extra: dict[str, Any] | None = None) -> Path:
    """Write a snapshot of `state` and make it durable before it gets its name.

    Of several processes each calls this and writes its own shards; process 0 writes the manifest and the name.

    Args:
        workdir: the run directory.
        state: the state between two updates.
        kind: RESUME or MEMBER.
        extra: further JSON values for the manifest.

    Returns:
        the snapshot's directory.
    """
    return _save_tree(workdir, int(state.step), _to_tree(state), {"kind": kind.value, **(extra or {})})


def save_weights(workdir: Path, step: int, params: Params, model_state: ModelState, extra: dict[str, Any]) -> Path:
    """A member snapshot of parameters and state alone: it can be loaded and evaluated, not trained further.

    Args:
        workdir: a run directory.
        step: its number there.
        params: nested dict of arrays.
        model_state: every other variable, by collection.
        extra: JSON values for the manifest, such as where the parameters come from.
    """
    parts = {"params": params, "model_state": model_state}
    tree = {name: part for name, part in parts.items() if part}
    return _save_tree(workdir, step, tree, {"kind": Kind.MEMBER.value, **extra})


def _save_tree(workdir: Path, step: int, tree: PyTree, about: dict[str, Any]) -> Path:
    final = directory(workdir, step)
    temporary = final.with_name(f".writing_{final.name}")
    processes.on_main(lambda: _make_room(temporary))
    _write_tree(temporary / "state", tree)
    processes.on_main(lambda: _commit(workdir, step, temporary, about))
    return final


def _make_room(temporary: Path) -> None:
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)


def _commit(workdir: Path, step: int, temporary: Path, about: dict[str, Any]) -> None:
    """Give a snapshot that is written its manifest, make it durable, and give it its name."""
    final = directory(workdir, step)
    files = {str(p.relative_to(temporary)): _sha256(p) for p in _files(temporary)}
    content = {"format": FORMAT, "step": step, **about, "files": files}
    (temporary / "manifest.json").write_text(_manifest_text(content))
    _sync(temporary)
    old = _make_way(workdir, step)
    temporary.rename(final)
    _sync_one(final.parent)
    if old:
        shutil.rmtree(old, ignore_errors=True)


def _make_way(workdir: Path, step: int) -> Path | None:
    """Rename a snapshot of the same step: a damaged one is kept aside, a good one is returned to be removed."""
    final = directory(workdir, step)
    if not final.exists():
        return None
    try:
        manifest(workdir, step)
    except DamagedSnapshotError:
        names = (final.with_name(f"{final.name}.damaged{i}") for i in range(1000))
        final.rename(next(name for name in names if not name.exists()))
        return None
    return final.rename(final.with_name(f".removing_{final.name}"))


def directory(workdir: Path, step: int) -> Path:
    """Where the snapshot of a step is."""
    return workdir / "snapshots" / f"step_{step:08d}"


def steps(workdir: Path) -> list[int]:
    """The steps of all snapshots on disk, oldest first, damaged ones included."""
    root = workdir / "snapshots"
    found = (_NAME.match(p.name) for p in root.iterdir()) if root.is_dir() else ()
    return sorted(int(m.group(1)) for m in found if m)


def manifest(workdir: Path, step: int) -> dict[str, Any]:
    """The manifest of a snapshot, after every file was compared with it.

    Raises:
        DamagedSnapshotError: a file is missing, added or changed, or the manifest cannot be read.
    """
    path = directory(workdir, step)
    try:
        text = (path / "manifest.json").read_text()
        content = json.loads(text)
        expected = dict(content["files"])
        del content["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedSnapshotError(f"snapshot {path} has no readable manifest ({error})") from error
    if text != _manifest_text(content):
        raise DamagedSnapshotError(f"snapshot {path}: manifest.json does not match its own SHA-256")
    if content.get("format") != FORMAT:
        raise DamagedSnapshotError(f"snapshot {path} has format {content.get('format')}, this version reads {FORMAT}")
    if content.get("step") != step:
        raise DamagedSnapshotError(f"snapshot {path} holds step {content.get('step')}: it was renamed")
    present = {str(p.relative_to(path)) for p in _files(path)} - {"manifest.json"}
    for name in sorted(present ^ set(expected)):
        raise DamagedSnapshotError(f"snapshot {path}: {name} is {'unexpected' if name in present else 'missing'}")
    for name, digest in expected.items():
        if _sha256(path / name) != digest:
            raise DamagedSnapshotError(f"snapshot {path}: {name} does not match its SHA-256")
    return content


def _manifest_text(content: dict[str, Any]) -> str:
    """The manifest as it stands in its file, with the SHA-256 of the rest as its last entry."""
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return json.dumps({**content, "sha256": digest}, indent=1) + "\n"


def members(workdir: Path) -> list[int]:
    """The steps of the member snapshots, oldest first; a manifest that does not match its own SHA-256 counts as one."""

    def is_member(step: int) -> bool:
        try:
            text = (directory(workdir, step) / "manifest.json").read_text()
            content = json.loads(text)
            del content["sha256"]
            return text != _manifest_text(content) or content["kind"] == Kind.MEMBER.value
        except (OSError, ValueError, KeyError, TypeError):
            return True

    return [step for step in steps(workdir) if is_member(step)]


def latest_good(workdir: Path, warn: Any = None) -> int | None:
    """The newest step whose snapshot is whole, found on disk; `warn` is told of each damaged one that was passed."""
    for step in reversed(steps(workdir)):
        try:
            manifest(workdir, step)
        except DamagedSnapshotError as error:
            if warn:
                warn(f"{error}; using the one before")
            continue
        return step
    return None


def prune(workdir: Path, keep: int) -> None:
    """Remove all but the newest `keep` good resume snapshots; members and damaged ones stay."""
    resumable, kept = [], set(members(workdir))  # members are not read: that would cost more with each of them
    for step in steps(workdir):
        with contextlib.suppress(DamagedSnapshotError):
            if step not in kept and manifest(workdir, step)["kind"] == Kind.RESUME.value:
                resumable.append(step)
    for step in resumable[:-keep]:
        path = directory(workdir, step)
        doomed = path.with_name(f".removing_{path.name}")
        path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def clean(workdir: Path) -> None:
    """Remove what killed saves and removals left behind; only under the run directory's lock."""
    for pattern in (".writing_*", ".removing_*"):
        for path in (workdir / "snapshots").glob(pattern):
            shutil.rmtree(path, ignore_errors=True)


def restore(workdir: Path, step: int, template: TrainState) -> TrainState:
    """The state of a snapshot, as numpy arrays in the structure of `template`.

    Args:
        workdir: the run directory.
        step: which snapshot.
        template: a state (arrays or jax.ShapeDtypeStructs) of the same run.

    Raises:
        DamagedSnapshotError: the files do not match their manifest.
        ValueError: the snapshot holds weights alone, or is of another model or optimizer; the message names the first
            path that differs.
    """
    manifest(workdir, step)
    refuse_weights_alone(workdir, step)
    flat = dict(_flatten(_read_tree(directory(workdir, step) / "state")))
    expected = dict(_flatten(_to_tree(template)))
    for name in sorted(set(flat) ^ set(expected)):
        raise ValueError(f"snapshot at step {step} {'has' if name in flat else 'lacks'} {name}: it is of another model")
    for name, leaf in expected.items():
        if flat[name].shape != leaf.shape or flat[name].dtype != leaf.dtype:
            raise ValueError(
                f"snapshot at step {step} holds {name} as {flat[name].dtype}{list(flat[name].shape)}, "
                f"this run needs {leaf.dtype}{list(leaf.shape)}"
            )
    return jax.tree.unflatten(jax.tree.structure(template), [flat[path] for path, _ in _flatten(template)])


def refuse_weights_alone(workdir: Path, step: int) -> None:
    """Refuse to go on with training from a snapshot that `save_weights` wrote.

    Raises:
        ValueError: it has no state of an optimizer.
    """
    if "step" not in _described(directory(workdir, step) / "state"):
        raise ValueError(
            f"the snapshot at step {step} in {workdir} holds weights alone (an average, or imported): it can be "
            f"evaluated and ensembled, not trained further; begin with it in another --workdir, by "
            f"--config.initial.weights={workdir}"
        )


def load(workdir: str | Path, step: int | str = "latest") -> tuple[dict[str, Any], Params, ModelState]:
    """Any snapshot of any run, without a template and on any number of devices.

    Args:
        workdir: the run directory.
        step: a step, or "latest" for the newest whole one.

    Returns:
        (config as in config.json, params, model_state), the last two as nested dicts of numpy arrays.

    Raises:
        FileNotFoundError: there is no (whole) snapshot.
        DamagedSnapshotError: the snapshot asked for is damaged.
    """
    workdir = Path(workdir)
    wanted = resolve(workdir, step)
    manifest(workdir, wanted)
    parts = ("params/", "model_state/")  # not the slots of the optimizer, which are larger
    tree = _read_tree(directory(workdir, wanted) / "state", lambda name: name.startswith(parts))
    return json.loads((workdir / "config.json").read_text()), tree.get("params", {}), tree.get("model_state", {})


def load_average(workdir: Path, step: int) -> Params | None:
    """The parameters by the moving average in the optimizer's state, frozen ones as they are; None if it holds none."""
    manifest(workdir, step)
    tree = _read_tree(
        directory(workdir, step) / "state", lambda name: "/average/" in name or name.startswith("params/")
    )
    averages, params = tree.get("opt_state", {}), tree.get("params", {})
    for path, leaf in averages.items():
        *holders, name = f"/{path}".partition("/average/")[2].split("/")
        inner = params
        for holder in holders:
            inner = inner[holder]
        inner[name] = leaf
    return params if averages else None


def digest(workdir: Path, step: int) -> str:
    """The SHA-256 in a snapshot's manifest, which covers those of all its files."""
    manifest(workdir, step)
    return json.loads((directory(workdir, step) / "manifest.json").read_text())["sha256"]


def resolve(workdir: Path, step: int | str, warn: Any = None) -> int:
    """The step that `step` means: itself, or for "latest" that of the newest whole snapshot (see `latest_good`).

    Raises:
        FileNotFoundError: there is no such snapshot; the message lists those there are.
    """
    wanted = latest_good(workdir, warn) if step == "latest" else int(step) if str(step).isdecimal() else None
    if wanted is None or not directory(workdir, wanted).is_dir():
        raise FileNotFoundError(f"no snapshot {step} in {workdir}; there are snapshots at steps {steps(workdir)}")
    return wanted


def _to_tree(state: TrainState) -> dict[str, Any]:
    """Nested dicts alone: params and model_state as they are, the other parts flat by path."""
    parts = state._asdict()
    for name in ("opt_state", "metrics"):
        parts[name] = dict(_flatten(parts[name]))
    return {name: part for name, part in parts.items() if not isinstance(part, dict) or part}


def _flatten(tree: PyTree) -> list[tuple[str, Any]]:
    return [(path_name(path), leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]]


def _write_tree(path: Path, tree: PyTree) -> None:
    import orbax.checkpoint as ocp  # a third of a second that most programs do not need

    try:
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
            tree = jax.device_get(tree) if jax.process_count() == 1 else tree
            checkpointer.save(path.absolute(), args=ocp.args.PyTreeSave(tree))
    except ValueError as error:  # how tensorstore reports a disk that is full
        reason = str(error).splitlines()[0]
        raise OSError(f"the snapshot {path.parent} cannot be written ({reason}): make room, then repeat") from error


def _described(path: Path) -> dict[str, Any]:
    """What a tree holds, without its arrays."""
    import orbax.checkpoint as ocp

    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        return checkpointer.metadata(path.absolute()).item_metadata.tree


def _read_tree(path: Path, wanted: Callable[[str], bool] = lambda name: True) -> Any:
    """A tree as numpy arrays; of its leaves those alone are read whose path, such as "params/head/bias", is wanted."""
    import orbax.checkpoint as ocp

    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        tree = _only(checkpointer.metadata(path.absolute()).item_metadata.tree, wanted)
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        what = ocp.args.PyTreeRestore(item=tree, restore_args=as_numpy, partial_restore=True)
        return checkpointer.restore(path.absolute(), args=what) if tree else {}


def _only(tree: dict[str, Any], wanted: Callable[[str], bool], above: str = "") -> dict[str, Any]:
    """Nested dicts with the wanted leaves alone, and without dicts that have none."""
    kept = {}
    for name, part in tree.items():
        path = f"{above}{name}"
        inner = _only(part, wanted, f"{path}/") if isinstance(part, dict) else part if wanted(path) else None
        if inner is not None and inner != {}:
            kept[name] = inner
    return kept


def _files(root: Path) -> Iterator[Path]:
    return (p for p in sorted(root.rglob("*")) if p.is_file())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(root: Path) -> None:
    """Every file below `root` onto the disk, then every directory and `root` itself."""
    for path in (*_files(root), *(p for p in root.rglob("*") if p.is_dir()), root):
        _sync_one(path)


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
