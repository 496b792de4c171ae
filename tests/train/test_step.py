"""One update: what it starts from, what it can learn, what it refuses to take in."""

import math
from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import models, optim
from cs231n_jax.metrics import Mean
from cs231n_jax.tasks.classification import Classification
from cs231n_jax.train import sharding, state
from cs231n_jax.train.step import make_train_step
from tests.descriptors import MODELS

ONE_DEVICE = sharding.make_mesh(sharding.MeshConfig(data=1), 1)
SMALLEST = [row for row in MODELS if row.name in ("mlp", "lenet5", "resnet8", "resnet14") and not row.note]
rows = pytest.mark.parametrize("row", SMALLEST, ids=str)


def task_of(row) -> Classification:
    channels = row.input_shape[-1]
    return Classification(row.model(), (0.5,) * channels, (0.25,) * channels)


def batch_of(row, size=32):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (size, *row.input_shape[1:]), np.uint8)
    return {"image": jnp.asarray(images), "label": jnp.asarray(random.integers(0, 10, size), jnp.int32)}


@rows
def test_loss_with_a_zeroed_head_is_ln_k(row):
    task, batch = task_of(row), batch_of(row, 8)
    params, model_state = task.init(0, batch)
    params = {**params, "head": jax.tree.map(jnp.zeros_like, params["head"])}
    for train in (False, True):
        key = jax.random.key(0) if train else None
        loss, _ = jax.jit(task.loss, static_argnames="train")(params, model_state, batch, key=key, train=train)
        assert loss.compute() == pytest.approx(math.log(10), rel=1e-6)


@cache
def small(max_dropped=0):
    row = next(row for row in MODELS if row.name == "resnet8")
    task, batch, optimizer = task_of(row), batch_of(row, 8), optim.momentum(0.1)
    step = jax.jit(make_train_step(task, optimizer, 0, max_dropped))
    return task, batch, step, state.create(task, optimizer, 0, batch, ONE_DEVICE)


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)))


def moving(s: state.TrainState):
    return s.params, s.model_state, s.opt_state, s.metrics


def test_update_with_a_gradient_that_is_not_finite_moves_nothing():
    _, batch, step, start = small(max_dropped=1)
    good = step(start, batch)
    poison = dict(good.params, head={**good.params["head"], "bias": jnp.full(10, jnp.nan)})
    bad = step(good._replace(params=poison), batch)
    assert same(bad.model_state, good.model_state)
    assert same(bad.opt_state, good.opt_state)
    assert same(bad.metrics, good.metrics)
    assert int(bad.dropped) == 1
    assert int(bad.step) == 2
    healed = step(bad._replace(params=good.params), batch)
    assert int(healed.dropped) == 0
    assert not same(healed.params, good.params)


def test_update_with_a_statistic_that_is_not_finite_moves_nothing():
    """The variance of huge activations overflows, while what is normalised by it, and its gradient, stay finite."""
    _, batch, step, start = small(max_dropped=1)
    stem = start.params["stem_conv"]["kernel"] * 1e30
    huge = start._replace(params=dict(start.params, stem_conv={"kernel": stem}))
    after = step(huge, batch)
    assert same(moving(after), moving(huge))
    assert int(after.dropped) == 1


def test_after_too_many_dropped_updates_everything_stands_still():
    _, batch, step, start = small()
    good = step(start, batch)
    poison = dict(good.params, head={**good.params["head"], "bias": jnp.full(10, jnp.nan)})
    bad = step(good._replace(params=poison), batch)._replace(params=good.params)
    later = step(step(bad, batch), batch)
    assert same(moving(later), moving(bad))
    assert int(later.dropped) == 3


def test_masked_examples_count_for_nothing():
    task, batch, *_ = small()
    task = replace(task, model=models.create("mlp"))  # without batch statistics each example stands alone
    params, model_state = task.init(0, batch)
    mask = jnp.asarray([1, 1, 1, 0, 0, 1, 1, 0], jnp.float32)
    nonsense = jnp.where(mask[:, None, None, None] > 0, batch["image"], jnp.uint8(255))
    score = jax.jit(partial(task.loss, key=jax.random.key(0), train=True))
    whole, _ = score(params, model_state, {**batch, "image": nonsense, "mask": mask})
    kept = jax.tree.map(lambda x: x[np.flatnonzero(mask)], batch)
    part, _ = score(params, model_state, kept)
    assert whole.compute() == pytest.approx(part.compute(), rel=1e-6)
    assert float(whole.count) == 5


