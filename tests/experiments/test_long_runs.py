"""The studies of long trainings: runs done one by one are found again, and verdicts follow from their numbers."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from cs231n_jax import models
from cs231n_jax.data import DataConfig
from cs231n_jax.models import functional
from experiments import studies
from experiments.studies import depth_degradation, long_runs, width_vs_depth
from experiments.studies.long_runs import TEST, TRAINING
from tests.programs import run

ROOT = Path(__file__).parents[2]
MODULES = {"depth_degradation": depth_degradation, "width_vs_depth": width_vs_depth}
every_study = pytest.mark.parametrize("name", MODULES)


@every_study
def test_every_net_can_be_trained_as_the_page_says(name):
    setting = MODULES[name].FULL
    for net in setting.nets:
        config = long_runs.config_of(setting, net, 2)
        config.validate()
        assert (config.seed, config.data.name, config.data.limit, config.data.batch_size) == (2, "cifar10", 10_000, 128)
        assert config.model.options["num_classes"] == 10


def test_nets_of_width_and_depth_have_equal_parameters():
    counts = [models.parameter_count(net.name, **net.options) for net in width_vs_depth.NETS.values()]
    assert counts == [2_748_890, 2_838_484, 2_701_070]
    assert max(counts) / min(counts) < 1.06


@pytest.mark.slow
def test_a_plain_net_is_the_residual_one_without_the_sums():
    """With every kernel of a block's second convolution 0 its output is the norm's bias alone, and x is lost."""
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    plain, residual = (models.create("resnet8", width=4, shortcut=kind) for kind in ("none", "A"))
    params, state = functional.init(plain, 0, x)
    assert jax.tree.structure(params) == jax.tree.structure(functional.init(residual, 0, x)[0])
    block = params["stage1_block1"]
    block["conv2"]["kernel"] = 0 * block["conv2"]["kernel"]
    stem, after = (functional.apply(plain, params, state, x, method="features")[0][s] for s in ("stem", "stage1"))
    np.testing.assert_array_equal(after, np.zeros(after.shape, np.float32))
    np.testing.assert_array_equal(
        functional.apply(residual, params, state, x, method="features")[0]["stage1"], np.maximum(stem, 0)
    )


@pytest.mark.parametrize("options", [{"depth_drop_rate": 0.5}, {"zero_init_last": True}])
def test_a_plain_net_has_no_branch_to_switch_off(options):
    with pytest.raises(ValueError, match=r"shortcut='none' .* leaves nothing of a block"):
        models.create("plain20", **options)


@pytest.mark.slow
def test_runs_done_alone_are_those_of_the_study(tmp_path):
    done = run("study", "depth_degradation", "--quick", "--runs=plain20_seed0", f"--workdir={tmp_path}")
    assert done.returncode == 0, done.stderr
    kept = [json.loads(path.read_text())["ways"] for path in (tmp_path / "depth_degradation").glob("*.json")]
    assert done.stdout.startswith(f"plain20_seed0: {TRAINING} {kept[0][TRAINING]:.2f}, ")
    result = studies.registry()["depth_degradation"](tmp_path, True)
    assert result.numbers[f"plain20: {TRAINING}"] == kept[0][TRAINING]
    assert len(kept[0]["while training"]) == 2  # epochs
    assert "trained in float32 on" in result.sentence
    assert result.figure.exists()


def test_a_run_that_a_study_does_not_have_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no run is called 'plain20_seed1' \(did you mean plain20_seed0\?\)"):
        studies.trainings()["depth_degradation"](tmp_path, True, ["plain20_seed1"])
    done = run("study", "clipping", "--runs=all", f"--workdir={tmp_path}")
    assert done.returncode == 2
    assert "depth_degradation, families_table, width_vs_depth; clipping is none" in done.stderr


@pytest.mark.slow
def test_the_error_on_training_images_is_of_those_alone(tmp_path):
    """And a run as on an accelerator, in bfloat16 and many updates a call, is found as any."""
    data = DataConfig(name="digits", batch_size=16, limit=32)
    setting = depth_degradation.QUICK._replace(data=data, epochs=40, dtype="bfloat16", calls=100)
    found = long_runs.train(setting, tmp_path, ["plain20_seed0"])
    assert found[0].startswith("plain20_seed0: training error (%) 0.00, test error (%) ")  # 32 images by heart
    ways = json.loads((tmp_path / "plain20_seed0.json").read_text())["ways"]
    assert ways[TEST] > 10
    assert ways["dtype"] == "bfloat16"


def kept_by(monkeypatch, errors):
    """Runs that are not trained: `errors` of (net, seed) are (training, test) in percent."""

    def finding(setting, root, label):
        net, _, seed = label.rpartition("_seed")
        training, test = errors(net, int(seed))
        curve = [[1.0, 90.0], [60.0, test]]
        return {TRAINING: training, TEST: test, "while training": curve, "test": curve, "dtype": "bfloat16"}

    monkeypatch.setattr(long_runs, "_finding", finding)
    monkeypatch.setattr(long_runs, "places", lambda setting, root: "trained somewhere")


def test_verdicts_on_depth(tmp_path, monkeypatch):
    training = {"plain20": 5.0, "plain56": 12.0, "resnet20": 4.0, "resnet56": 4.1}
    kept_by(monkeypatch, lambda net, seed: (training[net] + 0.1 * seed * (net == "resnet56"), 20.0 + seed))
    result = studies.registry()["depth_degradation"](tmp_path, False)
    assert "goes from 5.00 to 12.00 % (+7.00 ± 0.00 points; test error +0.00 ± 0.00)" in result.sentence
    assert "a deeper plain net trains worse is confirmed" in result.sentence
    assert "a deeper residual net trains better is not decided" in result.sentence  # 0.1 and 0.2 points worse
    assert result.rows[3]["± training error (%)"] == pytest.approx(0.05)
    assert result.rows[1]["parameters"] == 853_018


def test_verdicts_on_width(tmp_path, monkeypatch):
    test = {"depth16": 20.0, "depth40": 20.1, "depth110": 22.0}
    kept_by(monkeypatch, lambda net, seed: (1.0, test[net] + seed * (net == "depth40")))
    monkeypatch.setattr(long_runs, "seconds_an_update", lambda setting, net: {"depth16": 0.002}.get(net, 0.008))
    result = studies.registry()["width_vs_depth"](tmp_path, False)
    assert "depth16 with 2,748,890 parameters has a test error of 20.00 % and takes 2 ms an update" in result.sentence
    assert "depth40 (+3.3 % parameters) 21.10 %, +1.10 ± 0.58 points, at 4.0 times the time" in result.sentence
    assert "depth40" in result.sentence.split("not decided")[0]
    assert "+2.00 ± 0.00 points" in result.sentence.split("not decided")[1]
    assert json.loads((tmp_path / "width_vs_depth" / "update.json").read_text())["ways"]["depth110"] == 0.008


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((1.0,), "seen in the one seed"),
        ((-1.0,), "not seen in the one seed"),
        ((1.0, 1.1), "confirmed"),  # 1.05 ± 0.05, and 12.71 of these are 0.64
        ((1.0, 1.4), "not decided"),
        ((-1.0, -1.4, -1.2), "refuted"),
        ((-1.0, -1.4, 0.0), "not decided"),
    ],
)
def test_a_verdict_takes_the_interval_of_as_few_seeds_as_there_are(values, said):
    assert long_runs.verdict(np.array(values)) == said


def test_the_time_of_an_update_is_that_of_calls_in_the_loop():
    setting = width_vs_depth.QUICK._replace(calls=3)
    assert 0 < long_runs.seconds_an_update(setting, "depth16") < 1


def test_an_accelerator_computes_in_bfloat16_and_runs_of_two_kinds_are_not_mixed(tmp_path, monkeypatch):
    assert long_runs.here(width_vs_depth.FULL) == width_vs_depth.FULL
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    given = long_runs.here(width_vs_depth.FULL)
    assert (given.dtype, given.calls) == ("bfloat16", long_runs.CALL)
    assert long_runs.essence(given, "depth16") == long_runs.essence(width_vs_depth.FULL, "depth16")
    kinds = iter(["float32", "bfloat16"] * 9)
    monkeypatch.setattr(long_runs, "_finding", lambda setting, root, label: {"dtype": next(kinds)})
    with pytest.raises(ValueError, match="computed in bfloat16 and float32"):
        long_runs.findings(given, tmp_path)


@every_study
def test_the_findings_on_record_belong_to_the_study_as_it_is(name):
    for path in (paths := sorted((ROOT / "experiments" / "pinned" / name).glob("*_seed*.json"))):
        expected = long_runs.essence(MODULES[name].FULL, path.stem.partition("_seed")[0])
        assert json.loads(path.read_text())["setting"] == json.loads(json.dumps(expected))
    assert paths


def test_the_times_on_record_belong_to_the_study_as_it_is():
    kept = json.loads((ROOT / "experiments" / "pinned" / "width_vs_depth" / "update.json").read_text())
    expected = {net: long_runs.essence(width_vs_depth.FULL, net) for net in width_vs_depth.NETS}
    assert kept["setting"] == json.loads(json.dumps(expected))
    assert set(kept["ways"]) == set(width_vs_depth.NETS)
