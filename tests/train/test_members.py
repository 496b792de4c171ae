"""Which snapshots are members of one ensemble: the runs that belong together, and what a run leaves."""

import dataclasses
import itertools
import json
import shutil
from pathlib import Path

import pytest

from cs231n_jax.config import Config, TrainConfig
from cs231n_jax.data import DataConfig
from cs231n_jax.models import ModelConfig
from cs231n_jax.optim import OptimizerConfig, ScheduleConfig
from cs231n_jax.train import members
from cs231n_jax.train.assemble import assemble
from cs231n_jax.train.loop import Silent
from cs231n_jax.train.members import Member
from cs231n_jax.train.run import run
from cs231n_jax.train.snapshots import SnapshotConfig

# Which snapshots belong together does not depend on the network: tracing a convolutional one takes the time.
PERCEPTRON = ModelConfig(name="mlp", options={"hidden": (4,)})


def config_of(seed=0, model=PERCEPTRON, **train):
    return Config(
        seed=seed,
        model=model,
        data=DataConfig(name="digits", batch_size=64),
        optimizer=OptimizerConfig(name="momentum", learning_rate=0.2),
        schedule=ScheduleConfig(name="snapshot_cosine", cycles=3),
        train=TrainConfig(steps="6ep", eval_every="0", save_every="0", ema_decay=0.9, **train),
        snapshots=SnapshotConfig(members=3),
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("runs"))


def trained(root, **fields):
    """Two finished runs that differ in their seeds."""
    for seed in (0, 1):
        run(config_of(seed, **fields), root / f"seed{seed}", {}, Silent(), 0.0)
    return root / "seed0", root / "seed1"


def test_runs_that_were_trained_otherwise_fit(runs, tmp_path):
    shutil.copytree(runs[0], tmp_path / "other")
    path = tmp_path / "other" / "config.json"
    config = json.loads(path.read_text())
    config["task"] |= {"l1": 1e-4, "l2": 1e-3, "label_smoothing": 0.1}
    config["data"] |= {"limit": 500, "augment": "crop"}
    path.write_text(json.dumps(config))
    note(tmp_path / "other", train="another")
    found = members.find([runs[0], tmp_path / "other"])
    assert {member.workdir for member in found} == {runs[0], tmp_path / "other"}


def note(workdir, **changes):
    """Other fingerprints of the data in the record of a run."""
    environment = json.loads((workdir / "environment.json").read_text())
    environment["data"] |= changes
    (workdir / "environment.json").write_text(json.dumps(environment))


def test_statistics_come_from_the_run_with_the_most_data_in_whatever_order(runs, tmp_path):
    places = [*runs]
    for limit in (300, 500):
        workdir = tmp_path / f"of{limit}"
        workdir.mkdir()
        text = (runs[1] / "config.json").read_text().replace('"limit": 0', f'"limit": {limit}')
        (workdir / "config.json").write_text(text)
        places.append(workdir)
    for order in itertools.permutations(Member(place, 1) for place in places):
        run, config = members.reference(order)
        assert (run, config.seed, config.data.limit) == (runs[0], 0, 0)
        assert members.reference([m for m in order if m.workdir not in runs])[1].data.limit == 500


def test_runs_on_other_data_of_the_same_name_are_refused(runs, tmp_path):
    shutil.copytree(runs[0], tmp_path / "other")
    note(tmp_path / "other", train="another")
    with pytest.raises(ValueError, match=r"do not belong together \(the data of split train is another\)"):
        members.find([runs[0], tmp_path / "other"])
    path = tmp_path / "other" / "config.json"
    path.write_text(path.read_text().replace('"limit": 0', '"limit": 500'))
    assert len(members.find([runs[0], tmp_path / "other"])) == 6
    shutil.copytree(runs[1], tmp_path / "third")
    note(tmp_path / "third", train="a third")
    for order in itertools.permutations((runs[0], tmp_path / "other", tmp_path / "third")):
        with pytest.raises(ValueError, match=r"the data of split train is another"):  # of the two that are whole
            members.find(order)
    note(tmp_path / "other", test="another")
    with pytest.raises(ValueError, match=r"the data of split test is another"):
        members.find([runs[0], tmp_path / "other"])


