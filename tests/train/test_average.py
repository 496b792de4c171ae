"""Averages of weights, statistics and moments against float64 references."""

import functools
import math
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import models
from cs231n_jax.models import functional
from cs231n_jax.ops import augment
from cs231n_jax.tasks.classification import Classification
from cs231n_jax.train import average


def trees(count, seed=0, dtype=np.float32):
    random = np.random.default_rng(seed)
    shapes = {"a": {"kernel": (3, 4), "bias": (4,)}, "b": (2,), "c": (200,)}
    is_shape = {"is_leaf": lambda x: isinstance(x, tuple)}
    return [jax.tree.map(lambda s: random.standard_normal(s).astype(dtype), shapes, **is_shape) for _ in range(count)]


def equal(a, b):
    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        x.dtype == y.dtype and np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b))
    )


DTYPES = [jnp.bfloat16, np.float16, np.float32, np.float64]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [1, 2, 3, 5, 7, 10])
def test_mean_of_copies_is_the_identity(k, dtype):
    (tree,) = trees(1, dtype=dtype)
    assert equal(average.mean([tree] * k), tree)


LARGEST = 4.0  # above all numbers of `trees`


def near(a, b, count, grouped=False):
    """Equal up to `count` steps in float64 and the rounding of the result, or of the groups' means, to its dtype."""
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        own = 0.0 if x.dtype == np.float64 else float(jnp.finfo(x.dtype).eps)
        steps = 3 * count * np.finfo(np.float64).eps * LARGEST  # three roundings a step
        x, y = (np.asarray(z, np.float64) for z in (x, y))
        assert np.all(np.abs(x - y) <= own * (LARGEST if grouped else np.abs(y)) + steps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_order_and_grouping_matter_to_rounding_alone(dtype):
    given = trees(6, dtype=dtype)
    whole = average.mean(given)
    near(average.mean(given[::-1]), whole, 6)
    near(average.mean([given[i] for i in (3, 0, 5, 1, 4, 2)]), whole, 6)
    for size in (2, 3):
        groups = [average.mean(given[i : i + size]) for i in range(0, 6, size)]
        near(average.mean(groups), whole, 8, grouped=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_mean_is_the_mean(dtype):
    given = trees(5, dtype=dtype)
    expected = jax.tree.map(lambda *x: np.mean([np.asarray(y, np.float64) for y in x], axis=0).astype(dtype), *given)
    near(average.mean(given), expected, 5)


def test_the_mean_holds_itself_in_float64_and_one_tree():
    """Of float32 trees of one size: two of it for the mean, one for the tree at hand, and a leaf or two in work."""
    shape, leaves = (100_000,), 8
    size = 4 * leaves * math.prod(shape)

    def made():
        for i in range(5):
            yield {f"leaf{j}": np.full(shape, i + j, np.float32) for j in range(leaves)}

    tracemalloc.start()
    try:
        average.mean(made())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 2.9 * size < peak < 3.6 * size


def test_other_models_are_refused():
    tree, other = trees(2)
    other["b"] = np.zeros(3, np.float32)
    with pytest.raises(ValueError, match=r"\['b'\] has shape \(2,\) in the first and \(3,\)"):
        average.mean([tree, other])
    with pytest.raises(ValueError, match="no trees"):
        average.mean([])


def test_ema_recurrence():
    tree, *rest = trees(6)
    expected, result = tree["b"].astype(np.float64), tree
    for new in rest:
        expected = 0.9 * expected + 0.1 * new["b"]
        result = average.ema(result, new, 0.9)
    np.testing.assert_allclose(result["b"], expected, rtol=1e-6)


def test_pooled_moments_are_those_of_the_union():
    random = np.random.default_rng(0)
    data = random.standard_normal((6, 50, 3)) * [1, 10, 0.1] + [1e3, 0, -5]
    data += random.standard_normal((6, 1, 3))  # batches differ in their means
    uneven = np.split(data.reshape(-1, 3), [7, 50, 51, 290])
    for batches in (data, uneven):
        moments = [(len(batch), {"layer": {"mean": batch.mean(0), "var": batch.var(0)}}) for batch in batches]
        pooled = average.pooled_moments(moments)["layer"]
        np.testing.assert_allclose(pooled["mean"], data.reshape(-1, 3).mean(0), rtol=1e-12)
        np.testing.assert_allclose(pooled["var"], data.reshape(-1, 3).var(0), rtol=1e-10)


def test_batches_count_by_their_examples():
    """The statistics of ten examples, in whatever batches a layer at the input sees them."""
    values = np.random.default_rng(0).standard_normal((10, 3))

    def moments_step(params, state, batch, key):
        return {"norm": {"mean": batch["image"].mean(0), "var": batch["image"].var(0)}}

    state = {"batch_stats": {"norm": {"mean": np.zeros(3, np.float32), "var": np.ones(3, np.float32)}}}
    for cuts in ([], [5], [2, 9]):
        batches = [({"image": part}, None) for part in np.split(values, cuts)]
        found = average.reestimate(moments_step, {}, state, batches)["batch_stats"]["norm"]
        np.testing.assert_allclose(found["mean"], values.mean(0), rtol=1e-6)
        np.testing.assert_allclose(found["var"], values.var(0), rtol=1e-6)


def test_reestimated_statistics_equal_a_float64_run_over_the_same_batches():
    """The whole network once more in float64, and the moments of each layer pooled there."""
    model = models.create("resnet8", width=4)
    task = Classification(model, (0.5,), (0.25,))
    random = np.random.default_rng(0)
    labels = np.zeros(32, np.int32)
    batches = [{"image": random.integers(0, 256, (32, 8, 8, 1), np.uint8), "label": labels} for _ in range(5)]
    key = jax.random.key(0)
    params, state = task.init(0, batches[0])
    result = average.reestimate(
        jax.jit(average.make_moments_step(task)), params, state, ((jax.tree.map(jnp.asarray, b), key) for b in batches)
    )["batch_stats"]
    with jax.enable_x64(True):
        wide = Classification(model, (0.5,), (0.25,), dtype="float64")
        params64, state64 = jax.tree.map(lambda x: jnp.asarray(np.asarray(x), jnp.float64), (params, state))
        step = jax.jit(average.make_moments_step(wide))
        moments = [step(params64, state64, jax.tree.map(jnp.asarray, b), key) for b in batches]
        layers = [jax.device_get(m) for m in moments]

    def check(path, got):
        names = [k.key for k in path]
        parts = layers
        for name in names[:-1]:
            parts = [p[name] for p in parts]
        mean = np.mean([p["mean"] for p in parts], axis=0)
        var = np.mean([p["var"] + p["mean"] ** 2 for p in parts], axis=0) - mean**2
        if names[-1] == "mean":
            assert np.all(np.abs(got - mean) < 1e-6 * np.sqrt(var)), names
        else:
            np.testing.assert_allclose(got, var, rtol=1e-6)

    jax.tree_util.tree_map_with_path(check, jax.device_get(result))


def test_stale_statistics_are_not_those_of_the_weights():
    """Without re-estimation the running statistics belong to another network."""
    model = models.create("resnet8", width=4)
    task = Classification(model, (0.5,), (0.25,))
    batch = {"image": np.zeros((8, 8, 8, 1), np.uint8), "label": np.zeros(8, np.int32)}
    batch["image"][:] = np.random.default_rng(0).integers(0, 256, batch["image"].shape)
    params, state = task.init(0, batch)
    batch = jax.tree.map(jnp.asarray, batch)
    step = jax.jit(average.make_moments_step(task))
    fresh = average.reestimate(step, params, state, [(batch, jax.random.key(0))])
    images = augment.standardize(batch["image"], task.mean, task.std)
    train, _ = jax.jit(functools.partial(functional.apply, model, train=True, noise=False))(params, state, images)
    run = jax.jit(functools.partial(functional.apply, model))
    (stale, _), (right, _) = (run(params, statistics, images) for statistics in (state, fresh))
    np.testing.assert_allclose(right, train, rtol=1e-3, atol=1e-4)
    assert np.abs(stale - train).max() > 0.1


def test_model_without_statistics_is_left_alone():
    state = {"carry": {"h": np.ones(3)}}
    assert average.reestimate(lambda *_: None, {}, state, []) is state
