"""An average as a run directory: what is refused before anything is written, and kills at every moment of saving."""

import os
import signal
from pathlib import Path
from unittest import mock

import jax
import numpy as np
import pytest

from cs231n_jax.config import Config
from cs231n_jax.train import averaged, record, snapshots
from cs231n_jax.train.members import Member
from cs231n_jax.train.record import WorkdirError
from tests.programs import PROCESSES

WEIGHTS = {"layer": {"kernel": np.arange(6, dtype=np.float32)}}, {"batch_stats": {"norm": {"mean": np.zeros(3)}}}


@pytest.fixture(scope="module")
def chosen(tmp_path_factory):
    """Two members of a run."""
    workdir = tmp_path_factory.mktemp("members") / "run"
    workdir.mkdir()
    record.claim(workdir, Config(), {})
    for step in (3, 7):
        snapshots.save_weights(workdir, step, {"layer": {"kernel": np.full(6, step, np.float32)}}, {}, {})
    return [Member(workdir, step) for step in (3, 7)]


def holds(workdir, chosen):
    """The average, whole, and nothing that a kill left."""
    _, *weights = snapshots.load(workdir)
    assert snapshots.steps(workdir) == [7]
    assert [one["step"] for one in snapshots.manifest(workdir, 7)["averaged"]] == [3, 7]
    for a, b in zip(jax.tree.leaves(weights), jax.tree.leaves(WEIGHTS), strict=True):
        assert np.array_equal(a, b)
    assert [path.name for path in (workdir / "snapshots").iterdir()] == ["step_00000007"]
    assert sorted(path.name for path in workdir.iterdir() if path.name != ".lock") == sorted(averaged.CLAIM)


MOMENTS = {
    "before config.json": (record, "write_json", 1),  # overrides.json is there
    "before the arrays": (snapshots, "_write_tree", 0),
    "before the manifest": (snapshots, "_commit", 0),
    "before the name": (snapshots, "_make_way", 0),
    "with the name": (snapshots, "_sync_one", -1),
}


def save_until_killed(chosen: list[Member], workdir: Path, moment: str) -> None:
    """The moment is a call of a function, after so many others of it; −1: the one on the folder of all snapshots."""
    module, name, after = MOMENTS[moment]
    function, calls = getattr(module, name), []

    def counted(*given):
        calls.append(given)
        if given == (workdir / "snapshots",) if after < 0 else len(calls) > after:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*given)

    with mock.patch.object(module, name, counted):
        averaged.save(chosen, WEIGHTS, workdir)


@pytest.mark.parametrize("moment", MOMENTS)
def test_saving_again_after_a_kill_makes_it_whole(chosen, tmp_path, moment):
    workdir = tmp_path / "mean"
    process = PROCESSES.Process(target=save_until_killed, args=(chosen, workdir, moment))
    process.start()
    process.join(100)
    assert process.exitcode == -signal.SIGKILL
    assert snapshots.steps(workdir) == ([7] if moment == "with the name" else [])
    for _ in range(2):
        averaged.check(chosen, workdir)
        assert averaged.save(chosen, WEIGHTS, workdir) == snapshots.directory(workdir, 7)
        holds(workdir, chosen)
    averaged.check(chosen[::-1], workdir)  # the order does not matter


def test_a_directory_that_holds_something_else_is_refused_and_left_as_it_was(chosen, tmp_path):
    for name, content in (("notes", "mine"), ("training", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / ("metrics.jsonl" if name == "training" else "todo.txt")).write_text(content)
    averaged.save(chosen[:1], WEIGHTS, tmp_path / "other")
    (tmp_path / "file").write_text("in the way")
    before = sorted(tmp_path.rglob("*"))
    for place, message in (
        ("notes", "holds todo.txt already: pass an empty or a new directory"),
        ("training", "holds metrics.jsonl already"),
        ("other", "holds snapshots already, and not this average"),
        ("file", "cannot write to workdir"),
        ("file/mean", "cannot write to workdir"),
    ):
        for refuse in (averaged.check, lambda members, workdir: averaged.save(members, WEIGHTS, workdir)):
            with pytest.raises(WorkdirError, match=message):
                refuse(chosen, tmp_path / place)
    with pytest.raises(WorkdirError, match="holds snapshots already"):
        averaged.check(chosen, chosen[0].workdir)
    assert sorted(tmp_path.rglob("*")) == before
    averaged.check(chosen, tmp_path / "new" / "mean")
    assert not (tmp_path / "new").exists()
