"""Nothing lost: real processes, killed at random moments, end with the bytes of an undisturbed run."""

import json
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import jax
import pytest

from cs231n_jax.train import record, snapshots
from cs231n_jax.train.evaluate import CUT
from tests.programs import Started, run
from tests.rows import but_for

# What a kill leaves and what goes on from it is a matter of the loop and its files, whatever the network is; tracing a
# convolutional one would be most of what each start takes. One with statistics is killed in test_every_config.py.
NARROW = ("--config=tests/train/perceptron.py",)
SHORT = (
    *NARROW,
    "--config.train.steps=30ep",
    "--config.train.save_every=5ep",
    "--config.snapshots.members=5",
)


ALONE = ("--config.schedule.name=constant", "--config.snapshots.members=0")


def start(workdir: Path, *flags: str, program: str = "train") -> Started:
    return Started(program, f"--workdir={workdir}", *flags)


def finish(workdir: Path, *flags: str) -> str:
    done = run("train", f"--workdir={workdir}", *flags)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def whole_state(workdir: Path, step: int) -> dict[str, Any]:
    """All that a snapshot holds, the slots of the optimizer too, whatever run and dtype it is of."""
    snapshots.manifest(workdir, step)
    return snapshots._read_tree(snapshots.directory(workdir, step) / "state")


