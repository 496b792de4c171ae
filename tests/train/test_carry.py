"""Truncated backpropagation through time: what is carried from window to window, and what is not."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax.config import Config, TrainConfig
from cs231n_jax.data import DataConfig
from cs231n_jax.models import ModelConfig, Precision, create, functional
from cs231n_jax.ops import cells, losses
from cs231n_jax.optim import OptimizerConfig
from cs231n_jax.tasks.base import TaskConfig
from cs231n_jax.tasks.language_modelling import LanguageModelling
from cs231n_jax.train import carry, members, sharding, snapshots
from cs231n_jax.train.assemble import assemble
from cs231n_jax.train.feed import make_feed
from cs231n_jax.train.step import make_train_step
from tests.rows import but_for

N, T, V, H = 4, 12, 7, 5
every_cell = pytest.mark.parametrize("cell", but_for(["lstm"], ["rnn", "lstm", "gru"]))


@functools.cache
def made(cell):
    """A task in float64, its parameters and its first state."""
    task = LanguageModelling(create("char_lm", cell=cell, hidden=H, layers=2, num_classes=V), dtype="float64")
    return task, *task.init(0, {"token": jax.ShapeDtypeStruct((N, T), jnp.int32)})


@functools.cache
def text():
    return jnp.asarray(np.random.default_rng(0).integers(0, V, (N, T + 1)), jnp.int32)


def quickly(function):
    """Compiled without optimisation: each program here runs a few times, and compiling takes the time."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


def window_of(first, last, start):
    tokens = text()
    counted = jnp.ones((N, last - first), bool)
    start = jnp.full(N, start)
    return {
        "token": tokens[:, first:last],
        "target": tokens[:, first + 1 : last + 1],
        "start": start,
        "counted": counted,
    }


@functools.cache
def gradient(cell):
    """(params, state, batch) -> ((loss, new state), gradient)."""
    task = made(cell)[0]

    def loss(params, state, batch):
        mean, (state, _) = task.loss(params, state, batch, key=jax.random.key(0), train=True)
        return mean.total, state

    return quickly(jax.value_and_grad(loss, has_aux=True))


def ours(cell, window):
    """Sums of loss and gradient over the windows of a text, and the last carry, at the same parameters throughout."""
    _, params, state = made(cell)
    total, grads = 0.0, jax.tree.map(jnp.zeros_like, params)
    for first in range(0, T, window):
        batch = window_of(first, min(first + window, T), start=first == 0)
        (value, state), more = gradient(cell)(params, state, batch)
        total, grads = total + value, jax.tree.map(jnp.add, grads, more)
    return total, grads, state["carry"]


@functools.cache
def cut_gradient(cell):
    """(params, where [T]) -> ((loss, states), gradient): a scan of the cells' steps over one-hot vectors.

    The states are cut loose where a window begins.
    """
    kinds = {"rnn": (cells.rnn_step, cells.Weights), "lstm": (cells.lstm_step, cells.Weights)}
    step, weights = {**kinds, "gru": (cells.gru_step, cells.GruWeights)}[cell]
    zero = jnp.zeros((N, H))

    def loss(params, where):
        layers = [weights(**params[name]) for name in ("layer1", "layer2")]

        def advance(states, inputs):
            x, target, cut = inputs
            states = jax.tree.map(lambda s: jnp.where(cut, jax.lax.stop_gradient(s), s), states)
            for i, layer in enumerate(layers):
                states[i] = step(x, states[i], layer)
                x = jax.tree.leaves(states[i])[0]
            logits = x @ params["head"]["kernel"] + params["head"]["bias"][None]
            return states, losses.softmax_cross_entropy(logits, target).sum()

        states = [cells.LstmState(zero, zero) if cell == "lstm" else zero for _ in layers]
        x = jax.nn.one_hot(text()[:, :T].T, V, dtype=jnp.float64)
        states, nats = jax.lax.scan(advance, states, (x, text()[:, 1:].T, where))
        return nats.sum(), states

    return quickly(jax.value_and_grad(loss, has_aux=True))


def by_hand(cell, window):
    """What `ours` should be."""
    where = jnp.arange(T, dtype=jnp.int32) % window == 0
    (total, states), grads = cut_gradient(cell)(made(cell)[1], where)
    parts = [state._asdict() if cell == "lstm" else {"h": state} for state in states]
    return total, grads, {f"layer{i + 1}_{part}": x for i, state in enumerate(parts) for part, x in state.items()}


def close(actual, desired):
    assert jax.tree.structure(actual) == jax.tree.structure(desired)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(desired)):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * max(1.0, float(np.abs(b).max())))


@every_cell
def test_a_window_of_the_whole_length_is_full_backpropagation(cell, x64):
    close(ours(cell, T), by_hand(cell, T))


@every_cell
@pytest.mark.parametrize("window", [1, 5])
def test_windows_give_the_gradient_that_is_cut_between_them(cell, window, x64):
    cut, full = ours(cell, window), ours(cell, T)
    close(cut, by_hand(cell, window))
    close((cut[0], cut[2]), (full[0], full[2]))  # what goes forward is not cut
    assert np.abs(cut[1]["layer1"]["hidden"] - full[1]["layer1"]["hidden"]).max() > 1e-3


@every_cell
def test_a_stream_that_starts_forgets_the_one_before_and_no_other_does(cell, x64):
    task, params, state = made(cell)
    old = jax.tree.map(lambda x: x + 0.5, state)
    start = jnp.arange(N) % 2 == 0

    @quickly
    def carried(state, start):
        batch = {**window_of(0, 4, False), "start": start}
        return task.loss(params, state, batch, key=jax.random.key(0), train=True)[1][0]["carry"]

    fresh, kept = carried(state, jnp.zeros(N, bool)), carried(old, jnp.zeros(N, bool))
    for name, mixed in carried(old, start).items():
        np.testing.assert_array_equal(mixed, np.where(start[:, None], fresh[name], kept[name]))
        assert (np.abs(fresh[name] - kept[name]).max(axis=1) > 1e-6).all()


