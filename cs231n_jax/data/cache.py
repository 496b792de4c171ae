"""Decoded data kept in memory-mapped files, so that only the first run pays for decoding.

An entry is a directory with one .npy file per array and meta.json. It is found by a quick key: names, sizes and times
of the files it was made from (a file changed in place with neither of these changed goes unnoticed). It appears all
at once by a rename, so a process killed while it writes leaves nothing that looks finished. Pictures and features,
which take long, are marked once a minute and where they are interrupted; the next call goes on from the mark, if the
bytes up to it are what they were. A lock that dies with its process keeps two processes from doing the work twice;
without locks (some network disks) they only waste it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import math
import os
import re
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from cs231n_jax.data.base import ArraySource, Info, PixelStatistics, combine
from cs231n_jax.data.progress import Progress, look

FORMAT = 1
MARK, MARK_EVERY = "begun.json", 60.0  # seconds
WAIT = 0.2  # seconds between two looks at a lock
BLOCK = 2**24  # bytes that are read at once, in whole examples
PIXELS = "image", "video"

Chunk = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Decoded:
    """What a reader hands over to be kept.

    Args:
        length: number of examples N.
        classes: names of the K labels.
        chunks: {"image": uint8 [n, H, W, C], "label": int32 [n]} in order, together N examples; made as they are read.
            Of clips {"video": uint8 [n, T, H, W, C], "label": int32 [n], "frame_label": int32 [n, T]}. Without labels
            there are no classes; of images that are no bytes, but features, there is no mean and no std. Features of
            several stages have their names as keys. It may be a function of n that gives the chunks from example n
            on, where one begins: what a call has made when it is interrupted is then continued by the next.
        doing: what a person is told while they are made.
    """

    length: int
    classes: tuple[str, ...]
    chunks: Iterable[Chunk] | Callable[[int], Iterable[Chunk]]
    doing: str = "decoding"


def directory() -> Path:
    """$CS231N_JAX_CACHE, else $XDG_CACHE_HOME/cs231n_jax, else ~/.cache/cs231n_jax."""
    if own := os.environ.get("CS231N_JAX_CACHE"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path("~/.cache").expanduser()) / "cs231n_jax"


def stamp(files: Iterable[Path]) -> list[tuple[str, int, int]]:
    """(path, bytes, time of change in ns) of each file: the part of a key that notices changed files."""
    stats = [(path, path.stat()) for path in files]
    return sorted((str(path), stat.st_size, stat.st_mtime_ns) for path, stat in stats)


def open_cached(
    name: str, split: str, key: object, decode: Callable[[], Decoded], waits: Callable[[], None] = lambda: None
) -> ArraySource:
    """The entry for `key`, decoded first if there is none or a damaged one.

    Args:
        name: the data set, for messages and the source's info.
        split: its split.
        key: anything that JSON can hold and that changes when the data does.
        decode: reads the data; called only when needed.
        waits: called now and then while another process makes the entry; what it raises ends the waiting.

    Returns:
        A source over memory-mapped arrays.

    Raises:
        OSError: the cache cannot be written.
        ValueError: the data has wrong labels or arrays of several shapes.
    """
    digest = hashlib.sha256(json.dumps([FORMAT, name, split, key]).encode()).hexdigest()
    entry = directory() / "data" / f"{_slug(name)}-{_slug(split)}-{digest[:16]}"
    source, _ = _load(entry, name, split)
    if source is None:
        with _lock(entry, waits) as alone:
            source, damage = _load(entry, name, split)  # another process may have been faster
            if source is None:
                if damage:
                    print(f"the data cache {entry} is damaged ({damage}); making it again", file=sys.stderr)
                _build(entry, name, split, decode(), alone=alone)
                source, damage = _load(entry, name, split)
    if source is None:
        raise OSError(f"the data cache {entry} was just written but does not read back ({damage}); check the disk")
    return source


def others(name: str, split: str) -> bool:
    """Whether there is an entry for the same name and split, be it for another key."""
    return any((directory() / "data").glob(f"{_slug(name)}-{_slug(split)}-{'?' * 16}"))


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "_", text).strip("_.")[-40:]


def _load(entry: Path, name: str, split: str) -> tuple[ArraySource | None, str]:
    """The source, or None and what is wrong with the entry ("" where there is none)."""
    try:
        meta = json.loads((entry / "meta.json").read_text())
        if meta.pop("digest") != _digest(meta):
            return None, "meta.json does not fit its digest"
        arrays = {}
        for key, (dtype, shape, size) in meta["arrays"].items():
            path = entry / f"{key}.npy"
            if (found := path.stat().st_size) != size:
                return None, f"{path.name} has {found} bytes instead of {size}"
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            if array.dtype.str != dtype or list(array.shape) != shape:
                return None, f"{path.name} holds another array"
            arrays[key] = array.view(np.ndarray)  # a memmap's own indexing is slower
    except FileNotFoundError as error:
        return None, f"{Path(error.filename).name} is missing" if entry.exists() else ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return None, str(error) or type(error).__name__
    info = Info(
        name=name,
        split=split,
        shapes={key: array.shape[1:] for key, array in arrays.items()},
        num_classes=len(meta["classes"]),
        classes=tuple(meta["classes"]),
        fingerprint=meta["fingerprint"],
        mean=tuple(meta["mean"]),
        std=tuple(meta["std"]),
    )
    return ArraySource(arrays, info), ""


def _digest(meta: dict) -> str:
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise OSError(
            f"cannot write the data cache in {directory()} ({reason}); "
            "set CS231N_JAX_CACHE to a directory that can be written and has room"
        ) from error


@contextlib.contextmanager
def _lock(entry: Path, waits: Callable[[], None]) -> Iterator[bool]:
    """Hold the entry's lock; yields False where the file system has no locks."""
    with _writing():
        entry.parent.mkdir(parents=True, exist_ok=True)
        handle = entry.with_name(entry.name + ".lock").open("w")
    with handle:
        try:
            if not _locked(handle):
                print(f"waiting for another process that makes {entry.name}", file=sys.stderr)
                while not _locked(handle):
                    waits()
                    look()
                    time.sleep(WAIT)
        except OSError:
            yield False
            return
        yield True


