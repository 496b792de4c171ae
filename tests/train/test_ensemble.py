"""Members averaged in every way, on a small run of the digits: the numbers, what is refused, what is left behind."""

import functools
import gc
import json
import math
import shutil
import weakref
from pathlib import Path

import jax
import numpy as np
import pytest

from cs231n_jax import optim
from cs231n_jax.metrics import scores
from cs231n_jax.models import ModelConfig
from cs231n_jax.report import plots
from cs231n_jax.train import average, averaged, ensemble, evaluate, evaluator, members, record, snapshots
from cs231n_jax.train.assemble import assemble
from cs231n_jax.train.loop import Silent
from cs231n_jax.train.members import Member
from cs231n_jax.train.run import run
from cs231n_jax.train.snapshots import DamagedSnapshotError
from tests import programs
from tests.train import test_members
from tests.train.test_members import note

# With batch statistics, in as few layers as learn something.
CONVOLUTIONAL = ModelConfig(name="convnet", options={"widths": (8, 8), "hidden": 16})
config_of = functools.partial(test_members.config_of, model=CONVOLUTIONAL)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return test_members.trained(tmp_path_factory.mktemp("runs"), model=CONVOLUTIONAL)


@pytest.fixture(scope="module")
def thorough(runs):
    chosen = members.find([runs[0]])
    return chosen, ensemble.compare(assemble(config_of()), chosen, thorough=True)


def row(found, name):
    return next(r for r in found.rows if r["name"] == name)


def test_rows_stand_in_order_and_agree_with_evaluation(thorough, runs):
    chosen, found = thorough
    assert [r["name"] for r in found.rows][:3] == [f"snapshot at step {m.step}" for m in chosen]
    for member in chosen:
        alone = evaluate.evaluate_snapshot(member.workdir, str(member.step))[1]
        assert row(found, f"snapshot at step {member.step}")["accuracy"] == pytest.approx(alone["accuracy"], abs=1e-9)
        assert row(found, f"snapshot at step {member.step}")["loss"] == pytest.approx(alone["loss"], rel=1e-5)
    short = json.loads((runs[0] / "result.json").read_text())["members"]
    for r in short:
        assert row(found, r["name"])["wrong"] == r["wrong"]


def test_averages_of_predictions_are_what_they_say(thorough):
    chosen, found = thorough
    through = evaluator.Evaluator(assemble(config_of()))
    logs = np.stack([through.log_probabilities(*members.load(m)) for m in chosen])
    labels = ensemble.labels_of(assemble(config_of()))
    arithmetic = np.exp(logs).mean(0)
    geometric = np.prod(np.exp(logs), axis=0) ** (1 / 3)
    geometric /= geometric.sum(-1, keepdims=True)
    for name, p in (("average of predictions", arithmetic), ("average of logits", geometric)):
        assert row(found, name)["wrong"] == np.sum(p.argmax(-1) != labels)
        assert row(found, name)["loss"] == pytest.approx(-np.log(p[np.arange(len(p)), labels]).mean(), rel=1e-9)


def test_copies_of_one_member_change_nothing_and_order_does_not_matter(thorough, tmp_path, runs):
    chosen, found = thorough
    copies = []
    for i in range(3):
        shutil.copytree(runs[0], tmp_path / f"copy{i}")
        copies.append(Member(tmp_path / f"copy{i}", chosen[-1].step))
    same = ensemble.compare(assemble(config_of()), copies, thorough=True)
    single = row(found, f"snapshot at step {chosen[-1].step}")
    for name in ("average of predictions", "average of logits", "average of weights, statistics of the last member"):
        assert row(same, name)["wrong"] == single["wrong"]
        assert row(same, name)["loss"] == pytest.approx(single["loss"], rel=1e-7)  # float32 outputs add up to 1 ± 1e-7
    assert {p["disagreement"] for p in same.pairs} == {0.0}
    assert all(p["error_correlation"] == pytest.approx(1.0) for p in same.pairs)
    backwards = ensemble.compare(assemble(config_of()), [chosen[1], chosen[0], chosen[2]], thorough=True)
    for name in ("average of predictions", "average of logits", "average of weights"):
        assert row(backwards, name)["loss"] == pytest.approx(row(found, name)["loss"], rel=1e-9)


