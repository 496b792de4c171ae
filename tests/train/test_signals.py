"""The time limit, and traces: in real processes."""

import json
import signal
import time

import pytest

from cs231n_jax.config import Config
from cs231n_jax.train import profile, snapshots
from cs231n_jax.train.signals import Interrupted, StopRequest
from experiments.studies import seeds
from tests.programs import ready, run


def train(workdir, *flags):
    return run("train", f"--workdir={workdir}", *flags)


def test_a_limit_is_met_in_time_and_leaves_time_for_what_takes_long():
    assert not StopRequest()
    assert not StopRequest(10.0)
    assert StopRequest(10.0, started=time.time() - 9.5 * 60)  # a tenth, at most a minute, is kept in reserve
    assert not StopRequest(10.0, started=time.time() - 8 * 60)
    slow = StopRequest(10.0, started=time.time() - 8 * 60)
    slow.allow(100.0)
    assert slow
    assert slow.received == "10 minutes are nearly over"


def test_a_signal_reaches_the_surrounding_request():
    with StopRequest() as outer:
        with StopRequest() as inner:
            signal.raise_signal(signal.SIGTERM)
        assert inner.received == outer.received == "SIGTERM"


def test_a_study_stops_when_a_signal_came_too_late_for_its_run(tmp_path, monkeypatch):
    def about_to_end(*_):
        with StopRequest():
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(seeds, "run", about_to_end)
    with pytest.raises(Interrupted, match=r"when the run in .* had ended"):
        seeds.trained(Config(), tmp_path / "seed0")


@pytest.mark.slow
def test_a_run_saves_before_its_minutes_are_over(tmp_path):
    flags = ("--config.train.steps=100000", "--config.snapshots.members=0", "--config.schedule.name=constant")
    ready()
    before = time.monotonic()
    done = train(tmp_path / "run", *flags, "--max_wall_minutes=0.4")
    assert time.monotonic() - before < 24
    assert done.returncode == 75, done.stderr
    assert "0.4 minutes are nearly over: saved step" in done.stdout
    assert snapshots.latest_good(tmp_path / "run")


@pytest.mark.slow
def test_a_trace_of_some_updates_is_written(tmp_path):
    flags = ("--config.train.steps=12", "--config.snapshots.members=0", "--config.schedule.name=constant")
    done = train(tmp_path / "run", *flags, "--profile=4:6")
    assert done.returncode == 0, done.stderr
    (trace,) = (tmp_path / "run" / "profile").rglob("*.xplane.pb")
    assert trace.stat().st_size > 10_000
    timing = list(map(json.loads, (tmp_path / "run" / "timing.jsonl").read_text().splitlines()))
    seconds = next(line for line in timing if "data" in line)
    assert {"data", "trace", "compile", "seconds"} <= set(seconds)


@pytest.mark.parametrize("text", ["5", "0:3", "7:3", "a:b", "1:"])
def test_a_range_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match="must be FIRST:LAST"):
        profile.parse(text)


def test_ranges_are_read():
    assert profile.parse("100:110") == (100, 110)
    assert profile.parse("") == (0, 0)