def assert_same_run(a: Path, b: Path) -> None:
    assert (a / "metrics.jsonl").read_bytes() == (b / "metrics.jsonl").read_bytes()
    assert snapshots.members(a) == snapshots.members(b)
    for step in snapshots.members(a):
        states = [whole_state(workdir, step) for workdir in (a, b)]
        assert jax.tree.leaves(states[0]["opt_state"])
        assert jax.tree.structure(states[0]) == jax.tree.structure(states[1])
        for x, y in zip(*map(jax.tree.leaves, states)):
            assert x.dtype == y.dtype
            assert x.tobytes() == y.tobytes()
    results = [json.loads((workdir / "result.json").read_text()) for workdir in (a, b)]
    assert results[0]["members"] == results[1]["members"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The short main job, never interrupted, and how long it takes where everything is compiled."""
    workdir = tmp_path_factory.mktemp("undisturbed") / "run"
    before = time.monotonic()
    finish(workdir, *SHORT)
    compiling = sum(json.loads(line).get("compile", 0) for line in (workdir / "timing.jsonl").read_text().splitlines())
    return workdir, time.monotonic() - before - compiling


def kill_when_saving(process: Started, workdir: Path, skip: int) -> bool:
    """SIGKILL as soon as the (skip + 1)-th save is being written; False if the process ended before."""
    seen: set[str] = set()
    while process.runs:
        seen |= {p.name for p in (workdir / "snapshots").glob(".writing_*")} if workdir.exists() else set()
        if len(seen) > skip:
            process.send(signal.SIGKILL)
            return True
        time.sleep(0.001)
    return False


def kill_repeatedly(workdir: Path, seconds: float, kills: int, *flags: str) -> list[str]:
    """Kill and repeat: every third time inside a save, else at a random moment. Returns what was done."""
    seed = random.SystemRandom().randrange(10**6)
    moments, done = random.Random(seed), [f"seed {seed}"]
    for i in range(kills):
        process = start(workdir, *flags)
        if i % 3 == 0:
            done.append(f"in a save: {kill_when_saving(process, workdir, moments.randrange(2))}")
            process.end()
        else:
            delay = moments.uniform(0.25, 0.95) * seconds
            time.sleep(delay)
            process.send(signal.SIGKILL)
            process.end()
            done.append(f"after {delay:.2f} s: step {snapshots.latest_good(workdir)}")
    finish(workdir, *flags)
    return done


@pytest.mark.parametrize("kills", but_for([1], [1, 6]))
def test_killed_run_ends_with_the_same_bytes(undisturbed, kills, tmp_path):
    reference, seconds = undisturbed
    done = kill_repeatedly(tmp_path / "killed", seconds, kills, *SHORT)
    print(done)
    assert_same_run(reference, tmp_path / "killed")
    assert not list((tmp_path / "killed" / "snapshots").glob(".*"))


def test_each_signal_saves_and_asks_to_be_continued(undisturbed, tmp_path):
    """One run that three signals stop in turn, each after it went on for a while."""
    reference, _ = undisturbed
    workdir = tmp_path / "run"
    metrics, stopped = workdir / "metrics.jsonl", []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        before = metrics.read_text().count("\n") if metrics.exists() else 0
        process = start(workdir, *SHORT)
        while not metrics.exists() or metrics.read_text().count("\n") <= before:
            assert process.runs
            time.sleep(0.01)
        process.send(number)
        ended = process.end(120)
        assert ended.returncode == 75, ended.stderr
        assert f"{signal.Signals(number).name}: saved step" in ended.stdout
        stopped.append(snapshots.latest_good(workdir))
    assert 0 < stopped[0] < stopped[1] < stopped[2]
    finish(workdir, *SHORT)
    assert_same_run(reference, workdir)


@pytest.mark.slow
def test_damaged_newest_snapshot_is_named_and_the_one_before_used_and_torn_lines_are_dropped(undisturbed, tmp_path):
    reference, _ = undisturbed
    workdir = tmp_path / "run"
    process = start(workdir, *SHORT)
    while len(snapshots.steps(workdir)) < 3:
        assert process.runs
        time.sleep(0.01)
    process.send(signal.SIGKILL)
    process.end()
    newest = snapshots.steps(workdir)[-1]
    largest = max(snapshots.directory(workdir, newest).rglob("*"), key=lambda p: p.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(bytes(content))
    for name in ("metrics.jsonl", "timing.jsonl"):  # a last line that the kill tore
        with (workdir / name).open("a") as file:
            file.write('{"step": 42, "sec')
    output = finish(workdir, *SHORT)
    assert "does not match its SHA-256; using the one before" in output
    assert_same_run(reference, workdir)
    assert [p.name for p in (workdir / "snapshots").glob("*.damaged*")]


TEXT = (
    "--config=experiments/configs/char_lm.py",
    "--config.model.options.hidden=16",
    "--config.data.limit=448",  # 14 updates an epoch, as of the images
    "--config.train.log_every=1ep",
    "--config.train.eval_every=2ep",
)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [pytest.param(NARROW, id="images"), pytest.param(TEXT, id="text")])
def test_signal_in_an_evaluation_then_a_kill(kind, tmp_path):
    """The evaluation that a signal cut off is made once, though a kill follows right behind its line."""
    flags = (
        *kind, "--config.train.steps=4ep", "--config.train.save_every=3ep", "--config.snapshots.members=0",
        "--config.data.eval_batch_size=1",
    )  # fmt: skip
    finish(tmp_path / "reference", *flags)
    workdir = tmp_path / "run"
    lines = workdir / "metrics.jsonl"

    def wait_for(text: str, count: int) -> Started:
        process = start(workdir, *flags)
        while not lines.exists() or lines.read_text().count(text) < count:
            assert process.runs
            time.sleep(0.002)
        return process

    process = wait_for('"split": "train"', 2)  # the evaluation after epoch 2 begins, one example a batch
    process.send(signal.SIGTERM)
    assert process.end().returncode == 75
    assert snapshots.manifest(workdir, 28)["pending"] == "eval"
    process = wait_for('"split": "eval"', 1)
    process.send(signal.SIGKILL)
    process.end()
    finish(workdir, *flags)
    assert lines.read_bytes() == (tmp_path / "reference" / "metrics.jsonl").read_bytes()


@pytest.mark.slow  # by default a killed text is one of test_every_config.py
def test_a_killed_text_goes_on_in_the_middle_of_an_epoch_with_its_carry(tmp_path):
    flags = (*TEXT, "--config.train.steps=4ep", "--config.train.log_every=3", "--config.train.save_every=5")
    finish(tmp_path / "reference", *flags)
    workdir = tmp_path / "run"
    for least in (20, 35):
        process = start(workdir, *flags)
        while (snapshots.latest_good(workdir) or 0) < least:
            assert process.runs
            time.sleep(0.002)
        process.send(signal.SIGKILL)
        process.end()
        assert snapshots.latest_good(workdir) % 14  # an epoch
    assert f"continuing from the snapshot at step {snapshots.latest_good(workdir)}" in finish(workdir, *flags)
    assert (workdir / "metrics.jsonl").read_bytes() == (tmp_path / "reference" / "metrics.jsonl").read_bytes()
    states = [jax.tree.leaves(whole_state(d, 56)) for d in (tmp_path / "reference", workdir)]
    assert any(leaf.any() for leaf in jax.tree.leaves(whole_state(workdir, 56)["model_state"]["carry"]))
    assert [leaf.tobytes() for leaf in states[0]] == [leaf.tobytes() for leaf in states[1]]


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc whether the evaluation has begun")
@pytest.mark.parametrize(
    "ways",
    [
        pytest.param((), id="one pass"),
        pytest.param(("--marginalise=exact,tta:flip",), id="several", marks=pytest.mark.slow),
    ],
)
def test_signal_to_the_program_that_evaluates(ways, undisturbed):
    workdir, _ = undisturbed
    before = sorted(workdir.rglob("*"))
    process = start(workdir, *ways, program="evaluate")
    while not process.handles(signal.SIGTERM):
        time.sleep(0.005)
    process.send(signal.SIGTERM)
    ended = process.end()
    assert (ended.returncode, ended.stderr, ended.stdout.strip()) == (75, "", f"{CUT}; the same command finishes it")
    assert sorted(workdir.rglob("*")) == before


def test_workdir_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("mine")
    done = run("train", f"--workdir={tmp_path}")
    assert (done.returncode, "holds no run, but other files" in done.stderr) == (1, True)
    assert (tmp_path / "metrics.jsonl").read_text() == "mine"
    assert not (tmp_path / "config.json").exists()


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--config.optimizer.learning_rat=0.1"], 2, "did you mean learning_rate?"),
        (["--config.seed=abc"], 2, "--config.seed=abc"),
        (["--config.data.augment=crap"], 1, "crop"),
        (["--confg=x"], 2, "confg"),
        (["--config=experiments/configs/nothing.py"], 2, "nothing.py"),
        (["--config.data.name=cifar10", "--config.data.dir=/nowhere/at/all"], 1, "/nowhere/at/all"),
        (["--config.train.steps=10 epochs"], 1, "train.steps"),
        ([*NARROW, "--config.optimizer.learning_rate=1e30"], 1, "not finite at update"),
        (
            [*NARROW, "--config.train.steps=1", "--config.optimizer.learning_rate=1e38", *ALONE],
            1,
            "was not finite at update 1",
        ),
        (["--config.model.name=resnet99"], 1, "unknown model"),
        (["stray"], 2, "stray"),
    ],
)
def test_mistakes_are_one_clear_line(flags, code, message, tmp_path):
    done = run("train", f"--workdir={tmp_path / 'run'}", *flags)
    assert done.returncode == code, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in done.stdout


def test_unwritable_workdir(tmp_path):
    (tmp_path / "file").write_text("in the way")
    done = run("train", f"--workdir={tmp_path / 'file' / 'run'}")
    assert done.returncode == 1
    assert "cannot write to workdir" in done.stderr
    assert (tmp_path / "file").read_text() == "in the way"


def test_workdir_of_another_config_is_refused_untouched(undisturbed):
    reference, _ = undisturbed
    before = {p: p.stat().st_mtime_ns for p in reference.rglob("*") if p.is_file()}
    done = run("train", f"--workdir={reference}", *SHORT, "--config.seed=7")
    assert done.returncode == 1
    assert "seed: 0 → 7" in done.stderr
    assert before == {p: p.stat().st_mtime_ns for p in reference.rglob("*") if p.is_file()}


def test_second_run_in_the_same_workdir_is_refused(tmp_path):
    with record.locked(tmp_path / "run"):
        done = run("train", f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 1
    assert "in use by another run" in done.stderr
