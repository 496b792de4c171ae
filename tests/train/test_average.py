"""Averages of weights, statistics and moments against float64 references."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import models
from cs231n_jax.models import functional
from cs231n_jax.tasks.classification import Classification
from cs231n_jax.train import average


def trees(count, seed=0):
    random = np.random.default_rng(seed)
    shapes = {"a": {"kernel": (3, 4), "bias": (4,)}, "b": (2,)}
    is_shape = {"is_leaf": lambda x: isinstance(x, tuple)}
    return [
        jax.tree.map(lambda s: random.standard_normal(s).astype(np.float32), shapes, **is_shape) for _ in range(count)
    ]


def equal(a, b):
    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        x.dtype == y.dtype and np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b))
    )


@pytest.mark.parametrize("k", [1, 2, 3, 5, 7])
def test_mean_of_copies_is_the_identity(k):
    (tree,) = trees(1)
    assert equal(average.mean([tree] * k), tree)


def test_order_does_not_matter():
    given = trees(5)
    assert equal(average.mean(given), average.mean(given[::-1]))


def test_mean_is_the_mean():
    given = trees(4)
    expected = np.mean([t["a"]["kernel"].astype(np.float64) for t in given], axis=0)
    np.testing.assert_array_equal(average.mean(given)["a"]["kernel"], expected.astype(np.float32))


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
    moments = [{"layer": {"mean": batch.mean(0), "var": batch.var(0)}} for batch in data]
    pooled = average.pooled_moments(moments)["layer"]
    np.testing.assert_allclose(pooled["mean"], data.reshape(-1, 3).mean(0), rtol=1e-12)
    np.testing.assert_allclose(pooled["var"], data.reshape(-1, 3).var(0), rtol=1e-10)


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
        step = average.make_moments_step(wide)
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
    fresh = average.reestimate(average.make_moments_step(task), params, state, [(batch, jax.random.key(0))])
    train, _ = functional.apply(model, params, state, task._standardize(batch["image"]), train=True, noise=False)
    stale, _ = functional.apply(model, params, state, task._standardize(batch["image"]))
    right, _ = functional.apply(model, params, fresh, task._standardize(batch["image"]))
    np.testing.assert_allclose(right, train, rtol=1e-3, atol=1e-4)
    assert np.abs(stale - train).max() > 0.1


def test_model_without_statistics_is_left_alone():
    state = {"carry": {"h": np.ones(3)}}
    assert average.reestimate(lambda *_: None, {}, state, []) is state
