"""Through the real loop: frozen stages, groups with rates of their own, dropped updates."""

import json
import time
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import optim
from cs231n_jax.config import Config, TrainConfig, from_json, to_json
from cs231n_jax.data import DataConfig
from cs231n_jax.models import ModelConfig
from cs231n_jax.models.base import stage_of
from cs231n_jax.optim import OptimizerConfig, ScheduleConfig
from cs231n_jax.train import plan, record, snapshots
from cs231n_jax.train.assemble import Assembly, assemble
from cs231n_jax.train.loop import DivergedError, Loop, Silent
from cs231n_jax.train.sharding import MeshConfig
from cs231n_jax.train.signals import StopRequest
from tests.rows import but_for

FROZEN = ("stem", "stage2")


def config(frozen=(), steps="6", max_dropped=0, **optimizer) -> Config:
    optimizer = {"name": "momentum", "learning_rate": 0.1, "weight_decay": 0.01, "clip_norm": 1.0, **optimizer}
    return Config(
        model=ModelConfig(name="resnet8", options={"width": 4, "frozen": frozen}),
        data=DataConfig(name="digits", batch_size=64),
        optimizer=OptimizerConfig(**optimizer),
        schedule=ScheduleConfig(name="cosine"),
        train=TrainConfig(steps=steps, log_every="2", eval_every="0", save_every="0", max_dropped=max_dropped),
        mesh=MeshConfig(data=1),
    )


def train(assembly: Assembly, workdir, until=0):
    workdir.mkdir(exist_ok=True)
    with StopRequest() as stop:
        loop = Loop(assembly, workdir, Silent(), stop, time.time())
        state = loop.run(until)
    return jax.device_get(state), [line for line in loop.metrics.read() if line["split"] == "train"]


def flat(tree):
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(x) for path, x in leaves}


# --- frozen stages ---


@pytest.mark.parametrize(
    "optimizer", but_for([{}], [{}, {"name": "adamw", "weight_decay": 0.5, "measure_ratio": True}])
)
def test_frozen_stages_stay_bit_by_bit_and_have_no_slots(optimizer, tmp_path):
    assembly = assemble(config(FROZEN, **optimizer))
    before = flat(assembly.new_state().params)
    state, lines = train(assembly, tmp_path / "run")
    after = flat(state.params)
    moved = {path for path in before if before[path].tobytes() != after[path].tobytes()}
    assert {stage_of(path) for path in moved} == {"stage1", "stage3", "head"}
    assert {path for path in before if stage_of(path) not in FROZEN} == moved
    slots = 2 if optimizer else 1
    trained = sum(before[path].size for path in moved)
    assert sum(x.size for x in jax.tree.leaves(state.opt_state) if np.ndim(x)) == slots * trained
    assert not [path for path in flat(state.opt_state) if any(f"{stage}_" in path for stage in FROZEN)]
    assert {"learning_rate", "gradient_norm"} <= set(lines[-1])  # named as in a run without frozen stages


@pytest.mark.slow
def test_frozen_stages_have_no_average_and_count_in_it_as_they_are(tmp_path):
    run = config(FROZEN, steps="2")
    run = replace(run, train=replace(run.train, ema_decay=0.75))
    assembly, workdir = assemble(run), tmp_path / "run"
    begun = flat(assembly.new_state().params)
    one, _ = train(assembly, workdir, until=1)
    snapshots.save(workdir, one, snapshots.Kind.RESUME, {"metrics": _digest(workdir)})
    two, _ = train(assembly, workdir)  # goes on
    whole, _ = train(assembly, tmp_path / "whole")
    bytes_of = {path: x.tobytes() for path, x in flat(whole).items()}
    assert {path: x.tobytes() for path, x in flat(two).items()} == bytes_of
    after = flat(two.params)
    trained = [path for path in after if stage_of(path) not in FROZEN]
    slots = sum(x.nbytes for x in jax.tree.leaves(two.opt_state) if np.ndim(x))
    assert slots == 2 * sum(after[path].nbytes for path in trained)  # momentum, and the average
    snapshots.save(workdir, two, snapshots.Kind.RESUME)
    found = flat(snapshots.load_average(workdir, 2))
    assert found.keys() == after.keys()
    for path, x in found.items():
        if path in trained:
            mean = 0.75 * (0.75 * begun[path] + 0.25 * flat(one.params)[path]) + 0.25 * after[path]
            np.testing.assert_allclose(x, mean, rtol=1e-5, atol=1e-7)
            assert not np.array_equal(x, after[path])
        else:
            assert x.tobytes() == after[path].tobytes() == begun[path].tobytes()


