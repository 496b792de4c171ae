"""The programs, each in a process of its own, on one short run."""

import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from cs231n_jax.train import snapshots
from tests.programs import ROOT, on_terminal, run

SHORT = (
    "--config.train.steps=6ep",
    "--config.snapshots.members=3",
    "--config.schedule.cycles=3",
    "--config.data.augment=crop_flip",
)
CONVOLUTIONAL = ("--config.model.options.width=4", *SHORT)

# Where the network is immaterial: tracing is most of what a convolutional one takes.
NARROW = ("--config=tests/train/perceptron.py", *SHORT)


def good(program: str, *words: str) -> str:
    done = run(program, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    path = tmp_path_factory.mktemp("programs") / "run"
    good("train", f"--workdir={path}", *NARROW)
    return path


def test_terminal_shows_a_bar_with_the_time_left(tmp_path, monkeypatch):
    """On a real pseudo-terminal; a log gets plain lines (every other test here)."""
    monkeypatch.setenv("TERM", "xterm")
    controller, terminal = pty.openpty()
    process = on_terminal(Path(os.ttyname(terminal)), "train", f"--workdir={tmp_path / 'run'}", *NARROW)
    seen = bytearray()
    while process.is_alive() or select.select([controller], [], [], 0)[0]:
        if select.select([controller], [], [], 0.1)[0]:
            seen += os.read(controller, 65536)
    os.close(terminal)
    os.close(controller)
    assert process.exitcode == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())
    assert re.search(r"training .*\d+/84 .*ETA \d+:\d\d:\d\d", text)
    assert "average of weights" in text


INTERRUPTED = """import runpy, sys
class Interrupts:
    def find_spec(self, name, *_):
        if name == "jax":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupts())
runpy.run_module("experiments.train", run_name="__main__")
"""


def test_an_interrupt_during_the_imports_is_one_word():
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stderr == "aborted\n"


def test_evaluate_repeats_the_last_evaluation(workdir):
    output = good("evaluate", f"--workdir={workdir}")
    last = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["split"] == "eval"
    assert float(re.search(r"accuracy\W+([\d.]+)", output)[1]) == pytest.approx(last["accuracy"], rel=1e-5)


def test_evaluate_an_earlier_snapshot(workdir):
    first = snapshots.members(workdir)[0]
    assert f"snapshot at step {first}" in good("evaluate", f"--workdir={workdir}", f"--step={first}")


def test_evaluate_sets_averages_over_views_beside_one_pass(workdir):
    output = good("evaluate", f"--workdir={workdir}", "--marginalise=tta:flip,tta:shifts:1,tta:ten_crop:8")
    last = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])
    assert re.search(rf"exact\W+{last['accuracy']:.2%}\W+{last['loss']:.4f}\W+\d+ of 899\W+\n", output)
    for name in ("tta:flip", "tta:shifts:1", "tta:ten_crop:8"):
        assert re.search(rf"{name} .* \d+ of 899 .*[+-]\d+\.\d+% ± \d+\.\d+% .*[+-]\d+\.\d+ ± \d+\.\d+", output)
    message = fails("evaluate", f"--workdir={workdir}", "--marginalise=mc:4")
    assert "mc:4: model mlp has no noise to average over" in message


@pytest.mark.slow
def test_evaluate_averages_over_the_noise_of_a_run(tmp_path):
    noisy = ("--config.model.options.drop_rate=0.3", "--config.train.steps=42")
    good("train", f"--workdir={tmp_path / 'run'}", *NARROW, *noisy)
    words = ("evaluate", f"--workdir={tmp_path / 'run'}", "--marginalise=exact,mc:3")
    output = good(*words)
    assert re.search(r"mc:3 .* \d+ of 899 .*% ± \d+\.\d+%", output)
    assert output == good(*words, "--step=42")  # the draws are those of the run's seed


def test_ensemble_repeats_the_table_of_the_run(workdir):
    output = good("ensemble", f"--workdir={workdir}")
    for row in json.loads((workdir / "result.json").read_text())["members"]:
        assert re.search(rf"{row['name']}.*{row['accuracy']:.2%}.*{row['loss']:.4f}.*{row['wrong']} of 899", output)


def test_ensemble_of_the_last_two(workdir):
    output = good("ensemble", f"--workdir={workdir}", "--last=2")
    steps = snapshots.members(workdir)
    assert f"snapshot at step {steps[0]}" not in output
    assert all(f"snapshot at step {s}" in output for s in steps[1:])


