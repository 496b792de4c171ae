"""Every mesh computes the same, with batch norm, dropout and augmentation on, and holds what it should of the state."""

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax.config import Config, TrainConfig
from cs231n_jax.data import DataConfig
from cs231n_jax.models import ModelConfig, Precision
from cs231n_jax.optim import OptimizerConfig, ScheduleConfig
from cs231n_jax.optim.base import SMALL
from cs231n_jax.train import plan, sharding, snapshots
from cs231n_jax.train.assemble import assemble
from cs231n_jax.train.step import make_train_step

MESHES = ((8, 1), (1, 8), (4, 2))
# By default the one that splits both ways.
every_mesh = pytest.mark.parametrize(
    "mesh",
    [pytest.param(mesh, marks=pytest.mark.slow if 1 in mesh else (), id="x".join(map(str, mesh))) for mesh in MESHES],
)


@functools.cache
def assembly_of(mesh, dtype=Precision.FLOAT32):
    """A run of two convolutions with batch norm and two dense layers: one kernel is large enough to be split."""
    data, fsdp = mesh
    options = {"widths": (16, 32), "drop_rate": 0.3}
    return assemble(
        Config(
            model=ModelConfig(name="convnet", options=options, dtype=dtype),
            data=DataConfig(name="digits", batch_size=64, augment="crop_flip", augment_padding=1),
            optimizer=OptimizerConfig(name="momentum", learning_rate=0.1, momentum=0.9, weight_decay=1e-4),
            schedule=ScheduleConfig(name="cosine"),
            train=TrainConfig(steps="50"),
            mesh=sharding.MeshConfig(data=data, fsdp=fsdp),
        )
    )


@functools.cache
def compiled_of(mesh, dtype=Precision.FLOAT32):
    return compiled(assembly_of(mesh, dtype))


def compiled(assembly):
    step = make_train_step(assembly.task, assembly.optimizer, assembly.config.seed, mesh=assembly.mesh)
    lies = jax.tree.map(lambda x: x.sharding, assembly.state_shapes)
    jitted = jax.jit(step, donate_argnums=0, out_shardings=lies)
    return jitted.lower(assembly.state_shapes, assembly.batch_shapes).compile()


def advance(assembly, step, state, first, last):
    """One step at a time: many calls in flight leave XLA:CPU too few threads for its collectives when it is busy."""
    for i in range(first, last):
        state = jax.block_until_ready(step(state, sharding.put_batch(assembly.pipeline.batch(i), assembly.mesh)))
    return state


@functools.cache
def after(mesh, steps, dtype=Precision.FLOAT32):
    assembly = assembly_of(mesh, dtype)
    state = advance(assembly, compiled_of(mesh, dtype), assembly.new_state(), 0, steps)
    assert len(jax.tree.leaves(state.params)[0].sharding.device_set) == math.prod(mesh)
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


@every_mesh
def test_one_float32_step_agrees_with_one_device(mesh):
    one, many = after((1, 1), 1), after(mesh, 1)
    assert largest_difference((many.params, many.model_state), (one.params, one.model_state)) < 1e-5
    assert float(many.metrics["loss"].total) == pytest.approx(float(one.metrics["loss"].total), rel=1e-5)


@pytest.mark.slow
@every_mesh
def test_fifty_float64_steps_agree_with_one_device(mesh, x64):
    one, many = (after(m, 50, Precision.FLOAT64) for m in ((1, 1), mesh))
    assert jax.tree.leaves(one.params)[0].dtype == jnp.float64
    assert int(one.step) == 50
    assert largest_difference((many.params, many.model_state), (one.params, one.model_state)) < 1e-10
    assert float(many.metrics["loss"].total) == pytest.approx(float(one.metrics["loss"].total), rel=1e-10)


@pytest.mark.slow
def test_a_snapshot_of_any_mesh_continues_on_any_other(tmp_path, x64):
    state, done = None, 0
    for mesh in ((1, 1), *MESHES, (1, 1)):
        assembly = assembly_of(mesh, Precision.FLOAT64)
        if done:
            restored = snapshots.restore(tmp_path, done, assembly.state_shapes)
            state = sharding.put_state(restored, assembly.mesh)
        else:
            state = assembly.new_state()
        state = advance(assembly, compiled_of(mesh, Precision.FLOAT64), state, done, done + 2)
        done += 2
        snapshots.save(tmp_path, state, snapshots.Kind.RESUME)
    one = after((1, 1), done, Precision.FLOAT64)
    assert largest_difference(jax.device_get((state.params, state.model_state)), (one.params, one.model_state)) < 1e-10


