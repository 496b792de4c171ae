"""The README's tables and docs/performance.md are what the records and pages say."""

from pathlib import Path

import pytest

from cs231n_jax import models
from cs231n_jax.train import record
from experiments import pages, performance, results
from experiments.studies import families_table

ROOT = Path(__file__).parents[2]


def test_the_readme_holds_what_the_command_prints():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert results.composed(text) == text, "python -m experiments.results --write"


def test_docs_performance_is_composed_of_the_pages(tmp_path):
    for page in results.PAGES.glob("*.md"):
        (tmp_path / "benchmarks").mkdir(exist_ok=True)
        (tmp_path / "benchmarks" / page.name).write_bytes(page.read_bytes())
    performance.write(tmp_path / "benchmarks", tmp_path / "performance.md")
    there = (ROOT / "docs" / "performance.md").read_bytes()
    assert (tmp_path / "performance.md").read_bytes() == there, "python -m experiments.results --write"


def test_recurrent_layers_are_compared_with_flax_where_they_were_timed():
    timed = {"cell": "lstm", "shape": "N 64", "ours, ms": "1.5", "flax, ms": "2", "torch, ms": "1.6"}
    compiled = {"cell": "lstm", "shape": "N 50", "ours, ms": "", "compile, s": "0.3"}
    (line,) = performance.recurrent([{**timed, "ratio to flax": "0.75 (0.7 to 0.81)"}, compiled])
    assert line == performance.Line("lstm, N 64", "ms", "1.5", "flax", "2", "0.75", "0.7", "0.81", "1.6")


def test_a_number_that_was_changed_by_hand_is_put_right():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "26.63 %" in text
    assert results.composed(text.replace("26.63 %", "6.63 %")) == text


def test_the_table_of_families_has_those_that_were_not_run(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "PINNED", tmp_path)
    assert results.families().count(results.NOT_RUN) == len(families_table.FAMILIES)
    root = tmp_path / "families_table"
    root.mkdir()
    for name, seconds in {"ResNet": 0.4, "VGG": 0.5}.items():
        record.write_json(root / f"{name}_update.json", {"ways": {"seconds": seconds}})
    for name, error in {"ResNet_seed0": 30.0, "ResNet_seed1": 31.0, "VGG_seed0": 29.0}.items():
        record.write_json(root / f"{name}.json", {"ways": {families_table.ERROR: error}})
    first, second, *rest = results.families().splitlines()[2:]
    count = models.parameter_count("vgg11_bn_cifar", width=32)
    assert first == f"| VGG | `vgg11_bn_cifar {{'width': 32}}` | 29.00 % | {count:,} | 0.5 | 2,400 | 1 |"
    assert second == "| ResNet | `resnet20` | 30.50 % ± 0.50 | 269,722 | 0.4 | 3,000 | 2 |"
    assert len(rest) == len(families_table.FAMILIES) - 2


def test_the_readme_says_which_families_were_trained_on_a_cpu():
    on_cpu = {
        name
        for name in families_table.FAMILIES
        for path in (results.PINNED / "families_table").glob(f"{name.replace(' ', '_')}_seed*.json")
        if "NVIDIA" not in record.read_json(path)["where"]
    }
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"{' and '.join(sorted(on_cpu))} was trained on two cores, the others on a GPU" in text


def test_a_record_names_its_accelerator():
    environment = {"cpu": {"cores": 16}, "device": {"platform": "gpu", "kind": "NVIDIA H200"}}
    assert results._machine(environment) == "NVIDIA H200"
    assert results._machine(environment | {"device": {"platform": "cpu", "kind": "cpu"}}) == "16 CPU cores"


def test_a_table_without_a_place_is_refused():
    with pytest.raises(ValueError, match="has places for the tables"):
        results.composed("nothing")


def test_a_page_is_read_as_it_was_written(tmp_path):
    rows = [{"net": "a", "ms": 1.5}, {"net": "b", "ratio": "0.5"}]
    pages.write(tmp_path / "page.md", "Title", "About.", "a machine", "a command", rows, "An answer | of two.")
    machine, found = pages.read(tmp_path / "page.md")
    assert machine.startswith("a machine; 20")
    assert found == [{"net": "a", "ms": "1.5", "ratio": ""}, {"net": "b", "ms": "", "ratio": "0.5"}]


def test_every_recorded_run_has_a_row():
    recorded = {path.parent.name for path in results.PINNED.glob("*/result.json")}
    assert recorded == {run.name for run in results.RUNS if run.name}


def test_answers_are_a_row_a_run_by_type_beside_the_commonest_of_each_data(tmp_path, monkeypatch):
    runs = [results.Run(f"{name}:b", data, "–", name) for name, data in (("a", "x"), ("b", "x"), ("c", "y"), ("d", ""))]
    by_type = ({"count": 0.5, "colour": 0.25}, {"count": 0.5, "colour": 1.0}, {"other": 0.125})
    for run, found in zip(runs, by_type):
        (tmp_path / run.name).mkdir()
        prior = {"score": 0.1, "by_type": dict.fromkeys(found, 0.1)}
        record.write_json(
            tmp_path / run.name / "answers.json", {"accuracy": {"score": 0.3, "by_type": found}} | {"prior": prior}
        )
    monkeypatch.setattr(results, "PINNED", tmp_path)
    monkeypatch.setattr(results, "RUNS", tuple(runs))
    assert results.answers().splitlines() == [
        "| config | all | count | colour | other |",
        "| --- | --- | --- | --- | --- |",
        "| the commonest answer, x | 10.0 % | 10.0 % | 10.0 % | – |",
        "| the commonest answer, y | 10.0 % | – | – | 10.0 % |",
        "| a:b | 30.0 % | 50.0 % | 25.0 % | – |",
        "| b:b | 30.0 % | 50.0 % | 100.0 % | – |",
        "| c:b | 30.0 % | – | – | 12.5 % |",
    ]
