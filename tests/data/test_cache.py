import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from cs231n_jax.data import cache
from cs231n_jax.data.base import fingerprint

# Decodes slowly and tells what it does; may do without locks, or kill itself at its n-th step on the disk.
BUILDER = """
import os, signal, sys, time
from pathlib import Path
import numpy as np
from cs231n_jax.data import cache

delay, locks, fatal = float(sys.argv[1]), sys.argv[2] == "True", int(sys.argv[3])
steps = 0

def counted(function):
    def call(*arguments, **options):
        global steps
        steps += 1
        if steps == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return call

def unsupported(*arguments):
    raise OSError("no locks here")

os.fsync, os.unlink, os.rmdir = counted(os.fsync), counted(os.unlink), counted(os.rmdir)
Path.mkdir, Path.rename = counted(Path.mkdir), counted(Path.rename)
if not locks:
    cache.fcntl.flock = unsupported

def chunks():
    for i in range(20):
        print("chunk", flush=True)
        time.sleep(delay)
        yield {"image": np.full((5, 3, 3, 1), i, np.uint8), "label": np.full(5, i % 2, np.int32)}

source = cache.open_cached("slow", "train", ["key"], lambda: cache.Decoded(100, ("a", "b"), chunks()))
print("got", source.info.fingerprint, flush=True)
"""


def start(delay, locks=True, fatal=-1):
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", BUILDER, str(delay), str(locks), str(fatal)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    """(number of chunks decoded, last line printed, errors) of a process that succeeds."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out.count("chunk"), out.splitlines()[-1], err


def decoded(images=None, labels=None, classes=("a", "b", "c"), length=None):
    images = np.arange(90, dtype=np.uint8).reshape(10, 3, 3, 1) if images is None else images
    labels = (np.arange(10) % 3).astype(np.int32) if labels is None else labels

    def chunks():
        for begin in range(0, len(images), 4):
            yield {"image": images[begin : begin + 4], "label": labels[begin : begin + 4]}

    return cache.Decoded(length or len(images), classes, chunks())


def refuse():
    raise AssertionError("decoded although it is in the cache")


def entry_of(directory):
    (meta,) = directory.glob("data/*/meta.json")
    return meta.parent


def test_what_was_decoded_comes_back_without_decoding(cache_dir):
    source = cache.open_cached("made/up:1", "train[:90%]", ["key", 1], decoded)
    again = cache.open_cached("made/up:1", "train[:90%]", ["key", 1], refuse)
    for opened in (source, again):
        batch = opened[np.array([9, 0])]
        np.testing.assert_array_equal(batch["image"].ravel(), [*range(81, 90), *range(9)])
        assert batch["label"].tolist() == [0, 0]
        assert not isinstance(batch["image"], np.memmap)
        assert len(opened) == 10
    assert source.info == again.info
    assert source.info.shapes == {"image": (3, 3, 1), "label": ()}
    assert source.info.classes == ("a", "b", "c")
    assert source.info.fingerprint == fingerprint(source.arrays, source.info.classes)
    np.testing.assert_allclose(source.info.mean, [np.arange(90).mean() / 255], rtol=1e-12)
    assert sorted(path.name for path in entry_of(cache_dir).iterdir()) == ["image.npy", "label.npy", "meta.json"]


def test_another_key_is_another_entry():
    cache.open_cached("made", "train", ["key", 1], decoded)
    for name, split, key in [("made", "train", ["key", 2]), ("made", "test", ["key", 1]), ("other", "train", ["key"])]:
        with pytest.raises(AssertionError):
            cache.open_cached(name, split, key, refuse)


def test_a_stamp_notices_size_and_time(tmp_path):
    file = tmp_path / "x"
    file.write_text("ab")
    os.utime(file, ns=(1, 10))
    before = cache.stamp([file])
    assert cache.stamp([file]) == before == [(str(file), 2, 10)]
    os.utime(file, ns=(1, 11))
    assert cache.stamp([file]) != before


DAMAGES = {
    "image.npy has 100 bytes instead of 218": lambda entry: os.truncate(entry / "image.npy", 100),
    "label.npy has 0 bytes instead of 168": lambda entry: os.truncate(entry / "label.npy", 0),
    "label.npy is missing": lambda entry: (entry / "label.npy").unlink(),
    "meta.json is missing": lambda entry: (entry / "meta.json").unlink(),
    "image.npy holds another array": lambda entry: rewrite(entry, np.zeros((9, 3, 3, 1), np.uint8), extra=9),
    "meta.json does not fit its digest": lambda entry: edit(entry, mean=[0.0]),
    "Expecting value": lambda entry: (entry / "meta.json").write_text(""),
}


def rewrite(entry, array, extra):
    np.save(entry / "image.npy", array)
    with (entry / "image.npy").open("ab") as file:
        file.write(b"\0" * extra)


def edit(entry, **changes):
    meta = json.loads((entry / "meta.json").read_text())
    (entry / "meta.json").write_text(json.dumps({**meta, **changes}))


@pytest.mark.parametrize("message", DAMAGES)
def test_a_damaged_entry_is_named_and_built_again(cache_dir, capsys, message):
    expected = cache.open_cached("made", "train", ["key"], decoded).info
    DAMAGES[message](entry_of(cache_dir) if "meta" not in message else next(cache_dir.glob("data/made*[!k]")))
    assert cache.open_cached("made", "train", ["key"], decoded).info == expected
    errors = capsys.readouterr().err
    assert "is damaged" in errors
    assert message in errors
    assert cache.open_cached("made", "train", ["key"], refuse).info == expected
    assert len(list((cache_dir / "data").iterdir())) == 2  # the entry and its lock, no remains