def test_equal_data_may_lie_in_two_places(runs, tmp_path):
    shutil.copytree(runs[0], tmp_path / "other")
    path = tmp_path / "other" / "config.json"
    path.write_text(path.read_text().replace('"dir": ""', '"dir": "/elsewhere"'))
    assert len(members.find([runs[0], tmp_path / "other"])) == 6


def test_the_newest_are_the_newest_of_all_runs(runs):
    found = [members.find(order) for order in (runs, runs[::-1])]
    taken = [[chosen[i] for i in members.newest_first(chosen)] for chosen in found]
    assert [member.step for member in taken[0]] == [84, 84, 56, 56, 28, 28]
    assert taken[0] == taken[1]


@pytest.mark.parametrize("change", ["hidden", "preprocessing", "classes"])
def test_runs_that_do_not_fit_are_refused(runs, tmp_path, change):
    shutil.copytree(runs[0], tmp_path / "other")
    path = tmp_path / "other" / "config.json"
    config = json.loads(path.read_text())
    if change == "hidden":
        config["model"]["options"]["hidden"] = [8]
    elif change == "classes":
        config["model"]["options"]["num_classes"] = 9
    else:
        config["data"]["normalize"] = "none"
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match="do not belong together"):
        members.find([runs[0], tmp_path / "other"])


def test_a_run_or_a_snapshot_counts_once_whatever_it_is_called(runs, tmp_path, monkeypatch):
    (tmp_path / "alias").symlink_to(runs[0])
    monkeypatch.chdir(runs[0].parent)
    here, other = runs[0], Path("seed1")
    for alias in (here, tmp_path / "alias", Path("seed0"), here / ".", here / ".." / "seed0"):
        with pytest.raises(ValueError, match=r"a run is named twice, as .*seed0 and .*: name each once"):
            members.find([here, other, alias])
    with pytest.raises(ValueError, match="the snapshot at step 28 is named twice: name each once"):
        members.find([here], steps=[84, 28, 28])
    assert members.find([here], steps=[84, 28]) == [Member(here, 28), Member(here, 84)]


def test_rows_are_called_so_that_each_is_known():
    a, b, here = Path("x/run"), Path("y/run"), Path()
    assert members.names([Member(a, 1), Member(a, 2)]) == ["snapshot at step 1", "snapshot at step 2"]
    assert members.names([Member(a, 1), Member(Path("y/other"), 1)]) == ["run at step 1", "other at step 1"]
    assert members.names([Member(a, 1), Member(b, 1)]) == ["x/run at step 1", "y/run at step 1"]
    assert members.run_names([Member(here, 1)]) == {here: Path.cwd().name}


def changed(steps="100", name="swa", **fields):
    schedule = ScheduleConfig(name=name, start="60%", final=0.5, cycles=fields.pop("cycles", 1))
    train = TrainConfig(steps=steps, eval_every="0")
    return dataclasses.replace(config_of(), schedule=schedule, train=train, snapshots=SnapshotConfig(**fields))


def test_members_may_come_from_the_end_of_a_run_alone():
    assert assemble(changed(members=4)).member_steps() == [25, 50, 75, 100]
    assert assemble(changed(members=4, after="60%")).member_steps() == [70, 80, 90, 100]
    assert assemble(changed(members=3, after="60%")).member_steps() == [74, 88, 100]
    assert assemble(changed(members=2, after="1ep")).member_steps() == [57, 100]  # 14 updates an epoch


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (changed(members=2, after="100%"), "after='100%' do not fit 100 updates"),
        (changed(members=30, after="80%"), "members=30 equal cycles"),
        (changed(members=2, after="late"), "snapshots.after: the duration 'late'"),
        (
            changed(name="snapshot_cosine", cycles=2, members=2, after="10%"),
            "members=2 after '10%', but",
        ),
    ],
)
def test_members_that_no_run_can_leave_are_refused(config, words):
    with pytest.raises(ValueError, match=words):
        assemble(config)
