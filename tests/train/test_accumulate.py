"""Micro-batches add up to the batch, and need less memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax.config import Config, TrainConfig
from cs231n_jax.data import DataConfig
from cs231n_jax.models import ModelConfig, Precision
from cs231n_jax.optim import OptimizerConfig
from cs231n_jax.train import sharding
from cs231n_jax.train.accumulate import Sums, in_pieces
from cs231n_jax.train.assemble import assemble
from cs231n_jax.train.step import make_train_step
from tests.rows import but_for
from tests.train.test_devices import largest_difference


def assembly_of(model, pieces, batch=64, devices=1, data="digits", **options):
    return assemble(
        Config(
            model=ModelConfig(name=model, dtype=Precision.FLOAT64, options=options),
            data=DataConfig(name=data, batch_size=batch),
            optimizer=OptimizerConfig(name="momentum", learning_rate=0.1, weight_decay=1e-4),
            train=TrainConfig(steps="4", accumulate=pieces),
            mesh=sharding.MeshConfig(data=devices),
        )
    )


def compiled(assembly):
    accumulate = assembly.config.train.accumulate
    step = make_train_step(assembly.task, assembly.optimizer, 0, accumulate=accumulate, mesh=assembly.mesh)
    return jax.jit(step).lower(assembly.state_shapes, assembly.batch_shapes).compile()


def run(assembly, steps=4):
    step, state = compiled(assembly), assembly.new_state()
    for i in range(steps):
        state = step(state, sharding.put_batch(assembly.pipeline.batch(i), assembly.mesh))
    return jax.device_get(state)


OPTIONS = {"mlp": {}, "lenet5": {"padding": 4}}


@functools.cache
def in_one_batch(model):
    return run(assembly_of(model, 1, **OPTIONS[model]))


CUTS = [("mlp", 2, 8), ("mlp", 8, 1), ("mlp", 2, 1), ("mlp", 8, 8), ("lenet5", 4, 1), ("lenet5", 4, 8)]


@pytest.mark.parametrize(("model", "pieces", "devices"), but_for(CUTS[:2], CUTS))
def test_micro_batches_equal_one_batch(model, pieces, devices, x64):
    """No batch statistics and no noise: only the order of summation differs."""
    one, many = in_one_batch(model), run(assembly_of(model, pieces, devices=devices, **OPTIONS[model]))
    assert largest_difference((many.params, many.opt_state), (one.params, one.opt_state)) < 1e-12
    for name in ("loss", "accuracy"):
        assert many.metrics[name].compute() == pytest.approx(one.metrics[name].compute(), rel=1e-12)
        assert float(many.metrics[name].count) == 4 * 64


@pytest.mark.slow
def test_batch_statistics_are_those_of_each_micro_batch_in_turn(x64):
    """What the docstring states, computed by hand: statistics pass through the micro-batches, gradients add up."""
    assembly = assembly_of("resnet8", 2, batch=16, width=4)
    state, batch = assembly.new_state(), jax.device_put(assembly.pipeline.batch(0))
    step = make_train_step(assembly.task, assembly.optimizer, 0, accumulate=2)
    new = jax.jit(step)(state, batch)

    def loss(params, model_state, part):
        mean, (model_state, _) = assembly.task.loss(params, model_state, part, key=jax.random.key(0), train=True)
        return mean.total, model_state

    gradient, model_state, total = jax.jit(jax.grad(loss, has_aux=True)), state.model_state, None
    for i in range(2):
        part = {name: x[i::2] for name, x in batch.items()}
        grads, model_state = gradient(state.params, model_state, part)
        total = grads if total is None else jax.tree.map(jnp.add, total, grads)
    mean = jax.tree.map(lambda g: g / 16, total)
    updates, _ = jax.jit(assembly.optimizer.update)(mean, state.opt_state, state.params)
    params = jax.tree.map(jnp.add, state.params, updates)
    assert largest_difference((new.params, new.model_state), (params, model_state)) < 1e-12


def test_scan_and_written_out_loop_agree_and_noise_differs_by_piece():
    def gradient(params, model_state, batch, key):
        x = batch["x"] + jax.random.normal(key, batch["x"].shape)
        new = {"seen": model_state["seen"] + 1, "carry": {"h": 2 * model_state["carry"]["h"] + batch["x"]}}
        return Sums(jnp.sum(x), jnp.float32(x.size), {"seen": jnp.sum(x**2)}, params * jnp.sum(x)), new

    batch = {"x": jnp.arange(12.0).reshape(12, 1)}
    state = {"seen": jnp.int32(0), "carry": {"h": 100 * batch["x"]}}
    arguments = (jnp.ones(3), state, batch, jax.random.key(3))
    written, scanned = (in_pieces(gradient, 4, unroll)(*arguments) for unroll in (True, False))
    for a, b in zip(jax.tree.leaves(written), jax.tree.leaves(scanned)):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert int(written[1]["seen"]) == 4
    np.testing.assert_array_equal(written[1]["carry"]["h"], 201 * batch["x"])  # each example its own, once
    by_hand = sum(
        jnp.sum(batch["x"][i::4] + jax.random.normal(jax.random.fold_in(arguments[3], i), (3, 1))) for i in range(4)
    )
    assert float(written[0].total) == pytest.approx(float(by_hand), rel=1e-6)


@pytest.mark.slow
def test_peak_memory_falls():
    def temporaries(pieces):
        assembly = assembly_of("resnet8", pieces, batch=64, data="synthetic")
        return compiled(assembly).memory_analysis().temp_size_in_bytes

    with jax.enable_x64(True):
        one, four = temporaries(1), temporaries(4)
    assert four < 0.45 * one


def test_what_does_not_divide_is_refused():
    with jax.enable_x64(True), pytest.raises(ValueError, match=r"train\.accumulate=3 does not cut data\.batch_size=64"):
        assembly_of("mlp", 3)