def test_evaluation_and_prediction_neither_read_nor_leave_a_carry(x64):
    task, params, state = made("lstm")
    other, batch = jax.tree.map(lambda x: x + 1, state), window_of(0, T, False)
    for method in map(quickly, (task.predict, functools.partial(task.loss, key=None, train=False))):
        with_carry, without = method(params, other, batch), method(params, {}, batch)
        for a, b in zip(jax.tree.leaves(with_carry)[:1], jax.tree.leaves(without)[:1]):
            np.testing.assert_array_equal(a, b)
    evaluated = quickly(functools.partial(task.loss, key=None, train=False))(params, other, batch)[1][0]
    close(evaluated, other)
    assert carry.without(other) == {}


@every_cell
def test_steps_of_a_decoder_are_the_window(cell, x64):
    task, params, _ = made(cell)
    model, state, steps = task.model, task.model.initial(N), []
    step = quickly(lambda state, token: functional.apply(model, params, {}, state, token, method="step")[0])
    for t in range(T):
        logits, state = step(state, text()[:, t])
        steps.append(logits)
    close(jnp.stack(steps, 1), functional.apply(model, params, {}, text()[:, :T])[0])


# --- in the training step ---


def assembly_of(devices=1, accumulate=1):
    return assemble(
        Config(
            task=TaskConfig(name="language_modelling"),
            model=ModelConfig(name="char_lm", dtype=Precision.FLOAT64, options={"hidden": 6}),
            data=DataConfig(name="python_docs", batch_size=16, window=8),
            optimizer=OptimizerConfig(name="adam", learning_rate=0.01, clip_norm=1.0),
            train=TrainConfig(steps="4", accumulate=accumulate),
            mesh=sharding.MeshConfig(data=devices),
        )
    )


def trained(assembly, steps=3):
    step = make_train_step(
        assembly.task, assembly.optimizer, 0, accumulate=assembly.config.train.accumulate, mesh=assembly.mesh
    )
    lies = jax.tree.map(lambda x: x.sharding, assembly.state_shapes)
    options = {"xla_backend_optimization_level": 0}
    step, state = jax.jit(step, out_shardings=lies, compiler_options=options), assembly.new_state()
    for i in range(steps):
        state = step(state, sharding.put_batch(assembly.pipeline.batch(i), assembly.mesh))
    return state


@pytest.fixture(scope="module")
def one():
    with jax.enable_x64(True):
        return jax.device_get(trained(assembly_of()))


@pytest.mark.parametrize(
    ("devices", "pieces"),
    [pytest.param(8, 1, marks=pytest.mark.slow), pytest.param(1, 4, marks=pytest.mark.slow), (4, 2)],
)
def test_devices_and_micro_batches_have_the_rows_of_their_own_examples(devices, pieces, one, x64):
    state = trained(assembly_of(devices, pieces))
    for leaf in jax.tree.leaves(state.model_state["carry"]):
        assert leaf.sharding.shard_shape(leaf.shape) == (16 // devices, 6)
    close((state.params, state.model_state), (one.params, one.model_state))
    assert np.abs(one.model_state["carry"]["layer1_h"]).max() > 0.01


@pytest.mark.slow
def test_updates_in_one_call_on_data_that_are_on_the_device_carry_alike(one, x64):
    config = assembly_of().config
    assembly = assemble(dataclasses.replace(config, train=dataclasses.replace(config.train, steps_per_call=4)))
    feed, step = make_feed(assembly), make_train_step(assembly.task, assembly.optimizer, 0, mesh=assembly.mesh)
    state = quickly(functools.partial(feed.apply, step))(assembly.new_state(), feed.take(0, 3))
    close((state.params, state.model_state), (one.params, one.model_state))


def test_where_an_update_is_dropped_the_carry_stays(x64):
    assembly = assembly_of()
    state, batch = trained(assembly), sharding.put_batch(assembly.pipeline.batch(3), assembly.mesh)
    step = jax.jit(make_train_step(assembly.task, assembly.optimizer, 0, max_dropped=1))
    head = jax.tree.map(lambda x: x * jnp.nan, state.params["head"])
    poisoned = state._replace(params={**state.params, "head": head})
    close(step(poisoned, batch).model_state, state.model_state)


@pytest.mark.slow
def test_the_compiled_step_needs_the_memory_of_a_window_however_long_the_text(x64):
    sizes = []
    for limit in (16, 16 * 500):
        config = assembly_of().config
        assembly = assemble(dataclasses.replace(config, data=dataclasses.replace(config.data, limit=limit)))
        assert len(assembly.train_source) == limit
        step = jax.jit(make_train_step(assembly.task, assembly.optimizer, 0))
        memory = step.lower(assembly.state_shapes, assembly.batch_shapes).compile().memory_analysis()
        sizes.append((memory.temp_size_in_bytes, memory.argument_size_in_bytes))
    assert sizes[0] == sizes[1]


def test_what_is_read_from_snapshots_for_inference_has_no_carry(x64, tmp_path):
    assembly = assembly_of()
    state = trained(assembly)
    (tmp_path / "config.json").write_text("{}")
    snapshots.save(tmp_path, state, snapshots.Kind.MEMBER, {})
    params, model_state = members.load(members.Member(tmp_path, 3))
    assert model_state == {}
    close(params, jax.device_get(state.params))