def test_weights_averaged_with_old_statistics_are_worse(thorough):
    """Snapshots of different cycles: their mean lies where no running statistics were ever gathered."""
    _, found = thorough
    stale, own = row(found, "average of weights, statistics of the last member"), row(found, "average of weights")
    assert own["loss"] < stale["loss"]
    assert own["wrong"] < stale["wrong"]


@pytest.mark.parametrize(
    "together", [2, pytest.param(3, marks=pytest.mark.slow), pytest.param(5, marks=pytest.mark.slow)]
)
def test_members_that_are_computed_together_give_equal_results(thorough, together):
    chosen, found = thorough
    at_once = ensemble.compare(assemble(config_of()), chosen, thorough=True, together=together)
    for alone, r in zip(found.rows, at_once.rows, strict=True):
        assert r["name"] == alone["name"]
        assert r["wrong"] == alone["wrong"]
        assert r["loss"] == pytest.approx(alone["loss"], rel=1e-5)
    assert at_once.pairs == found.pairs
    one_by_one = list(evaluator.Evaluator(assemble(config_of())).of_each(chosen))
    logs = list(evaluator.Evaluator(assemble(config_of())).of_each(chosen, together))
    np.testing.assert_allclose(logs, one_by_one, rtol=1e-4, atol=1e-5)


def test_the_moving_average_is_that_of_the_optimizer_state(thorough):
    chosen, found = thorough
    member = chosen[-1]
    assembly = assemble(config_of())
    state = snapshots.restore(member.workdir, member.step, assembly.state_shapes)
    moving = snapshots.load_average(*member)
    for a, b in zip(jax.tree.leaves(moving), jax.tree.leaves(optim.average_of(state.opt_state)), strict=True):
        assert np.array_equal(a, b)
    assert found.rows[-1]["name"] == f"moving average of weights, decay 0.9, seed0 at step {member.step}"


def test_sizes_and_pairs(thorough):
    chosen, found = thorough
    assert [s["members"] for s in found.sizes] == [1, 2, 3]
    assert found.sizes[0]["accuracy"] == pytest.approx(row(found, f"snapshot at step {chosen[-1].step}")["accuracy"])
    last = found.sizes[-1]
    assert last["accuracy"] == pytest.approx(row(found, "average of predictions")["accuracy"])
    assert last["standard_error"] == pytest.approx(math.sqrt(last["accuracy"] * (1 - last["accuracy"]) / 899))
    assert len(found.pairs) == 3
    assert all(0 < p["disagreement"] < 1 and -1 < p["error_correlation"] < 1 for p in found.pairs)


def test_the_average_is_a_run_that_every_program_can_load(thorough, tmp_path):
    chosen, found = thorough
    workdir = tmp_path / "average"
    averaged.save(chosen, found.weights, workdir)
    step, numbers = evaluate.evaluate_snapshot(workdir)
    assert numbers["accuracy"] == pytest.approx(row(found, "average of weights")["accuracy"], abs=1e-9)
    (member,) = members.find([workdir])
    origin = snapshots.manifest(*member)["averaged"]
    assert [(Path(o["workdir"]), o["step"]) for o in origin] == [(m.workdir.resolve(), m.step) for m in chosen]
    assert origin[0]["sha256"] == snapshots.digest(*chosen[0])
    expected = average.mean([members.load(m)[0] for m in chosen])
    for a, b in zip(jax.tree.leaves(members.load(member)[0]), jax.tree.leaves(expected), strict=True):
        assert np.array_equal(a, b)
    assert step == chosen[-1].step
    before = sorted(p.name for p in workdir.iterdir())
    with pytest.raises(ValueError, match=r"holds weights alone \(an average, or imported\): it can be evaluated and"):
        run(config_of(), workdir, {}, Silent(), 0.0)
    assert sorted(p.name for p in workdir.iterdir()) == before
    assert "environment.json" not in before


