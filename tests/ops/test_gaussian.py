"""Means of activations of normal variables: against quadrature in float64, against draws, and at the edges."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from cs231n_jax.ops import activations, dropconnect, gaussian
from tests.references import activations as reference
from tests.references.regularizers import normal_mean

NAMES = ["sigmoid", "tanh", "relu", "leaky_relu", "elu"]
POINTS = [(m, v) for m in (-30.0, -2.0, -1e-3, 0.0, 0.7, 9.0) for v in (1e-8, 0.01, 1.0, 30.0, 1e4)]
MEAN, VAR = (np.array(values) for values in zip(*POINTS))
SAMPLES = 100_000


@functools.cache
def expected(name):
    return np.array([normal_mean(getattr(reference, name), mean, var) for mean, var in POINTS])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 2e-12), ("float32", 4e-7), ("bfloat16", 2**-7)])
def test_the_mean_is_that_of_quadrature(name, dtype, tolerance, x64):
    """In units of |mean| + s + |E a| + 0.1, about what goes into the sum."""
    mean, var = jnp.asarray(MEAN, jnp.dtype(dtype)), jnp.asarray(VAR, jnp.dtype(dtype))
    actual = gaussian.get(name)(mean, var)
    assert actual.dtype == mean.dtype
    desired = expected(name)
    scale = np.abs(MEAN) + np.sqrt(VAR) + np.abs(desired) + 0.1
    np.testing.assert_allclose(np.asarray(actual, np.float64) / scale, desired / scale, rtol=0, atol=tolerance)


def test_the_error_of_the_sigmoid_is_the_one_stated(x64):
    """At var 0 it is that of the mixture itself, which bounds all others; a single term of Φ is off by 0.018."""
    u = np.linspace(-60, 60, 20_001)
    exact = np.array([reference.sigmoid(v) for v in u])
    zero = jnp.zeros_like(jnp.asarray(u))
    assert np.abs(gaussian.sigmoid(jnp.asarray(u), zero) - exact).max() < 5e-13
    assert np.abs(gaussian.tanh(jnp.asarray(u / 2), zero) - (2 * exact - 1)).max() < 1e-12
    assert len(gaussian._MIXTURE) == 20
    assert sum(weight for _, weight in gaussian._MIXTURE) == pytest.approx(1, abs=1e-15)


def test_symmetric_functions_stay_symmetric():
    var = jnp.asarray([0.0, 0.5, 4.0])
    np.testing.assert_array_equal(gaussian.tanh(jnp.zeros(3), var), 0)
    mean = jnp.asarray([0.3, 1.0, 5.0])
    np.testing.assert_array_equal(gaussian.tanh(mean, var), -gaussian.tanh(-mean, var))
    np.testing.assert_allclose(gaussian.sigmoid(mean, var) + gaussian.sigmoid(-mean, var), 1, rtol=3e-7)


def test_prelu_has_a_slope_for_each_channel(x64):
    slope = jnp.asarray([0.25, 0.0, -0.5, 1.0])
    mean, var = jnp.asarray([[-1.0] * 4, [0.5] * 4]), jnp.asarray([[0.3] * 4, [2.0] * 4])
    want = np.empty(mean.shape)
    for n, c in np.ndindex(mean.shape):
        function = lambda u, c=c: u if u > 0 else float(slope[c]) * u  # noqa: E731
        want[n, c] = normal_mean(function, float(mean[n, c]), float(var[n, c]))
    np.testing.assert_allclose(gaussian.prelu(mean, var, slope), want, rtol=0, atol=1e-13)
    check_grads(jax.jit(gaussian.prelu), (mean, var, slope), order=1, modes=["rev"], atol=1e-7, rtol=1e-7)
    np.testing.assert_array_equal(gaussian.identity(mean, var), mean)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_central_differences(name, x64):
    mean, var = jnp.asarray([-3.0, -0.4, 0.0, 0.6, 2.5]), jnp.asarray([0.5, 1.0, 0.2, 3.0, 8.0])
    check_grads(jax.jit(gaussian.get(name)), (mean, var), order=2, eps=1e-4, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_without_variance_it_is_the_activation(name):
    mean = jnp.asarray([-1e4, -90.0, -1.5, 0.0, 0.7, 90.0, 1e4])
    function, zero = gaussian.get(name), jnp.zeros(7)
    np.testing.assert_allclose(function(mean, zero), activations.get(name)(mean), rtol=1e-6, atol=2e-7)
    slopes = jax.vmap(jax.grad(function))(mean, zero)
    np.testing.assert_allclose(slopes, jax.vmap(jax.grad(activations.get(name)))(mean), rtol=1e-6, atol=2e-7)
    assert jnp.isfinite(jax.vmap(jax.grad(function, 1))(mean, zero)).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_values_and_derivatives_stay_finite(name, dtype):
    mean, var = (
        grid.ravel().astype(dtype)
        for grid in jnp.meshgrid(
            jnp.asarray([-1e15, -1e4, -20.0, 0.0, 20.0, 1e4, 1e15]), jnp.asarray([0, 1e-30, 1e-3, 1.0, 1e4, 1e15])
        )
    )
    function = gaussian.get(name)
    assert jnp.isfinite(function(mean, var)).all()
    for argument in (0, 1):
        assert jnp.isfinite(jax.vmap(jax.grad(function, argument))(mean, var)).all()


@pytest.mark.parametrize("name", [*NAMES, "prelu"])
def test_inference_is_the_mean_of_100000_masks(name, x64):
    """DropConnect itself, not normal draws; of 400 connections, whose sum is normal to less than the error."""
    random = np.random.default_rng(0)
    x, kernel = (jnp.asarray(random.standard_normal(shape)) for shape in ((1, 400), (400, 3)))
    kernel, bias = kernel / 15, jnp.asarray([0.5, -0.2, 0.1])
    slope = jnp.asarray([0.25, 0.1, -0.3])
    function, mean_of = (
        (lambda u: activations.prelu(u, slope), lambda m, v: gaussian.prelu(m, v, slope))
        if name == "prelu"
        else (activations.get(name), gaussian.get(name))
    )

    @jax.jit
    def draw(key):
        same = jnp.broadcast_to(x, (SAMPLES // 100, 400))
        return function(dropconnect.drop_connect(key, same, kernel, bias, drop_rate=0.5, chunk_size=100))

    draws = np.concatenate([draw(key) for key in jax.random.split(jax.random.key(1), 100)])
    wanted = mean_of(*dropconnect.moments(x, kernel, bias, drop_rate=0.5))[0]
    assert draws.shape == (SAMPLES, 3)
    np.testing.assert_array_less(np.abs(draws.mean(0) - wanted), 4 * draws.std(0) / np.sqrt(SAMPLES))


@pytest.mark.parametrize("name", NAMES)
def test_samples_tend_to_the_closed_form(name, x64):
    mean, var = jnp.asarray([-1.0, 0.0, 2.0]), jnp.asarray([0.5, 2.0, 0.1])
    function = activations.get(name)
    found = gaussian.sample(jax.random.key(0), function, mean, var, count=SAMPLES)
    square = gaussian.sample(jax.random.key(0), lambda u: function(u) ** 2, mean, var, count=SAMPLES)
    error = 4 * np.sqrt((square - found**2) / SAMPLES)
    np.testing.assert_array_less(np.abs(found - gaussian.get(name)(mean, var)), error)
    assert not np.array_equal(found, gaussian.sample(jax.random.key(1), function, mean, var, count=SAMPLES))


def test_a_sample_of_one_is_a_draw():
    zero, mean = jnp.zeros(4, jnp.bfloat16), jnp.arange(4, dtype=jnp.bfloat16)
    drawn = gaussian.sample(jax.random.key(0), activations.relu, mean, zero, count=1)
    np.testing.assert_array_equal(drawn, mean)
    with pytest.raises(ValueError, match="count is 0"):
        gaussian.sample(jax.random.key(0), activations.relu, mean, zero, count=0)


@pytest.mark.parametrize(("name", "message"), [("rely", "Did you mean 'relu'"), ("prelu", "slope")])
def test_unknown_names(name, message):
    with pytest.raises(ValueError, match=message):
        gaussian.get(name)


def test_every_activation_has_a_mean():
    assert set(gaussian._BY_NAME) == set(activations._BY_NAME)