@every_mesh
def test_each_device_holds_its_share_of_parameters_and_slots(mesh):
    """Bytes by the compiled program's own account: large leaves over fsdp, the others and the batch's share whole."""

    def local_bytes(leaf):
        shard = leaf.sharding.shard_shape(leaf.shape)
        return math.prod(shard) * leaf.dtype.itemsize

    assembly = assembly_of(mesh)
    expected = 0
    for leaf in jax.tree.leaves(assembly.state_shapes):
        ways = mesh[1] if leaf.size >= sharding.SPLIT_FROM and any(n % mesh[1] == 0 for n in leaf.shape) else 1
        assert local_bytes(leaf) == leaf.size * leaf.dtype.itemsize // ways
        expected += local_bytes(leaf)
    planned = plan.plan(assembly).device_bytes
    assert 0 < expected - planned < 100  # counts of steps and metrics are in no plan
    expected += sum(local_bytes(leaf) for leaf in jax.tree.leaves(assembly.batch_shapes))
    assert compiled_of(mesh).memory_analysis().argument_size_in_bytes == pytest.approx(expected, rel=2e-3)


def test_a_wide_resnet_needs_an_eighth_of_the_memory_over_eight_devices():
    """WRN-28-10 from shapes alone: 36.5 M parameters, each with a momentum slot."""

    def state_bytes(fsdp):
        config = Config(
            model=ModelConfig(name="wrn28_10"),
            data=DataConfig(name="synthetic", batch_size=8),
            optimizer=OptimizerConfig(name="momentum", learning_rate=0.1),
            mesh=sharding.MeshConfig(data=8 // fsdp, fsdp=fsdp),
        )
        shapes = assemble(config).state_shapes
        held = jax.jit(lambda tree: tree, donate_argnums=0).lower((shapes.params, shapes.opt_state)).compile()
        return held.memory_analysis().argument_size_in_bytes

    whole, split = state_bytes(1), state_bytes(8)
    assert whole == pytest.approx(2 * 4 * 36_479_194, rel=1e-3)
    assert split == pytest.approx(whole / 8, rel=0.01)


def test_only_parameters_are_gathered():
    """Gradients and slots are updated, and looked through for NaN, where they lie."""
    config = Config(
        model=ModelConfig(name="mlp", options={"hidden": (512, 512)}),
        data=DataConfig(name="digits", batch_size=8),
        optimizer=OptimizerConfig(name="adam", learning_rate=0.1),
        mesh=sharding.MeshConfig(data=2, fsdp=4),
    )
    assembly = assemble(config)
    shapes = re.findall(r"= \w+\[([\d,]*)\]\S* all-gather\(", compiled(assembly).as_text())
    gathered = [math.prod(map(int, shape.split(","))) for shape in shapes]
    kernels = [leaf.size for leaf in jax.tree.leaves(assembly.state_shapes.params) if leaf.ndim > 1]
    assert sorted(n for n in gathered if n > SMALL) == sorted(n for n in kernels if n > SMALL)


def test_new_leaves_are_never_whole_on_a_device():
    assembly = assembly_of((1, 8))
    leaf = assembly.new_state().params["stage2_conv"]["conv"]["kernel"]
    assert leaf.shape == (3, 3, 16, 32)
    assert {shard.data.shape for shard in leaf.addressable_shards} == {(3, 3, 16, 4)}


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((64, 64), (None, "fsdp")), ((65, 128), (None, "fsdp")), ((4096,), ("fsdp",)), ((65, 65), ()), ((8, 8), ())],
)
def test_the_longest_axis_that_divides_is_split(shape, axes):
    mesh = sharding.make_mesh(sharding.MeshConfig(data=4, fsdp=2), 8)
    assert tuple(sharding.leaf_sharding(shape, mesh).spec) == axes