def test_reproduce_finds_every_line_equal(workdir, tmp_path):
    output = good("reproduce", str(workdir), f"--workdir={tmp_path / 'replay'}")
    lines = len((workdir / "metrics.jsonl").read_text().splitlines())
    assert f"all {lines} lines of metrics.jsonl are equal" in output


def test_reproduce_names_the_first_difference(workdir, tmp_path):
    copy = tmp_path / "record"
    copy.mkdir()
    for name in ("config.json", "environment.json", "metrics.jsonl"):
        shutil.copy(workdir / name, copy)
    lines = (copy / "metrics.jsonl").read_text().splitlines()
    changed = json.loads(lines[2])
    changed["loss"] += 1e-6
    lines[2] = json.dumps(changed)
    (copy / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    environment = json.loads((copy / "environment.json").read_text())
    environment["versions"]["jax"] = "0.0.1"
    (copy / "environment.json").write_text(json.dumps(environment))
    done = run("reproduce", str(copy), f"--workdir={tmp_path / 'replay'}", "--steps=30")
    assert done.returncode == 1
    assert f"first difference: step {changed['step']} {changed['split']} loss: " in done.stdout
    assert "environment differs, versions.jax: '0.0.1'" in done.stdout
    assert "\nlargest relative differences, in another environment: train " in done.stdout
    told = re.search(f"differences, .* {changed['split']} loss ([^,\\s]*)", done.stdout)
    assert float(told[1]) == pytest.approx(1e-6 / changed["loss"], rel=0.05)


@pytest.mark.slow
def test_reproduce_replays_every_record_of_a_folder(workdir, tmp_path):
    """Each to its first line, which is at update 14; what differs by the environment, and what cannot be replayed."""
    records = tmp_path / "records"
    for name in ("a", "b", "deeper/c", "d", "gpu"):
        shutil.copytree(workdir, records / name, ignore=shutil.ignore_patterns("snapshots", ".*"))
    first = (workdir / "metrics.jsonl").read_text().splitlines()[0]
    for name in ("b", "deeper/c"):
        (records / name / "metrics.jsonl").write_text(first.replace('"loss": ', '"loss": 1') + "\n")
    environment = json.loads((workdir / "environment.json").read_text())
    environment["cpu"]["features"] = ["mmx"]
    (records / "deeper" / "c" / "environment.json").write_text(json.dumps(environment))
    environment["device"]["platform"] = "gpu"
    (records / "gpu" / "environment.json").write_text(json.dumps(environment))
    (records / "d" / "metrics.jsonl").unlink()
    done = run("reproduce", str(records), "--steps=5", f"--workdir={tmp_path / 'replays'}")
    assert done.returncode == 1
    assert "a, 14 updates:" in done.stdout
    assert "first difference: step 14 train loss" in done.stdout
    assert "gpu, 14 updates:\nenvironment differs, device.platform: 'gpu' → 'cpu'" in done.stdout
    assert done.stdout.splitlines()[-4:] == [
        "1 of 5 records are equal",
        "1 differ, and so does the environment: deeper/c",
        "1 differ, in the environment of the record: b",
        "2 were not replayed: d, gpu",
    ]


def test_reproduce_never_compares_an_old_replay(workdir, tmp_path):
    """A finished replay, the record itself, and steps that the record does not have are refused."""
    good("reproduce", str(workdir), f"--workdir={tmp_path / 'replay'}", "--steps=14")
    for target, steps, message in (
        (tmp_path / "replay", 14, "finished replay"),
        (workdir, 14, "finished replay"),
        (tmp_path / "new", 85, "the record has 84 updates"),
        (tmp_path / "new", 5, "no line before"),
    ):
        before = {p: p.read_bytes() for p in workdir.iterdir() if p.is_file()}
        done = run("reproduce", str(workdir), f"--workdir={target}", f"--steps={steps}")
        assert (done.returncode, message in done.stderr) == (1, True), done.stderr
        assert before == {p: p.read_bytes() for p in workdir.iterdir() if p.is_file()}


@pytest.mark.slow
def test_float64_computes_in_float64(tmp_path):
    flags = (*CONVOLUTIONAL, "--config.model.dtype=float64", "--config.train.steps=5")
    good("train", f"--workdir={tmp_path / 'run'}", *flags)
    _, params, state = snapshots.load(tmp_path / "run")
    assert {x.dtype.name for x in jax.tree.leaves((params, state))} == {"float64"}
    assert "snapshot at step 5" in good("evaluate", f"--workdir={tmp_path / 'run'}")


@pytest.mark.slow
def test_frozen_stages_and_uneven_evaluation_batches(tmp_path):
    output = good(
        "train", f"--workdir={tmp_path / 'run'}", *CONVOLUTIONAL, "--config.train.steps=6",
        "--config.model.options.frozen=('stem',)", "--config.data.eval_batch_size=100",
        "--config.optimizer.rate_paths=('^stage1',)", "--config.optimizer.rate_factors=(0.1,)",
    )  # fmt: skip
    assert "average of weights" in output
    first, *_, last = snapshots.members(tmp_path / "run")
    (_, before, _), (_, after, state) = (snapshots.load(tmp_path / "run", step) for step in (first, last))
    assert np.all(state["batch_stats"]["stem_norm"]["mean"] == 0)
    for stage, moves in {"stem": False, "stage1": True, "head": True}.items():
        for name in (name for name in after if name.startswith(stage)):
            same = [np.array_equal(x, y) for x, y in zip(jax.tree.leaves(before[name]), jax.tree.leaves(after[name]))]
            assert all(same) != moves, name
    rates = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert {"learning_rate/trained/^stage1", "learning_rate/trained/<others>"} <= set(rates)


def test_plan_tells_sizes_and_draws(tmp_path):
    output = good("plan", f"--workdir={tmp_path}", "--config=experiments/configs/cifar10_resnet.py:resnet20",
                  "--config.data.name=synthetic")  # fmt: skip
    assert "269,722" in output
    assert "64,000" in output
    assert (tmp_path / "learning_rate.png").read_bytes().startswith(b"\x89PNG")


def test_replay_config_is_the_same_run_and_a_finished_one_prints_its_table_again(workdir):
    before = {p: p.stat().st_mtime_ns for p in workdir.rglob("*") if p.is_file()}
    output = good("train", f"--config=experiments/configs/replay.py:{workdir}/config.json", f"--workdir={workdir}")
    assert "is finished" in output
    assert "average of predictions" in output
    assert before == {p: p.stat().st_mtime_ns for p in workdir.rglob("*") if p.is_file()}
    assert (workdir / "curves.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("program", "words", "code", "message"),
    [
        ("evaluate", [], 2, "workdir"),
        ("evaluate", ["--workdir=/nowhere"], 1, "holds no run"),
        ("evaluate", ["--workdir=/nowhere", "--marginalise=mc:0"], 2, "--marginalise=mc:0: mc wants the number of pas"),
        ("evaluate", ["--workdir=/nowhere", "--marginalise=mc,exact"], 2, "--marginalise=mc: mc wants the number of p"),
        ("evaluate", ["--workdir=/nowhere", "--marginalise=tta:flop"], 2, "tta:flop is no way to predict (did you mea"),
        ("evaluate", ["--workdir=/nowhere", "--marginalise="], 2, "--marginalise is empty: give some of exact, mc:K"),
        ("evaluate", ["--workdir=/nowhere", "--marginalise=exact", "--together=0"], 2, "together"),
        ("ensemble", ["--workdir=/nowhere"], 1, "holds no run"),
        ("decode", [], 2, "workdir"),
        ("decode", ["--workdir=/nowhere"], 2, "prompt"),
        ("decode", ["--workdir=/nowhere", "--prompt=a"], 1, "holds no run"),
        ("decode", ["--workdir=/nowhere", "--prompt=a", "--top_p=0"], 2, "top_p is 0.0; it must lie in (0, 1]"),
        ("decode", ["--workdir=/nowhere", "--prompt=a", "--beam=2", "--seed=1"], 2, "a beam search draws nothing"),
        ("decode", ["--workdir=/nowhere", "--prompt=a", "--page=b.html"], 2, "--page is for --split and --input"),
        ("reproduce", [], 2, "give one record"),
        ("reproduce", ["/nowhere"], 1, "is no record"),
        ("plan", ["--config.model.nam=x"], 2, "did you mean name"),
        ("plan", ["--config.seed.foo=1"], 2, "config.seed is a value"),
        ("plan", ["--config.train=5"], 2, "--config.train holds steps"),
        ("plan", ["--config.model.options=5"], 2, "set one of them"),
        ("plan", ["--workdir=README.md"], 1, "README.md cannot be used"),
        ("plan", ["--config=README.md"], 2, "README.md is no config"),
        ("plan", ["--config=experiments/configs/replay.py:/nowhere.json"], 2, "/nowhere.json"),
        ("plan", ["--config.snapshots.members=2"], 1, "schedule.cycles=5"),
        ("plan", ["--config.train.steps=3"], 1, "do not fit 3 updates"),
    ],
)
def test_mistakes_are_one_clear_line(program, words, code, message):
    done = run(program, *words)
    assert done.returncode == code
    assert len(done.stderr.strip().splitlines()) == 1
    assert message in done.stderr


def test_missing_members_and_snapshots_are_named(workdir):
    done = run("ensemble", f"--workdir={workdir}", "--last=9")
    assert (done.returncode, "has 3 member snapshots" in done.stderr) == (1, True)
    done = run("evaluate", f"--workdir={workdir}", "--step=17")
    assert (done.returncode, "no snapshot 17" in done.stderr) == (1, True)


def test_a_classifier_generates_nothing(workdir):
    message = fails("decode", f"--workdir={workdir}", "--prompt=a")
    assert message == "error: a run of the task Classification does not generate: give one of a language model\n"
    assert not (workdir / "samples").exists()


@pytest.fixture
def unfinished(workdir, tmp_path):
    """A copy of the run as a kill after its second member would have left it."""
    copy = tmp_path / "copy"
    shutil.copytree(workdir, copy)
    (copy / "result.json").unlink()
    shutil.rmtree(snapshots.directory(copy, snapshots.members(copy)[-1]))
    return copy


def fails(program: str, *words: str) -> str:
    done = run(program, *words)
    assert done.returncode in (1, 2), done.stdout + done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    return done.stderr


@pytest.mark.parametrize("damage", ["a line", "the file"])
def test_lost_metrics_stop_a_resume(unfinished, damage):
    path = unfinished / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:1], "garbage\n", *lines[2:]]) if damage == "a line" else "")
    message = fails("train", f"--workdir={unfinished}", *NARROW)
    assert "is not what it was at the snapshot" in message


