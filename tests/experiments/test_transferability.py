"""The study of transferability: halves of the classes, and nets whose first parts are another's."""

import json

import numpy as np
import pytest

from cs231n_jax.interop import published
from cs231n_jax.train import record, snapshots
from cs231n_jax.train.assemble import assemble, frozen_stages
from experiments.studies import transferability
from experiments.studies.transferability import QUICK


def test_halves_share_no_class_and_number_their_own():
    labels = np.tile(np.arange(6), 4)
    new = transferability.halves(labels, 0)
    assert not ((new["A"] >= 0) & (new["B"] >= 0)).any()
    assert not ((new["A"] < 0) & (new["B"] < 0)).any()
    for half in new.values():
        assert sorted(set(half)) == [-1, 0, 1, 2]
        assert all(len(set(labels[half == k])) == 1 for k in range(3))
    test = transferability.halves(labels[:9], 0)  # the same for another split that has all classes
    np.testing.assert_array_equal(test["A"], new["A"][:9])
    assert any((transferability.halves(labels, seed)["A"] != new["A"]).any() for seed in (1, 2))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("transferability")
    return workdir, transferability.study(workdir, quick=True)


@pytest.mark.slow
def test_every_way_at_every_depth_is_in_the_table(done):
    _, result = done
    assert result.figure.read_bytes().startswith(b"\x89PNG")
    assert [(row["way"], row["through"]) for row in result.rows] == [
        ("base B", ""),
        *((way, stage) for way in ("BnB", "BnB+", "AnB", "AnB+") for stage in ("hidden1", "hidden2")),
    ]
    assert result.sentence.endswith(".")


@pytest.mark.slow
@pytest.mark.parametrize(("way", "source", "stays"), [("AnB", "A", True), ("BnBplus", "B", False)])
def test_what_is_carried_over_is_the_other_nets(done, way, source, stays):
    root = done[0] / "transferability" / "seed0"
    there = published.flat({"params": snapshots.load(root / f"base_{source}")[1]})
    config, params = record.stored_config(root / f"{way}_1"), snapshots.load(root / f"{way}_1")[1]
    after, begun = (published.flat({"params": x}) for x in (params, assemble(config).new_state().params))
    for path in there:
        ours = "hidden1" in path
        assert np.array_equal(begun[path], there[path]) == ours, path
        assert np.array_equal(after[path], begun[path]) == (ours and stays), path
    assert frozen_stages(config) == (("hidden1",) if stays else ())


def test_differences_are_taken_seed_by_seed():
    found = [{"base": 0.5, **{f"{way} 1": 0.4 for way in transferability.WAYS}}]
    found += [{"base": 0.7, **{f"{way} 1": 0.64 for way in transferability.WAYS}}]
    base, row, *_ = transferability.rows(found, ("stem",))
    assert base["accuracy (%)"] == pytest.approx(60)
    assert (row["difference"], row["±"]) == (pytest.approx(-8), pytest.approx(2))


@pytest.mark.slow
def test_a_study_of_another_setting_does_not_go_on(done, monkeypatch):
    kept = done[0] / "transferability" / "seed0" / "base_B.json"
    assert json.loads(kept.read_text())["setting"]["updates"] == 2
    monkeypatch.setattr(transferability, "QUICK", QUICK._replace(updates=3))
    with pytest.raises(ValueError, match="found with another setting of the study"):
        transferability.study(done[0], quick=True)
