"""Two real processes with four devices each: one run, the numbers of one device, and nothing lost when one dies."""

import json
import re
import signal
import socket
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from cs231n_jax.models import Precision
from cs231n_jax.train import sharding, snapshots
from cs231n_jax.train.assemble import assemble
from cs231n_jax.train.record import stored_config
from tests.programs import PROCESSES, launched, run
from tests.train.test_devices import advance, after, assembly_of, compiled, largest_difference
from tests.train.test_kill import assert_same_run

DTYPES = {1: Precision.FLOAT32, 50: Precision.FLOAT64}  # by the step of the snapshots below
pytestmark = pytest.mark.slow
# What the library of the collectives says, piece by piece, for its threads break one another's lines.
GLOO = r"(\[Gloo\] Rank | is connected to | peer ranks\. | ?Expected number of connected peer ranks is : |\d|\s)*"
TIMEOUT = 15  # seconds of silence after which a process counts as dead
RUN = (
    "--config.model.options.width=4",
    "--config.train.steps=6ep",
    "--config.mesh.data=2",
    "--config.mesh.fsdp=4",
    "--config.train.save_every=1ep",
    "--config.snapshots.members=3",
    "--config.schedule.cycles=3",
)


def start(
    module: str, *arguments: object, log: Path, second: tuple[str, ...] = (), supervised: bool = False
) -> list[BaseProcess]:
    """Two processes of four CPU devices that run a module together; their output goes to files beside `log`.

    `second`: more arguments for process 1. `supervised`: with the launcher that watches each.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for i in range(2):
        place = (f"--coordinator=127.0.0.1:{port}", f"--process_id={i}", "--processes=2", f"--timeout={TIMEOUT}")
        words = [*place, module, *map(str, arguments), *(second if i else ())]
        started.append(PROCESSES.Process(target=launched, args=(words, log.with_name(f"{log.name}.{i}"), supervised)))
        started[-1].start()
    return started


def end(started: list[BaseProcess], seconds: float = 300) -> list[int | None]:
    """Their exit codes."""
    try:
        for process in started:
            process.join(seconds)
        return [process.exitcode for process in started]
    finally:
        for process in started:
            process.kill()


def train(workdir: Path, flags: tuple[str, ...] = RUN, **how: Any) -> list[BaseProcess]:
    log = workdir.with_suffix(".log")
    return start("experiments.train", f"--workdir={workdir}", *flags, log=log, **how)


def train_until_a_save(workdir: Path, flags: tuple[str, ...] = RUN, **how: Any) -> list[BaseProcess]:
    """Two processes that have just written a snapshot, beyond those that were there."""
    before = max(snapshots.steps(workdir), default=0)
    started = train(workdir, flags, **how)
    while max(snapshots.steps(workdir), default=0) <= before:
        assert all(process.is_alive() for process in started)
        time.sleep(0.02)
    return started


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A run of two processes that nothing disturbs."""
    workdir = tmp_path_factory.mktemp("processes") / "undisturbed"
    assert end(train(workdir)) == [0, 0], workdir.with_suffix(".log.0").read_text()
    return workdir


def test_only_process_0_writes_and_speaks(undisturbed):
    workdir = undisturbed
    steps = [
        (line["step"], line["split"]) for line in map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    ]
    assert len(steps) == len(set(steps)) == 9
    assert "average of weights" in workdir.with_suffix(".log.0").read_text()
    spoken = workdir.with_suffix(".log.1").read_text()
    assert re.fullmatch(GLOO, spoken), spoken
    assert json.loads((workdir / "environment.json").read_text())["processes"] == 2


@pytest.mark.parametrize("program", ["evaluate", "ensemble"])
def test_programs_read_the_run_on_one_device(undisturbed, program):
    done = run(program, f"--workdir={undisturbed}")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (undisturbed / "metrics.jsonl").read_text().splitlines()]
    accuracy = [line["accuracy"] for line in lines if line["split"] == "eval"][-1]
    assert (f"{accuracy:.6g}" if program == "evaluate" else f"{accuracy:.2%}") in done.stdout


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--config.optimizer.learning_rate=0.01", "another config than process 0"),
        ("--config.data.batch_size=30", "does not divide"),
    ],
)
def test_a_process_with_other_arguments_ends_the_run_at_once(tmp_path, flag, message):
    before = time.monotonic()
    started = train(tmp_path / "run", second=(flag,), supervised=True)
    codes = end(started, TIMEOUT + 60)
    assert time.monotonic() - before < TIMEOUT + 45
    assert codes == [1, 1]
    assert message in (tmp_path / "run.log.1").read_text()
    assert not snapshots.steps(tmp_path / "run")


def stop_both(workdir: Path, asked: int) -> None:
    """SIGTERM to one of two processes: both save the same step and stop."""
    started = train_until_a_save(workdir, supervised=True)
    started[asked].terminate()
    assert end(started) == [75, 75]
    logs = [workdir.with_suffix(f".log.{i}").read_text() for i in range(2)]
    saved = {log.split("saved step ")[1].split()[0] for log in logs}
    assert len(saved) == 1
    assert snapshots.latest_good(workdir) == int(saved.pop())