def test_a_lost_member_is_named(unfinished):
    first = snapshots.members(unfinished)[0]
    shutil.rmtree(snapshots.directory(unfinished, first))
    assert f"the member snapshots at steps {first} are gone" in good("train", f"--workdir={unfinished}", *NARROW)
    assert json.loads((unfinished / "result.json").read_text())["lost_members"] == [first]


def test_evaluate_says_which_snapshot_it_passed(unfinished):
    newest = snapshots.directory(unfinished, snapshots.steps(unfinished)[-1])
    (newest / "manifest.json").write_text("{")
    assert f"{newest} has no readable manifest" in good("evaluate", f"--workdir={unfinished}")


@pytest.mark.slow
def test_a_mistake_seen_late_leaves_the_directory_free(tmp_path):
    workdir = tmp_path / "run"
    vgg = ("--config=experiments/configs/vgg.py", "--config.data.name=digits", "--config.data.batch_size=64")
    assert "vgg16_bn_cifar takes images of at least 32×32, got 8×8" in fails("train", f"--workdir={workdir}", *vgg)
    good("train", f"--workdir={workdir}", *NARROW, "--config.train.steps=3")


@pytest.mark.parametrize(("name", "content"), [("config.json", ""), ("environment.json", "[]"), ("result.json", "{")])
def test_damaged_run_files_are_named(workdir, tmp_path, name, content):
    copy = tmp_path / "copy"
    shutil.copytree(workdir, copy)
    if name == "environment.json":
        (copy / "result.json").unlink()
    (copy / name).write_text(content)
    assert f"{copy / name} is damaged" in fails("train", f"--workdir={copy}", *NARROW)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("train.steps=99999999999", "at most 99999999 are counted"),
        ("model.options.width=0", "must be an integer from 1 to"),
        ("model.options.num_classes=abc", "num_classes=abc: invalid literal for int"),
        ("model.options.frozen=5", "must be a tuple with each element a string"),
        ("model.options.shortcut=C", "must be one of 'A', 'B'"),
        ("train.max_dropped=99999999999", "below 2³¹"),
        ("data.augment_padding=2147483648", "at most 4096 pixels"),
        ("schedule.boundaries=(5,)", "write it as a string"),
    ],
)
def test_values_out_of_range_are_one_line(tmp_path, flag, message):
    assert message in fails("plan", f"--workdir={tmp_path / 'run'}", f"--config.{flag}")
