"""Runs that begin with given weights, and with groups that join in at a given update."""

import dataclasses
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import models
from cs231n_jax.config import Config, TrainConfig
from cs231n_jax.data import DataConfig
from cs231n_jax.data.base import fingerprint
from cs231n_jax.interop import files, torchvision
from cs231n_jax.models import ModelConfig, functional
from cs231n_jax.optim import OptimizerConfig, ScheduleConfig
from cs231n_jax.train import initial, record, snapshots
from cs231n_jax.train.assemble import assemble
from cs231n_jax.train.initial import InitialConfig
from cs231n_jax.train.loop import Silent
from cs231n_jax.train.run import run
from cs231n_jax.train.sharding import MeshConfig
from tests.train.test_groups import flat, train

NARROW = {"width": 4}


@pytest.fixture
def weights(tmp_path):
    """Weights of another seed, with statistics that are not those of a beginning."""
    params, state = functional.init(models.create("resnet8", **NARROW), 7, jnp.zeros((1, 8, 8, 1)))
    files.write(path := tmp_path / "weights.npz", files.to_flat(params, jax.tree.map(lambda x: x + 0.5, state)))
    return path


def config(steps="6", **fields) -> Config:
    groups = {"rate_paths": ("^stem", "^stage1"), "rate_factors": (0.1, 0.5), "rate_starts": ("0", "4")}
    return Config(
        model=ModelConfig(name="resnet8", options=NARROW),
        data=DataConfig(name="digits", batch_size=64),
        optimizer=OptimizerConfig(**{"name": "adam", "learning_rate": 0.01, "clip_norm": 1.0, **groups}),
        schedule=ScheduleConfig(name="cosine"),
        train=TrainConfig(steps=steps, log_every="1", eval_every="0", save_every="0", ema_decay=0.5),
        mesh=MeshConfig(data=1),
        **fields,
    )


# --- groups that begin later ---


def test_a_group_stays_bit_by_bit_until_its_start_and_moves_from_there(tmp_path):
    assembly = assemble(config())
    before = flat(assembly.new_state().params)
    for until, moves in ((4, False), (5, True)):
        state, lines = train(assembly, tmp_path / str(until), until)
        for path, x in flat(state.params).items():
            late = path.startswith("stage1")
            assert (x.tobytes() != before[path].tobytes()) == (moves or not late), path
        slots = [x for path, x in flat(state.opt_state).items() if "stage1_" in path and "average" not in path]
        assert len(slots) > 4
        assert all((x == 0).all() for x in slots) != moves
        rates = [line["learning_rate/^stage1"] for line in lines]
        assert rates[:4] == [0.0] * 4
    assert rates[4] == pytest.approx(0.5 * lines[4]["learning_rate/<others>"], rel=1e-6)
    assert lines[4]["learning_rate/^stem"] == pytest.approx(0.1 * lines[4]["learning_rate/<others>"], rel=1e-6)


@pytest.mark.slow
def test_a_run_killed_before_a_start_goes_on_as_if_it_had_not_been(tmp_path):
    whole, _ = train(assemble(config()), tmp_path / "whole")
    state, _ = train(assemble(config()), tmp_path / "half", until=3)
    digest = record.Lines(tmp_path / "half" / "metrics.jsonl").digest()
    snapshots.save(tmp_path / "half", state, snapshots.Kind.RESUME, {"metrics": digest})
    again, _ = train(assemble(config()), tmp_path / "half")
    for path, x in flat(whole).items():
        assert x.tobytes() == flat(again)[path].tobytes(), path


def test_a_group_that_would_never_begin_is_refused():
    with pytest.raises(ValueError, match=r"rate_starts.*begins at update 4 is never trained in a run of 4"):
        assemble(config(steps="4"))


# --- weights to begin with ---


