"""What a replay is compared with, line by line."""

import json
import math

import pytest

from cs231n_jax.config import Config, TrainConfig
from cs231n_jax.data import DataConfig
from cs231n_jax.models import ModelConfig
from cs231n_jax.train.loop import Silent
from cs231n_jax.train.reproduce import first_difference, largest_differences, reproduce
from experiments.studies import seeds
from tests.rows import but_for

LINES = [{"step": step, "split": split, "loss": 2.0 / step} for step in (10, 20, 30) for split in ("train", "eval")]


def test_a_record_may_keep_a_part_of_its_lines():
    assert first_difference(LINES, LINES) == ""
    assert first_difference(LINES[1::2], LINES) == ""


def test_the_first_line_that_is_missing_or_different_is_named():
    assert first_difference(LINES, LINES[:3]) == "step 20 eval: the replay has no such line"
    changed = [line | {"loss": 3.0} if line["step"] == 20 else line for line in LINES]
    assert first_difference(LINES, changed) == "step 20 train loss: 0.1 → 3.0"


def test_the_largest_difference_of_each_number_is_relative_to_the_larger_one():
    same = {"train loss": 0.0, "eval loss": 0.0}
    assert largest_differences(LINES, LINES) == same
    changed = [line | {"loss": line["loss"] * (1.0 + line["step"] / 10)} for line in LINES]
    changed[1]["loss"] = -LINES[1]["loss"]
    assert largest_differences(LINES, changed) == pytest.approx({"train loss": 0.75, "eval loss": 2.0})
    assert largest_differences(LINES[:2], changed[::2]) == pytest.approx({"train loss": 0.5})
    lost = [LINES[0] | {"loss": None}, *LINES[1:]]
    assert largest_differences(LINES, lost) == {"train loss": math.inf, "eval loss": 0.0}
    assert largest_differences(lost, lost) == same
    assert largest_differences(LINES, []) == {}


@pytest.mark.parametrize("platform", but_for(["gpu"], ["cpu", "gpu"]))
def test_a_cpu_replays_the_calls_of_an_accelerator_one_by_one(tmp_path, platform):
    """Many updates in one compiled call are those one by one."""
    config = Config(
        model=ModelConfig(name="mlp", options={"hidden": (4,)}),
        data=DataConfig(name="digits", batch_size=16, limit=64),
        train=TrainConfig(steps="8", log_every="4", eval_every="0", save_every="0", steps_per_call=4),
    )
    recorded = seeds.trained(config, tmp_path / "run")
    environment = json.loads((recorded / "environment.json").read_text())
    environment["device"]["platform"] = platform
    (recorded / "environment.json").write_text(json.dumps(environment))
    found = reproduce(recorded, tmp_path / "replay", 8, Silent(), 0.0)
    assert (found.lines, found.difference) == (3, "")
    replayed = json.loads((tmp_path / "replay" / "config.json").read_text())
    assert replayed["train"]["steps_per_call"] == {"cpu": 4, "gpu": 1}[platform]