def kill_one(workdir: Path, victim: int) -> None:
    """SIGKILL to one of two processes: the other ends in time and says why."""
    started = train_until_a_save(workdir, supervised=True)
    time.sleep(0.05 * (1 + victim))
    started[victim].kill()
    killed = time.monotonic()
    codes = end(started, TIMEOUT + 30)
    assert time.monotonic() - killed < TIMEOUT + 15
    assert codes[victim] == -signal.SIGKILL
    assert codes[1 - victim] == 1
    last = workdir.with_suffix(f".log.{1 - victim}").read_text().splitlines()[-1]
    assert last.startswith("error: another process of this run died")


def test_a_run_that_is_stopped_and_of_which_each_process_is_killed_once_continues(undisturbed, tmp_path):
    workdir = tmp_path / "run"
    stop_both(workdir, asked=1)
    kill_one(workdir, victim=0)
    kill_one(workdir, victim=1)
    assert end(train(workdir)) == [0, 0]
    assert_same_run(workdir, undisturbed)


def work(log: Path, *jobs: object) -> None:
    codes = end(start("tests.train.worker", *jobs, log=log))
    assert codes == [0, 0], log.with_name(f"{log.name}.0").read_text()


@pytest.fixture(scope="module")
def worked(tmp_path_factory):
    """Two run directories of two processes: one update in float32, twenty in float64."""
    root = tmp_path_factory.mktemp("worked")
    short, long = root / "short", root / "long"
    work(root / "log", short, 4, 2, 1, Precision.FLOAT32.value, long, 8, 1, 20, Precision.FLOAT64.value)
    return short, long


def weights(workdir: Path, step: int):
    """Parameters and statistics of a snapshot that lies in no run."""
    tree = snapshots.restore(workdir, step, assembly_of((1, 1), DTYPES[step]).state_shapes)
    return tree.params, tree.model_state


def test_one_float32_step_agrees_with_one_device(worked):
    one = after((1, 1), 1)
    assert largest_difference(weights(worked[0], 1), (one.params, one.model_state)) < 1e-5


def test_fifty_float64_steps_with_a_change_of_processes_agree_with_one_device(worked, x64):
    """20 updates on two processes, 15 on one with another mesh, 15 on two with a third."""
    workdir, assembly = worked[1], assembly_of((4, 2), Precision.FLOAT64)
    state = sharding.put_state(snapshots.restore(workdir, 20, assembly.state_shapes), assembly.mesh)
    snapshots.save(workdir, advance(assembly, compiled(assembly), state, 20, 35), snapshots.Kind.RESUME)
    work(workdir / "log", workdir, 1, 8, 50, Precision.FLOAT64.value)
    one = after((1, 1), 50, Precision.FLOAT64)
    assert largest_difference(weights(workdir, 50), (one.params, one.model_state)) < 1e-10
    read = [np.array(json.loads((workdir / f"indices_{i}.json").read_text())) for i in range(2)]
    epoch = assembly.pipeline.steps_per_epoch
    for first in (0, epoch):  # each of two epochs: every index at most once, the full batches of both together
        both = np.concatenate([half[first : first + epoch].ravel() for half in read])
        assert len(both) == epoch * 64
        assert len(set(both.tolist())) == len(both)
    whole = np.stack([assembly.pipeline.indices(i) for i in range(2 * epoch)])
    assert np.array_equal(np.concatenate(read, axis=1), whole)
    assert jax.process_count() == 1


TEXT = (
    "--config=experiments/configs/char_lm.py:lstm",
    "--config.model.options.hidden=8",
    "--config.model.dtype=float64",
    "--config.data.limit=448",  # 14 updates an epoch
    "--config.data.window=16",
    "--config.schedule.warmup=0",
    "--config.train.steps=20",
    "--config.train.log_every=5",
    "--config.train.eval_every=20",
    "--config.train.save_every=6",
)


def test_the_carry_of_a_text_lies_in_both_processes_and_goes_on_where_it_was(tmp_path, x64):
    """The rows of a batch, and what a language model remembers of each, are split over both."""
    flags, calm, rough, alone = (*TEXT, "--config.mesh.data=8"), *(tmp_path / name for name in ("a", "b", "c"))
    assert end(train(calm, flags)) == [0, 0], calm.with_suffix(".log.0").read_text()
    started = train_until_a_save(rough, flags)
    started[1].terminate()
    assert end(started) == [75, 75]
    assert 6 <= snapshots.latest_good(rough) < 20
    assert end(train(rough, flags)) == [0, 0]
    assert (rough / "metrics.jsonl").read_bytes() == (calm / "metrics.jsonl").read_bytes()
    done = run("train", f"--workdir={alone}", *TEXT, "--config.mesh.data=1")
    assert done.returncode == 0, done.stderr
    shapes = assemble(stored_config(alone)).state_shapes
    trees = [snapshots.restore(workdir, 20, shapes) for workdir in (calm, rough, alone)]
    weights = [(tree.params, tree.model_state) for tree in trees]
    assert np.abs(weights[0][1]["carry"]["layer1_h"]).max() > 0.01
    jax.tree.map(np.testing.assert_array_equal, weights[0], weights[1])
    assert largest_difference(weights[0], weights[2]) < 1e-10
