"""Penalties on weights against float64 numpy and central differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from cs231n_jax import models, optim
from cs231n_jax.ops import penalties
from tests.references import losses as reference

elastic = jax.jit(penalties.elastic, static_argnames=("l1_strength", "l2_strength"))
STRENGTHS = [(0.0, 0.3), (0.2, 0.0), (0.2, 0.3), (0.0, 0.0)]


def tree(dtype="float64"):
    random = np.random.default_rng(0)
    return {"a": {"w": jnp.asarray(random.normal(size=(3, 4)), dtype)}, "b": jnp.asarray(random.normal(size=5), dtype)}


@pytest.mark.parametrize(("l1", "l2"), STRENGTHS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-14), ("float32", 1e-6), ("bfloat16", 1e-6)])
def test_value(l1, l2, dtype, tolerance, x64):
    params = tree(dtype)
    value = elastic(params, l1_strength=l1, l2_strength=l2)
    assert value.dtype == ("float64" if dtype == "float64" and l1 + l2 else "float32")
    expected = reference.elastic([np.asarray(x, np.float64) for x in jax.tree.leaves(params)], l1, l2)
    np.testing.assert_allclose(value, expected, rtol=tolerance)


@pytest.mark.parametrize(("l1", "l2"), STRENGTHS[:3])
def test_gradient_by_central_differences(l1, l2, x64):
    params, h = tree(), 1e-6
    flat, unravel = ravel_pytree(params)
    assert np.abs(flat).min() > 10 * h  # away from the corner of |w|
    gradient = jax.grad(lambda x: elastic(unravel(x), l1_strength=l1, l2_strength=l2))(flat)
    x = np.asarray(flat)
    steps = h * np.eye(x.size)
    expected = [(reference.elastic([x + s], l1, l2) - reference.elastic([x - s], l1, l2)) / (2 * h) for s in steps]
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-8)  # the error of the differences


def test_parts_add_up_and_the_corner_has_no_slope(x64):
    params = tree()
    both = 0.2 * penalties.l1(params) + 0.3 * penalties.l2(params)
    np.testing.assert_allclose(elastic(params, l1_strength=0.2, l2_strength=0.3), both, rtol=1e-14)
    assert float(jax.grad(lambda w: penalties.l1([w]))(jnp.zeros(()))) == 0
    assert float(penalties.l2({})) == float(penalties.l1({})) == 0


def test_a_batch_of_trees():
    params = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), tree("float32"))
    one, two = jax.vmap(penalties.l2)(params)
    np.testing.assert_allclose(two, 4 * one, rtol=1e-6)


@pytest.mark.parametrize("name", ["mlp", "lenet5", "resnet20", "densenet40_12"])
def test_weights_are_what_the_decay_of_the_optimizers_takes(name):
    model = models.create(name)
    params, _ = models.functional.shapes(model, jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32))
    leaves = jax.tree.leaves(params)
    decayed = [x for x, flag in zip(leaves, jax.tree.leaves(optim.not_vectors(params)), strict=True) if flag]
    assert penalties.weights(params) == decayed
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
    kernels = [x for path, x in zip(paths, leaves) if "kernel" in path]
    assert decayed == kernels


@pytest.mark.parametrize("strengths", [{"l1_strength": -0.1}, {"l2_strength": float("nan")}])
def test_impossible_strengths(strengths):
    with pytest.raises(ValueError, match=r"_strength is .*finite and at least 0"):
        penalties.elastic(tree("float32"), **strengths)
