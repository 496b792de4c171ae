"""The table of families: every row can be trained, and the quick form is."""

import jax
import pytest

from cs231n_jax import models
from cs231n_jax.models import functional
from experiments.studies import families_table
from experiments.studies.families_table import FAMILIES, FULL


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_a_run_on_the_same_images(name):
    config = families_table.config_of(FULL, name, 200, 1)
    config.validate()
    assert (config.seed, config.train.steps, config.schedule.warmup) == (1, "200", "20")
    assert (config.data.name, config.data.limit, config.data.batch_size) == ("cifar10", 10_000, 128)
    side = config.data.image_size or 32
    model = models.create(config.model.name, **config.model.options)
    assert functional.outputs(model, jax.ShapeDtypeStruct((1, side, side, 3), "float32")).shape == (1, 10)


def test_all_seeds_of_a_family_make_as_many_updates_and_none_is_trained_twice(tmp_path, monkeypatch):
    calls = []

    def error(setting, name, updates, seed, root):
        calls.append((name, updates, seed))
        return {"error (%)": 30.0 + 2 * seed + (name == "VGG"), "seconds": 600.0}

    monkeypatch.setattr(families_table, "_error", error)
    monkeypatch.setattr(families_table, "_seconds", lambda setting, name: 2.0 if name == "VGG" else 0.5)
    monkeypatch.setattr(families_table, "FULL", FULL._replace(families=("VGG", "ResNet")))
    first, second = (families_table.families_table(tmp_path, False) for _ in range(2))
    assert calls == [(name, updates, seed) for seed in range(3) for name, updates in (("VGG", 600), ("ResNet", 2400))]
    assert first.rows == second.rows
    best, other = first.rows
    assert (best["family"], best["error (%)"], best["parameters"]) == ("ResNet", 32, 269_722)
    assert best["± error"] == pytest.approx(2 / 3**0.5)
    assert other["processor seconds an update"] == 2
    assert "1,200 seconds of the processor" in first.sentence
    assert "ResNet 32.0 ± 1.2, VGG 33.0 ± 1.2" in first.sentence


@pytest.mark.slow
def test_the_quick_form_trains(tmp_path):
    result = families_table.families_table(tmp_path, True)
    assert {row["family"] for row in result.rows} == {"LeNet-5", "ResNet"}
    assert all(row["updates"] == 1 and row["processor seconds an update"] > 0 for row in result.rows)
    runs = sorted(path.parent.name for path in (tmp_path / "families_table").glob("*/config.json"))
    assert runs == ["LeNet-5_seed0", "ResNet_seed0"]