def test_all_of_a_model_is_as_in_the_file_and_so_is_its_average(weights):
    state = assemble(config(initial=InitialConfig(weights=str(weights)))).new_state()
    given = files.read(weights)
    found = flat({"params": state.params, **state.model_state})
    assert found.keys() == given.keys()
    for path, x in found.items():
        np.testing.assert_array_equal(x, given[path])
    averages = {path: x for path, x in flat(state.opt_state).items() if "average" in path and np.ndim(x)}
    assert averages
    for path, x in averages.items():
        np.testing.assert_array_equal(x, given["params/" + path.partition("average/")[2]])


def bigger(weights, into="backbone"):
    """The variables of a model that has the network of the file as a part, without its last layer."""
    params, state = files.from_flat(files.read(weights))
    zeros = {kind: jax.tree.map(jnp.zeros_like, tree) for kind, tree in (("params", params), *state.items())}
    del zeros["params"]["head"]
    decoder = {"decoder": {"kernel": jnp.ones((2, 3))}}
    variables = {kind: {into: tree} for kind, tree in zeros.items()}
    return {**variables["params"], **decoder}, {"batch_stats": variables["batch_stats"]}


def test_a_part_of_a_bigger_model_is_as_in_the_file_and_the_rest_as_drawn(weights):
    params, state = initial.replaced(InitialConfig(weights=str(weights), into="backbone"), *bigger(weights))
    given = files.read(weights)
    np.testing.assert_array_equal(params["decoder"]["kernel"], np.ones((2, 3)))
    found = flat({"params": params["backbone"], "batch_stats": state["batch_stats"]["backbone"]})
    assert found.keys() == {path for path in given if "head" not in path}
    for path, x in found.items():
        np.testing.assert_array_equal(x, given[path])


def test_names_of_torch_are_read_by_the_models_name(weights, tmp_path):
    params, state = functional.init(models.create("resnet8", **NARROW), 3, jnp.zeros((1, 8, 8, 3)))
    files.write(weights, files.to_flat(params, state))
    files.write(tmp_path / "torch.npz", torchvision.export("resnet8", params, state, **NARROW))
    config = InitialConfig(weights=str(tmp_path / "torch.npz"), into="backbone", model="resnet8", options=NARROW)
    found, _ = initial.replaced(config, *bigger(weights))
    np.testing.assert_array_equal(found["backbone"]["stem_conv"]["kernel"], params["stem_conv"]["kernel"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weights": "missing.npz"}, "initial.weights='missing.npz': there is nothing at missing.npz"),
        ({"into": "eyes"}, "initial.into='eyes': the model has no such part; it has backbone, decoder"),
        ({"into": "decoder"}, r"does not fit decoder: the weights lack params/kernel \[2, 3\]"),
        ({"into": ""}, "does not fit the model: the weights lack batch_stats/backbone"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(weights, fields, message):
    config = InitialConfig(**{"weights": str(weights), "into": "backbone", **fields})
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        initial.replaced(config, *bigger(weights))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"into": "backbone"}, "initial.into='backbone' is given without initial.weights"),
        ({"weights": "w.npz", "model": "resnet9"}, "unknown model 'resnet9'"),
        ({"weights": "w.npz", "options": {"width": 4}}, "initial.options.*name it"),
    ],
)
def test_a_config_that_says_too_little_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        InitialConfig(**fields).validate()


@pytest.mark.slow
def test_a_run_notes_what_it_began_with_and_reads_the_file_once(weights, tmp_path):
    begun = dataclasses.replace(config(steps="5"), initial=InitialConfig(weights=str(weights)))
    run(begun, tmp_path / "run", {}, Silent(), time.time())
    arrays = files.read(weights)
    noted = record.read_json(tmp_path / "run" / "environment.json")["initial"]
    assert noted == fingerprint(arrays, ())
    weights.unlink()
    (tmp_path / "run" / "result.json").unlink()
    assert run(begun, tmp_path / "run", {}, Silent(), time.time())["steps"] == 5  # goes on from its snapshot
    with pytest.raises(FileNotFoundError, match=r"initial\.weights"):
        run(begun, tmp_path / "new", {}, Silent(), time.time())
    assert not (tmp_path / "new" / "snapshots").exists()