def test_frozen_stages_count_for_nothing_in_the_gradients_norm():
    """What is not trained has no part in clipping, as in torch, where it has no gradient."""
    assembly = assemble(config(FROZEN))
    params = assembly.new_state().params
    grads = {name: jax.tree.map(jnp.ones_like, part) for name, part in params.items()}
    _, state = assembly.optimizer.update(grads, assembly.optimizer.init(params), params)
    count = sum(x.size for path, x in flat(params).items() if stage_of(path) not in FROZEN)
    assert float(optim.measurements(state)["gradient_norm"]) == pytest.approx(count**0.5, rel=1e-6)


@pytest.mark.slow
def test_a_run_with_frozen_stages_and_groups_goes_on_from_its_snapshot(tmp_path):
    odd = {"rate_paths": ("^stage1_.*(conv|x)[12]/", "^head/bias$"), "rate_factors": (0.1, 0.0)}
    whole, _ = train(assemble(config(FROZEN, **odd)), tmp_path / "whole")
    assembly = assemble(config(FROZEN, **odd))
    state, _ = train(assembly, tmp_path / "half", until=3)
    snapshots.save(tmp_path / "half", state, snapshots.Kind.RESUME, {"metrics": _digest(tmp_path / "half")})
    again, _ = train(assembly, tmp_path / "half")
    for path, x in flat(whole).items():
        assert x.tobytes() == flat(again)[path].tobytes(), path
    np.testing.assert_array_equal(again.params["head"]["bias"], assembly.new_state().params["head"]["bias"])


def _digest(workdir):
    return record.Lines(workdir / "metrics.jsonl").digest()


def test_the_plan_tells_what_is_frozen():
    free, held = (plan.plan(assemble(config(frozen))) for frozen in ((), FROZEN))
    params = assemble(config()).state_shapes.params
    count = sum(
        int(np.prod(x.shape)) for name in params if stage_of(name) in FROZEN for x in jax.tree.leaves(params[name])
    )
    assert (free.frozen_parameters, held.frozen_parameters) == (0, count)
    assert held.parameters == free.parameters
    assert free.optimizer_bytes - held.optimizer_bytes == 4 * count
    assert ("of these frozen", f"{count:,}") in plan.rows(held)


# --- groups ---


@pytest.mark.slow
def test_a_group_moves_by_exactly_the_step_of_a_run_at_its_rate(tmp_path):
    """The first step: the head as at 0.1, all else as at 0.01; later the two influence each other."""
    groups = {"rate_paths": ("^(stem|stage)",), "rate_factors": (0.1,)}
    runs = {"grouped": groups, "full": {}, "low": {"learning_rate": 0.01}}
    first = {}
    for name, fields in runs.items():
        state, lines = train(assemble(config(**fields)), tmp_path / name, until=1)
        first[name] = flat(state.params)
    for path, x in first["grouped"].items():
        np.testing.assert_array_equal(x, first["full" if path.startswith("head") else "low"][path])
    _, lines = train(assemble(config(**groups)), tmp_path / "grouped")
    for line in lines:
        assert line["learning_rate/^(stem|stage)"] == pytest.approx(0.1 * line["learning_rate/<others>"], rel=1e-6)