def _locked(handle: IO[str]) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _build(entry: Path, name: str, split: str, decoded: Decoded, *, alone: bool) -> None:
    part, keeps = entry.with_name(f"{entry.name}.part-{uuid.uuid4().hex}"), alone and callable(decoded.chunks)
    if alone:  # then whatever others began was left by processes that died or were interrupted
        for stale in sorted(entry.parent.glob(f"{entry.name}.part-*")):
            if keeps and not part.exists() and (stale / MARK).exists():
                part = stale
            else:
                shutil.rmtree(stale, ignore_errors=True)
    try:
        with _writing():
            part.mkdir(exist_ok=True)
        with _Writer(part, decoded) as writer:
            progress = Progress(f"{decoded.doing} {name} {split}", decoded.length, writer.count)
            _fill(writer, decoded, progress, keeps)
            with _writing():
                writer.finish()
                # Without a lock another process may have been faster; then its entry is as good.
                if _load(entry, name, split)[0] is None:
                    _publish(part, entry)
            progress.close(f"kept in {entry}")
    except BaseException as error:
        if isinstance(error, ValueError | OSError) or not (part / MARK).exists():  # these would come again
            shutil.rmtree(part, ignore_errors=True)
        raise
    shutil.rmtree(part, ignore_errors=True)


def _fill(writer: _Writer, decoded: Decoded, progress: Progress, keeps: bool) -> None:
    """Add what is not there yet; what an interrupted call `keeps` is marked now and then, and at the interrupt."""
    marked = time.monotonic() if keeps else 0.0
    try:
        for chunk in decoded.chunks(writer.count) if callable(decoded.chunks) else decoded.chunks:
            writer.add(chunk)
            progress.show(writer.count)
            look()
            if keeps and time.monotonic() - marked > MARK_EVERY:
                writer.mark()
                marked = time.monotonic()
    except BaseException as error:
        if keeps and not isinstance(error, ValueError | OSError):
            writer.mark()
        raise


def _publish(part: Path, entry: Path) -> None:
    """Move a finished entry to its place, where at most a damaged one is."""
    shutil.rmtree(entry, ignore_errors=True)
    try:
        part.rename(entry)
    except OSError:
        if not entry.exists():  # otherwise a process without a lock came between
            raise
    _sync(entry.parent)


