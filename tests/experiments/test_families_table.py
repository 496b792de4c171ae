"""The table of families: every row can be trained, and the quick form is."""

import json
from pathlib import Path

import jax
import pytest

from cs231n_jax import models
from cs231n_jax.config import differences, to_json
from cs231n_jax.models import functional
from cs231n_jax.train.record import stored_config
from experiments import pages, studies
from experiments.studies import families_table
from experiments.studies.families_table import FAMILIES, FULL
from tests.rows import but_for

PINNED = Path(__file__).parents[2] / "experiments" / "pinned" / "families_table"


@pytest.mark.parametrize("name", but_for(["LeNet-5", "AlexNet", "ResNet"], FAMILIES))
def test_every_family_has_a_run_on_the_same_images(name):
    config = families_table.config_of(FULL, name, 200, 1)
    config.validate()
    assert (config.seed, config.train.steps, config.schedule.warmup) == (1, "200", "20")
    assert (config.data.name, config.data.limit, config.data.batch_size) == ("cifar10", 10_000, 128)
    side = config.data.image_size or 32
    model = models.create(config.model.name, **config.model.options)
    assert functional.outputs(model, jax.ShapeDtypeStruct((1, side, side, 3), "float32")).shape == (1, 10)


@pytest.fixture
def trained(monkeypatch):
    """The runs that are asked for, none of them done: VGG's error is one above that of ResNet."""
    calls = []

    def error(setting, name, updates, seed, workdir):
        calls.append((workdir.name, updates))
        return {"error (%)": 30.0 + 2 * seed + (name == "VGG"), "seconds": 600.0}

    monkeypatch.setattr(families_table, "_error", error)
    monkeypatch.setattr(families_table, "_seconds", lambda setting, name: 2.0 if name == "VGG" else 0.5)
    monkeypatch.setattr(families_table, "FULL", FULL._replace(families=("VGG", "ResNet")))
    return calls


def test_all_seeds_of_a_family_make_as_many_updates_and_none_is_trained_twice(tmp_path, trained):
    first, second = (families_table.families_table(tmp_path, False) for _ in range(2))
    updates = {"VGG": 600, "ResNet": 2400}
    assert trained == [(f"{name}_seed{seed}", updates[name]) for name in updates for seed in range(3)]
    assert first.rows == second.rows
    best, other = first.rows
    assert (best["family"], best["error (%)"], best["parameters"]) == ("ResNet", 32, 269_722)
    assert best["± error"] == pytest.approx(2 / 3**0.5)
    assert other["processor seconds an update"] == 2
    assert "1,200 seconds of the processor" in first.sentence
    assert "ResNet 32.0 ± 1.2, VGG 33.0 ± 1.2" in first.sentence
    assert f"The seconds are those of {pages.where()}; the runs were trained on {pages.where()}." in first.sentence


def test_updates_and_runs_are_done_alone_and_found_again(tmp_path, trained, monkeypatch):
    train = studies.trainings()["families_table"]
    assert train(tmp_path, False, ["updates"]) == ["VGG: 2.0000 s, 600 updates", "ResNet: 0.5000 s, 2,400 updates"]
    assert not trained
    assert train(tmp_path, False, ["VGG_seed1", "ResNet_seed2"]) == [
        "VGG_seed1: test error 33.00 %",
        "ResNet_seed2: test error 34.00 %",
    ]
    assert len(train(tmp_path, False, ["all"])) == 6
    assert len(trained) == 6
    found = families_table.recorded(tmp_path / "families_table")
    assert [(row["family"], row["error (%)"], row["updates"], row["seeds"]) for row in found] == [
        ("ResNet", 32, 2400, 3),
        ("VGG", 33, 600, 3),
    ]
    (tmp_path / "families_table" / "VGG_seed0.json").unlink()
    assert families_table.recorded(tmp_path / "families_table")[1]["seeds"] == 2
    assert families_table.recorded(tmp_path) == []
    (tmp_path / "families_table" / "VGG_update.json").unlink()  # one is measured anew, and the other as it was
    monkeypatch.setattr(families_table, "_seconds", lambda setting, name: 3.0)
    assert train(tmp_path, False, ["updates"]) == ["VGG: 3.0000 s, 400 updates", "ResNet: 0.5000 s, 2,400 updates"]
    with pytest.raises(ValueError, match=r"no run is called 'VGG_seed3' \(did you mean VGG_seed"):
        train(tmp_path, False, ["VGG_seed3"])


@pytest.mark.slow
def test_an_accelerator_takes_the_updates_of_a_cpu_and_computes_in_full_precision(tmp_path, monkeypatch):
    train = studies.trainings()["families_table"]
    monkeypatch.setattr(families_table, "_seconds", lambda setting, name: 1.0)
    train(tmp_path, True, ["updates"])
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with pytest.raises(ValueError, match=r"measured on a CPU: run .* --runs=updates` there, and put its .*LeNet-5_up"):
        train(tmp_path / "other", True, ["LeNet-5_seed0"])
    assert train(tmp_path, True, ["LeNet-5_seed0"])[0].startswith("LeNet-5_seed0: test error ")
    run = tmp_path / "families_table" / "LeNet-5_seed0"
    assert json.loads((run / "environment.json").read_text())["matmul_precision"] == "highest"
    assert json.loads((run / "config.json").read_text())["train"]["steps_per_call"] == families_table.EVERY


def test_the_records_are_of_the_study_as_it_is(monkeypatch):
    """None is trained anew; each run's config is the study's but for what suits the device, its result what is told."""
    monkeypatch.setattr(families_table, "_error", None)
    for name in FAMILIES:
        updates = families_table._updates(FULL, families_table._time(FULL, PINNED, name))
        for seed in range(FULL.seeds):
            found = families_table._finding(FULL, PINNED, name, seed)
            run = PINNED / families_table._label(name, seed)
            expected = families_table.config_of(FULL, name, updates, seed)
            recorded = stored_config(run)
            expected.train.steps_per_call = recorded.train.steps_per_call
            expected.data.eval_batch_size = recorded.data.eval_batch_size
            assert differences(to_json(recorded), to_json(expected)) == []
            result = json.loads((run / "result.json").read_text())
            assert found["error (%)"] == pytest.approx(100 * (1 - result["eval"]["accuracy"]))
            lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
            assert lines[0]["step"] == families_table.EVERY
            assert lines[-1]["accuracy"] == result["eval"]["accuracy"]


@pytest.mark.slow
def test_the_quick_form_trains(tmp_path):
    result = families_table.families_table(tmp_path, True)
    assert {row["family"] for row in result.rows} == {"LeNet-5", "ResNet"}
    assert all(row["updates"] == 1 and row["processor seconds an update"] > 0 for row in result.rows)
    runs = sorted(path.parent.name for path in (tmp_path / "families_table").glob("*/config.json"))
    assert runs == ["LeNet-5_seed0", "ResNet_seed0"]
    environment = json.loads((tmp_path / "families_table" / runs[0] / "environment.json").read_text())
    assert "matmul_precision" not in environment  # a CPU's products are whole