def test_an_open_source_survives_its_entry_being_replaced(cache_dir):
    source = cache.open_cached("made", "train", ["key"], decoded)
    (entry_of(cache_dir) / "label.npy").unlink()
    cache.open_cached("made", "train", ["key"], decoded)
    assert source[np.array([5])]["label"].tolist() == [2]


def test_wrong_data_is_refused_and_leaves_nothing(cache_dir):
    cases = [
        (decoded(labels=np.array([0] * 9 + [3], np.int32)), "example 9 has label 3, but 3 classes allow 0 to 2"),
        (decoded(labels=np.array([0, -1] + [0] * 8, np.int32)), "example 1 has label -1"),
        (decoded(length=11), "the data ended after 10 examples instead of 11"),
    ]
    for case, message in cases:
        with pytest.raises(ValueError, match=message):
            cache.open_cached("made", "train", ["key"], lambda case=case: case)
    uneven = [{"image": np.zeros((1, n, 2, 1), np.uint8), "label": np.zeros(1, np.int32)} for n in (2, 3)]
    with pytest.raises(ValueError, match=r"from 1 on have images of shape \(3, 2, 1\), but the first has \(2, 2, 1\)"):
        cache.open_cached("made", "train", ["key"], lambda: cache.Decoded(2, ("a",), uneven))
    assert all(path.suffix == ".lock" for path in (cache_dir / "data").iterdir())


def test_an_unwritable_cache_is_explained(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CS231N_JAX_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(
        OSError, match=r"cannot write the data cache in .*below \(Not a directory\); set CS231N_JAX_CACHE"
    ):
        cache.open_cached("made", "train", ["key"], decoded)


def test_a_full_disk_is_noticed_before_it_is_full(monkeypatch):
    class Usage:
        free = 50

    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: Usage)
    with pytest.raises(OSError, match=r"it takes 0.0 GB of 0.0 GB left\); set CS231N_JAX_CACHE"):
        cache.open_cached("made", "train", ["key"], decoded)


def test_the_place_of_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("CS231N_JAX_CACHE", "~/own")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.directory() == tmp_path / "own"
    monkeypatch.delenv("CS231N_JAX_CACHE")
    assert cache.directory() == tmp_path / "xdg" / "cs231n_jax"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.directory() == tmp_path / ".cache" / "cs231n_jax"


def test_long_work_shows_progress_and_short_work_does_not(capsys, monkeypatch):
    cache.open_cached("made", "train", ["key"], decoded)
    assert capsys.readouterr().err == ""
    clock = iter(range(0, 1000, 3))
    monkeypatch.setattr(cache.time, "monotonic", lambda: next(clock))
    cache.open_cached("slow", "train", ["key"], decoded)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "decoding slow train: 4/10, 4 s left"
    assert lines[-1].startswith("decoding slow train: 10 examples in")


def test_without_locks_building_still_works(cache_dir, monkeypatch):
    def unsupported(*_):
        raise OSError("no locks here")

    monkeypatch.setattr(cache.fcntl, "flock", unsupported)
    info = cache.open_cached("made", "train", ["key"], decoded).info
    # Another process without a lock may have begun as well; its part stays untouched and its entry is as good.
    entry = entry_of(cache_dir)
    other = entry.with_name(entry.name + ".part-other")
    other.mkdir()
    (entry / "label.npy").unlink()
    assert cache.open_cached("made", "train", ["key"], decoded).info == info
    assert other.exists()


def test_a_second_process_waits_for_the_first(cache_dir):
    finish(start(0))
    shutil.rmtree(entry_of(cache_dir))
    (lock,) = cache_dir.glob("data/*.lock")
    with lock.open("w") as held:  # this process plays the first
        fcntl.flock(held, fcntl.LOCK_EX)
        second = start(0)
        assert "waiting for another process that makes slow-train" in second.stderr.readline()
    assert finish(second)[0] == 20


@pytest.mark.parametrize("locks", [True, False])
def test_processes_that_start_together_agree(locks, cache_dir):
    results = [finish(process) for process in [start(0.01, locks) for _ in range(3)]]
    assert len({result for _, result, _ in results}) == 1
    if locks:
        assert sum(chunks for chunks, _, _ in results) == 20
    assert len(list((cache_dir / "data").iterdir())) == 2  # the entry and its lock


def test_killed_at_random_moments_of_decoding(cache_dir):
    for _ in range(4):
        process = start(0.1)  # two seconds in all
        process.stdout.readline()  # it has begun
        time.sleep(random.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        assert len(list(cache_dir.glob("data/*.part-*"))) == 1  # each removes what the one before left
    chunks, _, errors = finish(start(0))
    assert (chunks, errors) == (20, "")
    assert not list(cache_dir.glob("data/*.part-*"))


@pytest.mark.slow
@pytest.mark.parametrize("damaged", [False, True])
def test_killed_at_every_step_on_the_disk(cache_dir, damaged):
    def repeat():
        chunks = [
            {"image": np.full((5, 3, 3, 1), i, np.uint8), "label": np.full(5, i % 2, np.int32)} for i in range(20)
        ]
        return cache.open_cached("slow", "train", ["key"], lambda: cache.Decoded(100, ("a", "b"), chunks)).info

    expected, reached = repeat(), 0
    for fatal in range(1, 30):
        if damaged:
            entry = entry_of(cache_dir)
            os.truncate(entry / "label.npy", 10)
        else:
            shutil.rmtree(cache_dir)
        process = start(0, fatal=fatal)
        process.communicate(timeout=60)
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
        reached = fatal
        assert repeat() == expected  # whole or built again, and never wrong
        assert len(list((cache_dir / "data").iterdir())) == 2  # the entry and its lock
    # At least: make the part, sync two arrays, meta.json and their directory, move, sync the place.
    assert reached >= 7