program = functools.partial(programs.run, "ensemble")


def test_several_runs_at_once(runs, tmp_path):
    done = program(f"--workdir={runs[0]},{runs[1]}", "--last=1", f"--report={tmp_path}", f"--save={tmp_path / 'mean'}")
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "ensemble.json").read_text())
    assert [r["name"] for r in content["rows"]][:2] == ["seed0 at step 84", "seed1 at step 84"]
    assert sum(r["name"].startswith("moving average") for r in content["rows"]) == 2
    assert (tmp_path / "ensemble.png").stat().st_size > 10_000
    assert snapshots.members(tmp_path / "mean") == [84]
    again = program(f"--workdir={runs[0]}", f"--report={tmp_path}", f"--save={tmp_path / 'mean'}")
    assert again.returncode == 1
    assert "holds snapshots already, and not this average" in again.stderr
    assert "average of predictions" not in again.stdout  # nothing was computed


@pytest.mark.slow
def test_snapshots_by_step(runs, tmp_path):
    done = program(f"--workdir={runs[0]}", "--snapshots=28,84", f"--report={tmp_path}")
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "ensemble.json").read_text())["rows"]
    assert [r["name"] for r in rows][:2] == ["snapshot at step 28", "snapshot at step 84"]
    assert "gone" not in done.stdout


def test_a_member_that_was_deleted_is_told(runs, tmp_path):
    shutil.copytree(runs[0], tmp_path / "run")
    shutil.rmtree(snapshots.directory(tmp_path / "run", 84))  # the last one: what is left does not say that it was
    done = program(f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 0, done.stderr
    told = f"the member snapshots of {tmp_path / 'run'} at steps 84 are gone: compared without them"
    assert told in " ".join(done.stdout.split())
    (tmp_path / "run" / "result.json").unlink()  # a run under way may have that member before it
    assert members.gone(tmp_path / "run") == members.gone(runs[1]) == []


def test_a_damaged_member_is_named_and_left_out_only_if_told_to(runs, tmp_path):
    shutil.copytree(runs[0], tmp_path / "run")
    victim = snapshots.directory(tmp_path / "run", 56)
    largest = max((p for p in victim.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-7])
    done = program(f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 1
    assert "step_00000056" in done.stderr
    assert "--leave_out_damaged" in done.stderr
    about = snapshots.directory(tmp_path / "run", 28) / "manifest.json"
    whole = about.read_text()
    about.write_text(whole.replace('"kind": "member"', '"kind": "lember"'))  # one byte: still a member, and damaged
    assert [member.step for member in members.find([tmp_path / "run"])] == [28, 56, 84]
    with pytest.raises(DamagedSnapshotError, match=r"manifest\.json does not match its own SHA-256"):
        members.load(Member(tmp_path / "run", 28))
    about.write_text(whole)
    done = program(f"--workdir={tmp_path / 'run'}", "--leave_out_damaged")
    assert done.returncode == 0, done.stderr
    assert "left out" in done.stdout
    rows = json.loads((tmp_path / "run" / "ensemble.json").read_text())["rows"]
    assert [r["name"] for r in rows][:2] == ["snapshot at step 28", "snapshot at step 84"]
    assert members.find([tmp_path / "run"], last=2, leave_out=print) == [Member(tmp_path / "run", s) for s in (28, 84)]
    with pytest.raises(ValueError, match="has 2 whole member snapshots, at steps"):
        members.find([tmp_path / "run"], last=3, leave_out=print)
    with pytest.raises(DamagedSnapshotError, match="all members are damaged"):
        members.find([tmp_path / "run"], steps=[56], leave_out=print)


def test_an_average_knows_its_data(runs, thorough, tmp_path):
    chosen, found = thorough
    averaged.save(chosen, found.weights, tmp_path / "average")
    assert len(members.find([tmp_path / "average", runs[1]])) == 4
    shutil.copytree(runs[1], tmp_path / "other")
    note(tmp_path / "other", test="another")
    with pytest.raises(ValueError, match=r"the data of split test is another"):
        members.find([tmp_path / "average", tmp_path / "other"])


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--last=9",), "3 member snapshots"),
        (("--snapshots=5",), "no snapshot 5"),
        (("--snapshots=five",), "is no step"),
        (("--last=2", "--snapshots=28"), "both choose members"),
        (("--workdir=",), "leaves a run without a name"),
        (("--workdir=runs,",), "leaves a run without a name"),
    ],
)
def test_wrong_choices_are_refused(runs, flags, expected):
    done = program(f"--workdir={runs[0]}", *flags)
    assert done.returncode in (1, 2)
    assert expected in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_member_without_numbers_is_named(thorough, monkeypatch):
    chosen, _ = thorough
    bad = chosen[1]

    def spoilt(member):
        params, state = members.load(member)
        return jax.tree.map(lambda x: x * np.float32("nan"), params) if member == bad else params, state

    monkeypatch.setattr(evaluator, "load", spoilt)
    with pytest.raises(
        ValueError, match=rf"snapshot at step {bad.step} are not numbers \(NaN\) for 899 of 899 examples"
    ):
        ensemble.compare(assemble(config_of()), chosen)


