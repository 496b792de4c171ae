"""One device and eight compute the same, with batch norm and augmentation on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax.config import Config, TrainConfig
from cs231n_jax.data import Augment, DataConfig
from cs231n_jax.models import ModelConfig, Precision
from cs231n_jax.optim import OptimizerConfig, ScheduleConfig
from cs231n_jax.train import sharding
from cs231n_jax.train.assemble import assemble
from cs231n_jax.train.step import make_train_step


def run(devices: int, steps: int, dtype: Precision):
    config = Config(
        model=ModelConfig(name="resnet8", dtype=dtype),
        data=DataConfig(name="digits", batch_size=64, augment=Augment.CROP_FLIP, augment_padding=1),
        optimizer=OptimizerConfig(name="momentum", learning_rate=0.1, momentum=0.9, weight_decay=1e-4),
        schedule=ScheduleConfig(name="cosine"),
        train=TrainConfig(steps="50"),
        mesh=sharding.MeshConfig(data=devices),
    )
    assembly = assemble(config)
    state = sharding.put_state(assembly.new_state(), assembly.mesh)
    step = jax.jit(make_train_step(assembly.task, assembly.optimizer, config.seed), donate_argnums=0)
    for i in range(steps):
        state = step(state, sharding.put_batch(assembly.pipeline.batch(i), assembly.mesh))
    assert len(jax.tree.leaves(state.params)[0].sharding.device_set) == devices
    return jax.device_get(state)


def largest_difference(a, b) -> float:
    """Largest |a − b| in units of the leaf's largest value; statistics in units of their standard deviation."""

    def scale(path: str, tree) -> float:
        if path.endswith("/mean"):
            return float(np.sqrt(tree[path.replace("/mean", "/var")]).max())
        return float(np.abs(tree[path]).max()) or 1.0

    def flat(tree):
        leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
        return {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(x) for path, x in leaves}

    x, y = flat(a), flat(b)
    assert x.keys() == y.keys()
    return max(float(np.abs(x[k] - y[k]).max()) / scale(k, y) for k in x)


def test_one_float32_step_agrees():
    one, eight = (run(devices, 1, Precision.FLOAT32) for devices in (1, 8))
    assert largest_difference((eight.params, eight.model_state), (one.params, one.model_state)) < 1e-5
    assert float(eight.metrics["loss"].total) == pytest.approx(float(one.metrics["loss"].total), rel=1e-5)


def test_fifty_float64_steps_agree(x64):
    one, eight = (run(devices, 50, Precision.FLOAT64) for devices in (1, 8))
    assert jax.tree.leaves(one.params)[0].dtype == jnp.float64
    assert int(one.step) == 50
    assert largest_difference((eight.params, eight.model_state), (one.params, one.model_state)) < 1e-10
    assert float(eight.metrics["loss"].total) == pytest.approx(float(one.metrics["loss"].total), rel=1e-10)
