"""The studies of ensembles and of regularizers: what they keep, compare and say, on made-up findings."""

import dataclasses
import json

import pytest

from cs231n_jax.data import open_source
from experiments import studies
from experiments.studies import ensembling, ensembling_claims, regularizers
from tests.programs import ROOT

STUDIES = studies.registry()


def test_a_seed_that_is_finished_is_not_measured_again(tmp_path, monkeypatch):
    """And one seed alone shows no errors over seeds."""
    names = ("one run", "2 snapshots, predictions", "2 short runs", "2 full runs")
    calls = []

    def found(setting, root, seed):
        calls.append(root)
        return {name: ensembling._Way(0.5 + 0.1 * i, 899, 1 + i // 3) for i, name in enumerate(names)}

    monkeypatch.setattr(ensembling, "_one_seed", found)
    first, second = (STUDIES["ensembling"](tmp_path, True) for _ in range(2))
    assert calls == [tmp_path / "ensembling" / "seed0"]
    assert first.rows == second.rows
    assert list(first.rows[0]) == ["way", "budget", "accuracy (%)", "gain (points)"]
    assert "nan" not in first.sentence
    assert first.numbers["2 full runs: gain (points)"] == pytest.approx(30)
    with pytest.raises(ValueError, match=r"seed0\.json was found with another setting"):
        STUDIES["ensembling"](tmp_path, False)


def of_three_seeds(setting, root, seed):
    """The accuracies of 10,000 images: 3 of 10 epochs lose, full runs gain."""
    gains = {"one run": 0.0, "3 snapshots, predictions": -0.01, "3 short runs": -0.10, "3 full runs": 0.05}
    gains |= {"5 snapshots, predictions": 0.0, "5 short runs": -0.20, "5 full runs": 0.03}
    gains["FGE of 5, predictions"] = 0.02
    return {way: ensembling._Way(0.5 + gain + 0.001 * seed, 10_000, 1) for way, gain in gains.items()}


def test_short_runs_say_their_epochs_and_claims_are_judged_by_two_errors(tmp_path, monkeypatch):
    setting = ensembling.DIGITS._replace(epochs=10)
    monkeypatch.setitem(ensembling.SETTINGS, "ensembling", setting)
    monkeypatch.setattr(ensembling, "_one_seed", of_three_seeds)
    result = STUDIES["ensembling"](tmp_path, False)
    rows = {row["way"]: row for row in result.rows}
    assert rows["3 short runs of 3 epochs (9 of 10)"]["budget"] == pytest.approx(0.9)
    assert rows["5 short runs of 2 epochs"]["budget"] == 1
    for words in (
        "resnet8, width 8, trained on 898 images of digits and tested on 899; one run is 10 epochs in batches of 64, ",
        "140 updates. The networks are",
        "under-trained at this budget: a published run has about 1116 times as many updates",
        "- 3 short runs of 3 epochs (9 of 10), at equal total budget: -10.00 ± 0.71 points, false, it costs accuracy.",
        "- 3 full runs, at full budget each: +5.00 ± 0.71 points, true.",
        "- 5 full runs, at full budget each: +3.00 ± 0.71 points, a gain, and 2 points are within its error.",
        "- 3 snapshots, predictions: -1.00 ± 0.71 points, false, if there is a gain it is smaller.",
        "- 3 snapshots, predictions, over 3 short runs of 3 epochs (9 of 10), equal budget: +9.00 ± 0.71 points, true.",
        "- 5 snapshots, predictions, over 5 full runs, full budget each: -3.00 ± 0.71 points, false.",
        "- FGE of 5, predictions, over 5 full runs, full budget each: -1.00 ± 0.71 points, not decided",
    ):
        assert words in result.sentence


@pytest.mark.parametrize(
    ("mean", "error", "promise", "worth"),
    [
        (3.0, 0.4, "true", "true"),
        (2.5, 0.4, "a gain, and 2 points are within its error", "true"),
        (1.0, 0.4, "less than that, but a gain", "true"),
        (0.5, 0.4, "false, if there is a gain it is smaller", "not decided: no difference beyond two errors"),
        (1.5, 0.9, "not decided: no gain and 2 points both fit", "not decided: no difference beyond two errors"),
        (-1.0, 0.4, "false, it costs accuracy", "false"),
    ],
)
def test_what_is_said_of_a_claim(mean, error, promise, worth):
    found = ensembling_claims.Gain(mean, error)
    assert (ensembling_claims.promised(found), ensembling_claims.worth_more(found)) == (promise, worth)


def test_a_setting_tells_all_that_its_findings_depend_on_and_the_records_stay_valid():
    for name in ("ensembling_cifar10", "ensembling_cifar100"):
        setting = ensembling.SETTINGS[name]
        for path in (ROOT / "experiments" / "pinned" / name).glob("seed*.json"):
            assert json.loads(path.read_text())["setting"] == json.loads(json.dumps(ensembling.essence(setting)))
        wide = dataclasses.replace(setting.model, options={**setting.model.options, "width": 32})
        others = [setting._replace(model=wide)]
        for change in ({"batch_size": 64}, {"augment": "flip"}, {"augment_padding": 2}):
            others.append(setting._replace(data=dataclasses.replace(setting.data, **change)))
        assert all(ensembling.essence(other) != ensembling.essence(setting) for other in others)


def test_the_rows_of_the_regularizers_are_compared_by_seed(tmp_path, monkeypatch):
    """Two seeds: changes are paired, and a row with noise alone has a Monte-Carlo error."""
    start, calls = {"none": 50.0, "dropout": 44.0, "residual units": 52.0, "stochastic depth": 49.0}, []

    def found(setting, row, seed, workdir):
        calls.append(workdir)
        name = workdir.name.replace("_", " ")
        error = start[name] + 10 * seed + (seed if name == "dropout" else 0)
        noisy = name in ("dropout", "stochastic depth")
        return regularizers.Found(1.0, error, 2.0, error - 2 * noisy, 2.0 - 0.5 * noisy, noisy)

    monkeypatch.setattr(regularizers, "_one", found)
    monkeypatch.setattr(regularizers, "QUICK", regularizers.QUICK._replace(seeds=2))
    first, second = (STUDIES["regularizers"](tmp_path, True) for _ in range(2))
    assert len(calls) == 8
    assert first.rows == second.rows
    assert first.numbers["dropout: change (points)"] == pytest.approx(-5.5)
    assert first.numbers["dropout: ± change"] == pytest.approx(0.5)
    assert first.numbers["stochastic depth: change (points)"] == pytest.approx(-3)  # beside the residual net
    assert first.numbers["stochastic depth: mc − exact (points)"] == pytest.approx(-2)
    assert first.numbers["dropout: mc − exact (nats)"] == pytest.approx(-0.5)
    assert "none: mc:2 (%)" not in first.numbers
    assert "-5.5 ± 0.5 (dropout), -3.0 ± 0.0 (stochastic depth beside residual units), +2.0" in first.sentence
    assert (
        "stochastic depth) gain less here than the common ones: -3.0 points on average, beside -5.5." in first.sentence
    )
    monkeypatch.setattr(regularizers, "QUICK", regularizers.QUICK._replace(seeds=2, rate=0.1))
    with pytest.raises(ValueError, match=r"seed0\.json was found with another setting"):
        STUDIES["regularizers"](tmp_path, True)


def test_without_cifar_the_regularizers_train_on_digits(tmp_path, monkeypatch):
    missing = dataclasses.replace(regularizers.CIFAR.data, dir=str(tmp_path))
    monkeypatch.setattr(regularizers, "CIFAR", regularizers.CIFAR._replace(data=missing))
    assert regularizers._prepared() is regularizers.DIGITS
    tests = open_source(regularizers.DIGITS.data, "eval")
    assert len(tests) == regularizers.DIGITS.tests
