"""A data set on the device, many updates a call: the same run, and what is due is still done on time."""

import json

import pytest

from cs231n_jax.config import Config, TrainConfig
from cs231n_jax.data import DataConfig
from cs231n_jax.models import ModelConfig
from cs231n_jax.optim import OptimizerConfig
from cs231n_jax.train import sharding, snapshots
from cs231n_jax.train.assemble import assemble
from cs231n_jax.train.loop import Loop, Silent
from cs231n_jax.train.signals import Interrupted, StopRequest
from tests.rows import but_for
from tests.train.test_devices import largest_difference


class Calls(Silent):
    def start(self, done, total):
        self.calls = [done]

    def advance(self, done):
        self.calls.append(done)


def run(workdir, calls, fsdp=1, stop=None, devices=1, **durations):
    train = {"steps": "40", "log_every": "15", "eval_every": "0", "save_every": "25"} | durations
    config = Config(
        model=ModelConfig(name="mlp", options={"hidden": (128,)}),  # one kernel is large enough to be split
        data=DataConfig(name="digits", batch_size=32, augment="crop_flip", augment_padding=1),
        optimizer=OptimizerConfig(name="adam", learning_rate=1e-3),
        train=TrainConfig(steps_per_call=calls, **train),
        mesh=sharding.MeshConfig(data=devices // fsdp, fsdp=fsdp),
    )
    workdir.mkdir(exist_ok=True)
    reporter = Calls()
    loop = Loop(assemble(config), workdir, reporter, StopRequest() if stop is None else stop, 0.0)
    return loop.run(), reporter.calls, list(map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines()))


@pytest.fixture(scope="module")
def one_by_one(tmp_path_factory):
    return run(tmp_path_factory.mktemp("feed") / "one", 1)


def test_same_numbers_as_one_by_one_and_calls_end_where_something_is_due(one_by_one, tmp_path):
    one, _, slow = one_by_one
    many, calls, fast = run(tmp_path / "many", 8)
    assert calls == [0, 8, 15, 23, 25, 30, 38, 40]  # a line after 15 and 30, a snapshot after 25
    assert largest_difference(many.params, one.params) < 1e-4
    assert [line["step"] for line in fast] == [line["step"] for line in slow]
    assert [line["loss"] for line in fast] == pytest.approx([line["loss"] for line in slow], rel=1e-4)
    assert snapshots.steps(tmp_path / "many") == [25, 40]


@pytest.mark.parametrize("fsdp", but_for([4], [1, 4]))
def test_over_devices(one_by_one, tmp_path, fsdp):
    one, *_ = one_by_one
    many, _, _ = run(tmp_path / "many", 16, fsdp, devices=8)
    assert largest_difference(many.params, one.params) < 1e-4


def test_a_resumed_run_is_the_same_run(tmp_path):
    class AfterAWhile(StopRequest):
        looks = 0

        def __bool__(self):
            self.looks += 1
            return self.looks > 6

    whole, _, lines = run(tmp_path / "whole", 8)
    with pytest.raises(Interrupted):
        run(tmp_path / "cut", 8, stop=AfterAWhile())
    assert snapshots.steps(tmp_path / "cut") == [23]
    again, _, resumed = run(tmp_path / "cut", 8)
    assert resumed == lines
    assert largest_difference(again.params, whole.params) == 0
