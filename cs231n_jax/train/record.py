"""The run directory: what a run is, what it measured, and who may write to it."""

import fcntl
import hashlib
import json
import math
import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from cs231n_jax.config import Config, differences, from_json, to_json

PACKAGES = ("jax", "jaxlib", "flax", "numpy", "orbax-checkpoint", "scikit-learn", "tensorflow-datasets")


class WorkdirError(Exception):
    """The run directory cannot be used; the message says why and what to do."""


@contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Make the run directory and hold it for this process; the lock ends with the process, however that ends.

    Raises:
        WorkdirError: the directory cannot be made or written, or another process holds it.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(workdir / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise WorkdirError(f"cannot write to workdir {workdir} ({error.strerror}): pass another --workdir") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise WorkdirError(f"workdir {workdir} is in use by another run: wait for it or pass another") from error
    try:
        yield
    finally:
        os.close(descriptor)


def claim(workdir: Path, config: Config, overrides: dict[str, Any]) -> None:
    """Write config.json on first use; later, refuse a config that is another one.

    A directory in which nothing was trained yet, no snapshot and no line of metrics, takes the new config: what
    stopped the first one before its first result may be just what was changed.

    The mesh is no part of what a run computes: a run goes on on any number of devices, and its record keeps the mesh
    that it began with.

    Raises:
        WorkdirError: the directory holds a run of another config; the message names the first fields that differ.
    """
    path = workdir / "config.json"
    if path.exists():
        recorded, given = ({**tree, "mesh": {}} for tree in (_completed(read_json(path)), to_json(config)))
        found = differences(recorded, given)
        if found and not _has_results(workdir):
            for name in ("vocabularies.json", "environment.json", "overrides.json", "config.json"):  # the claim last
                (workdir / name).unlink(missing_ok=True)
            return claim(workdir, config, overrides)
        if found:
            more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
            raise WorkdirError(
                f"workdir {workdir} holds a run of another config ({'; '.join(found[:3])}{more}): pass another "
                "--workdir, or the config that it was started with"
            )
        return None
    strangers = sorted(p.name for p in workdir.iterdir() if not p.name.startswith(".") and p.name != "overrides.json")
    if strangers:
        raise WorkdirError(
            f"workdir {workdir} holds no run, but other files ({strangers[0]} is the first of {len(strangers)}): pass "
            "an empty or a new directory"
        )
    write_json(workdir / "overrides.json", to_json(overrides))
    write_json(path, to_json(config))  # last: its presence means that the directory is claimed
    return None


def _completed(values: dict[str, Any]) -> dict[str, Any]:
    """A stored config with the fields that were added since, at the defaults that mean what it meant without them."""
    try:
        return to_json(from_json(values))
    except ValueError:
        return values


def _has_results(workdir: Path) -> bool:
    """Whether anything was trained in a run directory."""
    found = (workdir / "metrics.jsonl", workdir / "result.json", *(workdir / "snapshots").glob("step_*"))
    return any(path.exists() for path in found)


def stored_config(workdir: Path) -> Config:
    """The config of the run in a directory.

    Raises:
        FileNotFoundError: there is no run.
        ValueError: its config.json is not a config of this version.
    """
    path = workdir / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{workdir} holds no run: it has no config.json")
    return from_json(read_json(path))


def environment(fingerprints: dict[str, str]) -> dict[str, Any]:
    """Everything outside the config that can change a number: code, versions, devices, cores, PRNG, flags, data."""
    devices = jax.devices()
    settings: Any = jax.config
    precision = settings.jax_default_matmul_precision
    return {
        **_commit(),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "device": {"kind": devices[0].device_kind, "platform": devices[0].platform, "count": len(devices)},
        "processes": jax.process_count(),
        "cpu": {"cores": usable_cores(), "features": _cpu_features()},
        "prng": {
            "implementation": str(settings.jax_default_prng_impl),
            "threefry_partitionable": bool(settings.jax_threefry_partitionable),
        },
        **({"matmul_precision": str(precision)} if precision else {}),  # an accelerator's products are cut by default
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "data": fingerprints,
    }


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _commit() -> dict[str, Any]:
    """Commit of the source tree and whether it was changed since; empty outside a git checkout."""

    def git(*words: str) -> str:
        root = Path(__file__).resolve().parents[2]
        done = subprocess.run(("git", *words), cwd=root, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return {"commit": "", "dirty": False}


def _cpu_features() -> list[str]:
    """Vector extensions of the processor: XLA's code, and so the last bits of results, depend on them."""
    kinds = ("avx", "amx", "fma", "sse4", "neon", "asimd", "sve")
    return sorted(f for f in _cpuinfo("flags", "Features").split() if f.startswith(kinds)) or [platform.machine()]


def cpu_name() -> str:
    """The processor's model as the system names it; the architecture where it does not."""
    return _cpuinfo("model name") or platform.machine()


def _cpuinfo(*names: str) -> str:
    """What Linux says of the first processor under one of these names; "" for nothing, and elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(names)), "")


class Lines:
    """An append-only .jsonl file of one run."""

    def __init__(self, path: Path, writes: bool = True):
        """`writes`: False in all processes of a run but one; they leave the file alone."""
        self.path, self.writes = path, writes

    def append(self, values: dict[str, Any]) -> None:
        """Add one line; numbers are written so that they read back to the same bits, what is not finite as null."""
        if not self.writes:
            return
        with self.path.open("a") as file:
            file.write(json.dumps(_finite(values), allow_nan=False) + "\n")

    def sync(self) -> None:
        """Make what was written durable: called before a snapshot that relies on it."""
        if self.writes and self.path.exists():
            with self.path.open("a") as file:
                os.fsync(file.fileno())

    def cut(self, step: float, redo: str = "") -> None:
        """Drop the lines after `step`, those of the split `redo` at it, and one that a kill left half written."""
        if not (self.writes and self.path.exists()):
            return
        text = self.path.read_text(errors="replace")
        parsed = ((line, _parse(line)) for line in text.splitlines(keepends=True))
        kept = [line for line, at in parsed if at and at[0] <= step and not (redo and at == (step, redo))]
        write_text(self.path, "".join(kept))

    def digest(self) -> str:
        """SHA-256 of the whole file; of nothing where there is none."""
        return hashlib.sha256(self.path.read_bytes() if self.path.exists() else b"").hexdigest()

    def read(self) -> list[dict[str, Any]]:
        """All lines.

        Raises:
            ValueError: a line is not whole; the message says which.
        """
        lines = self.path.read_text(errors="replace").splitlines(keepends=True) if self.path.exists() else []
        for number, line in enumerate(lines, 1):
            if _parse(line) is None:
                raise ValueError(f"{self.path} is damaged at line {number}: put a whole copy of it back")
        return [json.loads(line) for line in lines]


def _parse(line: str) -> tuple[int, str] | None:
    """(step, split) of a line, or None for one that is not whole."""
    try:
        values = json.loads(line)
        return (int(values["step"]), str(values.get("split", ""))) if line.endswith("\n") else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _finite(value: Any) -> Any:
    """Plain values with None for every number that is not finite: JSON has no name for those."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file that holds an object.

    Raises:
        ValueError: it does not; the message names the file.
    """
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): put a whole copy of it back") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged (it holds no JSON object): put a whole copy of it back")
    return content


def write_json(path: Path, values: Any) -> None:
    """Write a JSON file whole or not at all, numbers that are not finite as null."""
    write_text(path, json.dumps(_finite(values), indent=1, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Replace a file by way of a temporary one, durably."""
    temporary = path.with_name(f".{path.name}.writing")  # one writer at a time: the lock
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