def test_second_call_compiles_nothing():
    _, batch, step, start = small()
    after = step(start, batch)
    with jax.no_tracing(True):
        step(after, batch)


def test_keys_differ_by_purpose_and_step_and_seed():
    keys = [state.stream_key(s, p, t) for s in (0, 1) for p in ("train", "reestimate") for t in range(50)]
    assert len({jax.random.key_data(k).tobytes() for k in keys}) == len(keys)


def test_label_smoothing_changes_the_loss_and_not_the_reported_one():
    task, batch, _, start = small()
    (plain, (_, metrics)), (smooth, (_, same_metrics)) = (
        jax.jit(partial(kind.loss, key=None, train=False))(start.params, start.model_state, batch)
        for kind in (task, replace(task, label_smoothing=0.1))
    )
    assert plain.compute() != smooth.compute()
    assert metrics["loss"].compute() == same_metrics["loss"].compute() == pytest.approx(plain.compute(), rel=1e-6)


def test_a_finite_gradient_that_overflows_a_slot_is_dropped():
    """1e25 is finite and its square is not: Adam would never move that parameter again."""

    class Linear:
        def loss(self, params, model_state, batch, *, key, train):
            loss = Mean.of(batch["x"] * params["w"])
            return loss, (model_state, {"loss": loss})

    optimizer = optim.adam(0.1)
    params = {"w": jnp.zeros(())}
    zero = jnp.zeros((), jnp.int32)
    metrics = {"loss": Mean(jnp.zeros(()), jnp.zeros(()))}
    current = state.TrainState(zero, params, {}, optimizer.init(params), metrics, zero, zero)
    step = jax.jit(make_train_step(Linear(), optimizer, 0, max_dropped=1))
    moved = []
    for x in (1.0, 1e25, 1.0, 1.0):
        current = step(current, {"x": jnp.full((2,), x)})
        moved.append(float(current.params["w"]))
    assert moved[1] == moved[0]
    assert moved[3] < moved[2] < moved[1]
    assert int(current.dropped_total) == 1


@pytest.mark.parametrize("start", [0, 10])
def test_a_gradient_that_is_not_finite_is_seen_where_the_optimizer_hides_it(start):
    """Clipped by value an infinite gradient gives a finite update; of a group that has not begun none at all."""

    class Linear:
        def loss(self, params, model_state, batch, *, key, train):
            loss = Mean.of(batch["x"] * params["w"] + params["b"])
            return loss, (model_state, {"loss": loss})

    config = optim.OptimizerConfig(name="sgd", clip_value=1.0, rate_paths=("^w",), rate_factors=(1.0,))
    optimizer = config.build(optim.schedules.constant(0.5), group_starts=(start,) if start else ())
    params, zero = {"b": jnp.zeros(()), "w": jnp.zeros(())}, jnp.zeros((), jnp.int32)
    metrics = {"loss": Mean(jnp.zeros(()), jnp.zeros(()))}
    current = state.TrainState(zero, params, {}, optimizer.init(params), metrics, zero, zero)
    step = jax.jit(make_train_step(Linear(), optimizer, 0, max_dropped=1))
    after = step(current, {"x": jnp.array([3e38, 3e38, 1.0])})  # the sum of the gradient overflows, the loss is zero
    assert int(after.dropped) == 1
    assert same(moving(after), moving(current))
    assert int(step(after, {"x": jnp.ones(3)}).dropped_total) == 1


@pytest.mark.parametrize("size", [8, 7])
def test_the_norm_told_is_that_of_the_mean_gradient(size):
    task, batch, _, start = small()
    batch = jax.tree.map(lambda x: x[:size], batch)
    optimizer = optim.OptimizerConfig(name="sgd").build(optim.schedules.constant(0.1))
    start = start._replace(opt_state=optimizer.init(start.params))
    told = optim.measurements(jax.jit(make_train_step(task, optimizer, 0))(start, batch).opt_state)["gradient_norm"]
    key = state.stream_key(0, "train", start.step)

    def mean(params):
        loss, _ = task.loss(params, start.model_state, batch, key=key, train=True)
        return loss.total / loss.count

    assert float(told) == pytest.approx(float(optim.global_norm(jax.jit(jax.grad(mean))(start.params))), rel=1e-5)