def _write(path: Path, content: dict) -> None:
    with path.open("w") as file:
        json.dump(content, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class _Writer:
    """Writes chunks to .npy files of known length, digesting them on the way.

    Plain writes, not a writable map: a full disk is then an error and not a killed process.
    """

    def __init__(self, part: Path, decoded: Decoded):
        self.count = 0
        self._part, self._decoded = part, decoded
        self._files, self._hashes, self._forms = {}, {}, {}
        self._statistics = PixelStatistics()

    def __enter__(self) -> _Writer:
        if (mark := self._part / MARK).exists():
            try:
                self._go_on(json.loads(mark.read_text()))
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                print(f"what was begun in {self._part} is damaged ({error}); making it again", file=sys.stderr)
                mark.unlink()
                self.__exit__()
                self._files, self._hashes, self._forms, self._statistics = {}, {}, {}, PixelStatistics()
        return self

    def __exit__(self, *_) -> None:
        for file in self._files.values():
            file.close()

    def add(self, chunk: dict[str, np.ndarray]) -> None:
        chunk = {key: np.ascontiguousarray(array, array.dtype.newbyteorder("<")) for key, array in chunk.items()}
        self._check_labels(chunk.get("label", np.zeros(0, np.int32)))
        with _writing():
            if not self._files:
                self._start(chunk)
            for key, array in chunk.items():
                if (array.dtype.str, array.shape[1:]) != self._forms[key]:
                    raise ValueError(
                        f"examples from {self.count} on have {key}s of shape {array.shape[1:]}, "
                        f"but the first has {self._forms[key][1]}"
                    )
                self._files[key].write(array.data)
                self._hashes[key].update(array.data)
                self._count_pixels(key, array)
        self.count += len(next(iter(chunk.values())))

    def _count_pixels(self, key: str, array: np.ndarray) -> None:
        if key in PIXELS and array.dtype == np.uint8:
            self._statistics.add(array)

    def _check_labels(self, labels: np.ndarray) -> None:
        classes = len(self._decoded.classes)
        if (wrong := np.flatnonzero((labels < 0) | (labels >= classes))).size:
            raise ValueError(
                f"example {self.count + wrong[0]} has label {labels[wrong[0]]}, but {classes} classes "
                f"allow 0 to {classes - 1}; repair or remove it"
            )

    def _start(self, chunk: dict[str, np.ndarray]) -> None:
        length = self._decoded.length
        needed = length * sum(array[0].nbytes for array in chunk.values())
        if needed > (free := shutil.disk_usage(self._part).free):
            raise OSError(f"it takes {needed / 1e9:.1f} GB of {free / 1e9:.1f} GB left")
        for key, array in chunk.items():
            self._forms[key] = (array.dtype.str, array.shape[1:])
            self._hashes[key] = hashlib.sha256()
            self._files[key] = (self._part / f"{key}.npy").open("wb")
            header = {"descr": array.dtype.str, "fortran_order": False, "shape": (length, *array.shape[1:])}
            np.lib.format.write_array_header_1_0(self._files[key], header)

    def mark(self) -> None:
        """Note how much there is, once the disk has it: another writer goes on from there."""
        if not self._files:
            return
        with _writing():
            begun = {}
            for key, file in self._files.items():
                file.flush()
                os.fsync(file.fileno())
                begun[key] = (*self._forms[key], file.tell(), self._hashes[key].hexdigest())
            _write(self._part / f"{MARK}.new", {"count": self.count, "arrays": begun})
            (self._part / f"{MARK}.new").replace(self._part / MARK)
            _sync(self._part)

    def _go_on(self, begun: dict) -> None:
        """Go on from a mark; whatever was written behind it goes.

        Raises:
            ValueError: the bytes up to the mark are not what they were.
        """
        for key, (dtype, shape, size, digest) in begun["arrays"].items():
            file = self._files[key] = (self._part / f"{key}.npy").open("r+b")
            self._forms[key], self._hashes[key] = (dtype, tuple(shape)), hashlib.sha256()
            np.lib.format.read_magic(file)
            whole, _, _ = np.lib.format.read_array_header_1_0(file)
            each = math.prod(shape) * np.dtype(dtype).itemsize
            if whole != (self._decoded.length, *shape) or size != file.tell() + begun["count"] * each:
                raise ValueError(f"{key}.npy holds another array")
            at_once = max(BLOCK // each, 1) * each
            while block := file.read(min(at_once, size - file.tell())):
                self._hashes[key].update(block)
                self._count_pixels(key, np.frombuffer(block, dtype).reshape(-1, *shape))
            if self._hashes[key].hexdigest() != digest:
                raise ValueError(f"{key}.npy has other bytes")
            file.truncate(size)
        self.count = begun["count"]

    def finish(self) -> None:
        if self.count != self._decoded.length or not self.count:
            raise ValueError(f"the data ended after {self.count} examples instead of {self._decoded.length}")
        arrays, digests = {}, {}
        for key, file in self._files.items():
            file.flush()
            os.fsync(file.fileno())
            dtype, shape = self._forms[key]
            arrays[key] = (dtype, [self.count, *shape], file.tell())
            digests[key] = (dtype, (self.count, *shape), self._hashes[key].hexdigest())
        mean, std = self._statistics.result()
        classes = self._decoded.classes
        meta = {"classes": classes, "fingerprint": combine(digests, classes), "mean": mean, "std": std}
        meta = json.loads(json.dumps({**meta, "arrays": arrays}))
        _write(self._part / "meta.json", {**meta, "digest": _digest(meta)})
        (self._part / MARK).unlink(missing_ok=True)
        _sync(self._part)
