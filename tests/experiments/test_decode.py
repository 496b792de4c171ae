"""experiments.decode in processes of its own, on a small language model."""

import signal
import time
from pathlib import Path

import pytest

from tests.programs import Started

SHORT = (
    "--config=experiments/configs/char_lm.py:lstm",
    "--config.model.options.hidden=16",
    "--config.train.steps=40",
    "--config.schedule.warmup=0",
    "--config.train.ema_decay=0.9",
)


def run(program, *words):
    """(exit code, what it printed, what it complained of)."""
    done = Started(program, *words).end()
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    path = tmp_path_factory.mktemp("decode") / "run"
    code, _, errors = run("train", f"--workdir={path}", *SHORT)
    assert code == 0, errors
    return path


def test_the_same_command_prints_and_writes_the_same_bytes(workdir):
    words = (f"--workdir={workdir}", "--prompt=The value\n", "--samples=3", "--length=100", "--temperature=0.8")
    first = run("decode", *words)
    path = Path(first[1].splitlines()[-1].removeprefix("# "))
    assert path.parent == workdir / "samples"
    content = path.read_bytes()
    path.unlink()
    assert run("decode", *words) == first
    assert path.read_bytes() == content
    code, output, errors = first
    assert (code, errors) == (0, "")
    assert output.count("# 100 tokens, -") == 3
    assert output.count("\nThe value\n") == 3
    assert output.endswith(f"# {path}\n")


def test_averages_and_beams(workdir):
    words = (f"--workdir={workdir}", "--prompt=def ", "--length=20", "--beam=4", "--samples=2")
    outputs = [run("decode", *words, *more) for more in ((), ("--average",))]
    assert [(code, errors) for code, _, errors in outputs] == [(0, "")] * 2
    assert all(output.count("\ndef ") == 2 for _, output, _ in outputs)
    assert outputs[0] != outputs[1]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--prompt=naïve"], 1, "error: the prompt has 'ï', which is not in the vocabulary"),
        (["--prompt="], 1, "error: the prompt is empty: give at least one character"),
        (["--prompt=a", "--snapshot=7"], 1, "error: no snapshot 7 in"),
        ([], 2, "error: give one of --prompt=TEXT, --split=NAME and --input=FILE"),
        (["--split=test"], 2, "error: beam is 0; it must be at least 1"),
        (["--split=test", "--beam=2", "--seed=1"], 2, "error: --seed is for --prompt: each input"),
        (["--split=test", "--beam=2"], 1, "error: the task language_modelling continues texts and has no inputs"),
        (["--input=docs/alignments.png", "--beam=2"], 1, "error: docs/alignments.png is no text in UTF-8 ("),
        (["--prompt=a", "--beam=2", "--samples=3"], 2, "error: samples is 3, but a beam of 2 finds no more than 2"),
    ],
)
def test_mistakes_are_one_clear_line(workdir, words, code, message):
    found, output, errors = run("decode", f"--workdir={workdir}", *words)
    assert (found, output) == (code, "")
    assert errors.startswith(message)
    assert len(errors.splitlines()) == 1


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux whether a signal is caught yet")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_what_there_is(workdir, number):
    process = Started("decode", f"--workdir={workdir}", "--prompt=a", "--length=1000000", f"--seed={int(number)}")
    until = time.monotonic() + 120
    while not process.handles(signal.SIGTERM) and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(1)
    process.send(number)
    ended = process.end(120)
    output = ended.stdout
    assert (ended.returncode, ended.stderr) == (75, "")
    (path,) = (workdir / "samples").glob("*.partial.txt")
    assert str(path) in output
    assert "the same command finishes it" in output
    assert f"# seed: {int(number)}\n" in path.read_text()
    path.unlink()
