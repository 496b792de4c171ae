"""Losses against float64 numpy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax.ops import losses
from tests.references import losses as reference

softmax_cross_entropy = jax.jit(losses.softmax_cross_entropy, static_argnames="label_smoothing")
SMOOTHING = [0.0, 0.1, 0.9]


def draw(shape=(6, 10), scale=3.0, dtype="float64"):
    random = np.random.default_rng(0)
    return jnp.asarray(scale * random.standard_normal(shape), dtype), jnp.asarray(
        random.integers(0, shape[-1], shape[:-1])
    )


@pytest.mark.parametrize("label_smoothing", SMOOTHING)
@pytest.mark.parametrize("shape", [(6, 10), (2, 3, 7), (5, 1)])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-14), ("float32", 1e-6)])
def test_value_and_gradient(label_smoothing, shape, dtype, tolerance, x64):
    z, labels = draw(shape, dtype=dtype)

    @jax.jit
    def with_gradient(z):
        loss, pull = jax.vjp(lambda z: softmax_cross_entropy(z, labels, label_smoothing=label_smoothing), z)
        return loss, pull(jnp.ones_like(loss))[0]

    loss, gradient = with_gradient(z)
    assert loss.dtype == dtype
    assert loss.shape == shape[:-1]
    z64, classes = np.asarray(z, np.float64), np.asarray(labels)
    expected = reference.softmax_cross_entropy(z64, classes, label_smoothing)
    np.testing.assert_allclose(loss, expected, rtol=0, atol=tolerance * 10)
    expected = reference.softmax_cross_entropy_gradient(z64, classes, label_smoothing)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=tolerance)


def test_the_example_of_the_course_notes():
    """Scores (-2.85, 0.86, 0.28) of an example of the third class: 1.04 nats."""
    loss = softmax_cross_entropy(jnp.asarray([[-2.85, 0.86, 0.28]]), jnp.asarray([2]))
    np.testing.assert_allclose(loss, [1.040], atol=5e-4)


def test_equal_scores_cost_the_logarithm_of_the_number_of_classes():
    loss = softmax_cross_entropy(jnp.zeros((2, 10)), jnp.asarray([0, 9]), label_smoothing=0.1)
    np.testing.assert_allclose(loss, [math.log(10)] * 2, rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_large_scores(dtype):
    z, labels = jnp.asarray([[1e4, -1e4, 0.0]] * 3, dtype), jnp.arange(3)
    loss, pull = jax.vjp(lambda z: softmax_cross_entropy(z, labels, label_smoothing=0.1), z)
    (gradient,) = pull(jnp.ones_like(loss))
    assert jnp.isfinite(loss).all()
    assert jnp.isfinite(gradient.astype(jnp.float32)).all()
    assert loss.dtype == jnp.float32
    assert gradient.dtype == dtype


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_out_of_range_shows(label):
    loss = softmax_cross_entropy(jnp.zeros((2, 3)), jnp.asarray([label, 0]))
    assert jnp.isnan(loss[0])
    assert jnp.isfinite(loss[1])


@pytest.mark.parametrize("dtype", ["int8", "int32", "uint8"])
def test_integer_types_of_labels(dtype):
    z, _ = draw((3, 300), dtype="float32")  # more classes than the type can count
    labels = jnp.asarray([0, 99, 127])
    narrow = softmax_cross_entropy(z, labels.astype(dtype))
    np.testing.assert_array_equal(narrow, softmax_cross_entropy(z, labels))


def test_second_derivatives(x64):
    """The Hessian of the loss is diag(p) − p pᵀ."""
    z, labels = draw((1, 5))
    hessian = jax.jit(jax.hessian(lambda z: softmax_cross_entropy(z, labels)[0]))(z)[0, :, 0]
    p = np.asarray(jax.nn.softmax(z[0]))
    np.testing.assert_allclose(hessian, np.diag(p) - np.outer(p, p), rtol=0, atol=1e-14)


@pytest.mark.parametrize("label_smoothing", [-0.1, 1.0])
def test_impossible_smoothing(label_smoothing):
    with pytest.raises(ValueError, match="at least 0 and below 1"):
        losses.softmax_cross_entropy(jnp.zeros((1, 2)), jnp.zeros(1, jnp.int32), label_smoothing=label_smoothing)