def test_what_is_not_a_number_is_wrong_and_a_dash_and_null(tmp_path):
    p, labels = np.array([[0.9, 0.1], [np.nan, np.nan], [0.2, 0.8]]), np.array([0, 0, 1])
    row = {"name": "average", **ensemble.score(p, labels, thorough=True)}
    assert (row["wrong"], row["accuracy"]) == (1, pytest.approx(2 / 3))
    assert ensemble.cells([row]) == [("average", "66.67%", "–", "1 of 3", "–")]
    pair = {
        "a": "a",
        "b": "b",
        "disagreement": 0.5,
        "error_correlation": scores.error_correlation(labels, labels, labels),
    }
    assert ensemble.pair_cells([pair]) == [("a", "b", "50.00%", "–")]
    record.write_json(tmp_path / "found.json", {"rows": [row], "pairs": (pair,)})
    content = json.loads((tmp_path / "found.json").read_text(), parse_constant=pytest.fail)
    assert content["pairs"][0]["error_correlation"] is None
    assert content["rows"][0]["loss"] is None
    assert ensemble.cells(content["rows"]) == ensemble.cells([row])


def test_a_figure_is_written_whole_or_not_at_all(thorough, tmp_path, monkeypatch):
    _, found = thorough
    path = tmp_path / "ensemble.png"
    path.write_text("the old one")

    def torn(figure, place, **options):
        Path(place).write_text("half of")
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", torn)
        with pytest.raises(OSError, match="full"):
            plots.ensemble(path, found.rows, found.sizes)
    assert path.read_text() == "the old one"
    plots.ensemble(path, found.rows, found.sizes)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [path]


def test_one_member_is_in_memory_at_a_time(thorough, monkeypatch):
    chosen, _ = thorough
    alive: list[weakref.ref] = []

    def watched(member):
        gc.collect()
        assert not [one for one in alive if one() is not None]
        weights = members.load(member)
        alive.extend(weakref.ref(leaf) for leaf in jax.tree.leaves(weights))
        return weights

    monkeypatch.setattr(evaluator, "load", watched)
    assert len(list(evaluator.Evaluator(assemble(config_of())).of_each(chosen))) == 3
    assert len(alive) > 3 * 10