@pytest.mark.parametrize("paths", [("^stage9",), ("^stem",)])
def test_a_path_that_fits_nothing_that_is_trained_is_found_before_the_run(paths):
    with pytest.raises(ValueError, match="matches no parameter that is trained"):
        assemble(config(FROZEN, rate_paths=paths, rate_factors=(0.1,)))


def test_groups_survive_json_and_an_older_run_directory_is_still_ours(tmp_path):
    grouped = config(rate_paths=("^stem",), rate_factors=(0.1,))
    assert from_json(json.loads(json.dumps(to_json(grouped)))).optimizer == grouped.optimizer
    old = to_json(config())
    for name in ("rate_paths", "rate_factors"):
        del old["optimizer"][name]
    assert from_json(old).optimizer == config().optimizer
    record.write_json(tmp_path / "config.json", old)
    (tmp_path / "metrics.jsonl").write_text("")
    record.claim(tmp_path, config(), {})
    with pytest.raises(record.WorkdirError, match=r"optimizer\.rate_paths"):
        record.claim(tmp_path, grouped, {})


# --- dropped updates ---


class Weighted:
    """A source whose examples have a weight, 1."""

    def __init__(self, source):
        self.source, self.info = source, source.info

    def __len__(self):
        return len(self.source)

    def __getitem__(self, indices):
        return {**self.source[indices], "mask": np.ones(len(indices), np.float32)}


class Poisoned:
    """A pipeline whose examples weigh NaN in some batches, which makes the loss one."""

    def __init__(self, pipeline, bad):
        self.pipeline, self.bad, self.steps_per_epoch = pipeline, bad, pipeline.steps_per_epoch
        self.draws, self.bucket = pipeline.draws, pipeline.bucket

    def batch(self, step):
        examples = self.pipeline.batch(step)
        weight = np.nan if step in self.bad else 1.0
        return {**examples, "mask": np.full(len(examples["label"]), weight, np.float32)}


def poisoned(bad: tuple[int, ...], **fields) -> Assembly:
    assembly = assemble(config(**fields))
    source = Weighted(assembly.train_source)
    return replace(assembly, train_source=source, pipeline=Poisoned(assembly.pipeline, bad))


@pytest.mark.slow
def test_dropped_updates_leave_a_running_count(tmp_path):
    """1, 2 and 4 are not finite; the count goes on through an interruption, and is not reset by a good update."""
    assembly = poisoned((1, 2, 4), steps="8", max_dropped=2)
    state, lines = train(assembly, tmp_path / "whole")
    assert [line["dropped"] for line in lines] == [1, 2, 3, 3]
    assert (int(state.dropped), int(state.dropped_total), int(state.step)) == (0, 3, 8)
    half, _ = train(assembly, tmp_path / "half", until=5)
    snapshots.save(tmp_path / "half", half, snapshots.Kind.RESUME, {"metrics": _digest(tmp_path / "half")})
    _, again = train(assembly, tmp_path / "half")
    assert again == lines


def test_a_dropped_update_is_as_if_its_batch_had_not_been(tmp_path):
    """Parameters, statistics, slots and rate: the update after it finds what the one before it left."""
    before, _ = train(poisoned((), steps="3", max_dropped=1), tmp_path / "clean", until=1)
    after, _ = train(poisoned((1,), steps="4", max_dropped=1), tmp_path / "poisoned", until=2)
    for name in ("params", "model_state", "opt_state"):
        for path, x in flat(getattr(before, name)).items():
            np.testing.assert_array_equal(x, flat(getattr(after, name))[path], err_msg=path)


def test_one_more_than_allowed_stops_the_run(tmp_path):
    assembly = poisoned((1, 2), steps="8", max_dropped=1)
    with pytest.raises(DivergedError, match="not finite at update 2"):
        train(assembly, tmp_path / "run")


@pytest.mark.slow
def test_lines_of_a_run_that_stops_at_once_are_what_they_were(tmp_path):
    _, lines = train(assemble(config(steps="2")), tmp_path / "run")
    assert "dropped" not in lines[-1]
