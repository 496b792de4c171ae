"""Means of activations of normal variables: against quadrature in float64, against draws, and at the edges."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax.ops import activations, dropconnect, gaussian
from tests.references import activations as reference
from tests.references.regularizers import normal_mean
from tests.rows import but_for, one_in

NAMES = ["sigmoid", "tanh", "relu", "leaky_relu", "elu"]
QUICK = ["relu"]  # those of a sum of twenty terms compile for long
POINTS = [(m, v) for m in (-30.0, -2.0, -1e-3, 0.0, 0.7, 9.0) for v in (1e-8, 0.01, 1.0, 30.0, 1e4)]
MEAN, VAR = (np.array(values) for values in zip(*POINTS))
SAMPLES = 100_000


@functools.cache
def expected(name):
    return np.array([normal_mean(getattr(reference, name), mean, var) for mean, var in POINTS])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), one_in(3, [("float64", 2e-12), ("float32", 4e-7), ("bfloat16", 2**-7)])
)
def test_the_mean_is_that_of_quadrature(name, dtype, tolerance, x64):
    """In units of |mean| + s + |E a|, about what goes into the sum."""
    mean, var = jnp.asarray(MEAN, jnp.dtype(dtype)), jnp.asarray(VAR, jnp.dtype(dtype))
    actual = jax.jit(gaussian.get(name))(mean, var)
    assert actual.dtype == mean.dtype
    desired = expected(name)
    scale = np.abs(MEAN) + np.sqrt(VAR) + np.abs(desired)
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


def test_quadrature_is_exact_for_a_polynomial_and_as_near_as_it_says_for_others(x64):
    mean, var = jnp.asarray([-3.0, 0.0, 0.5, 2.0]), jnp.asarray([0.0, 4.0, 1.0, 0.25])
    fourth = mean**4 + 6 * mean**2 * var + 3 * var**2
    np.testing.assert_allclose(gaussian.quadrature(lambda u: u**4, mean, var), fourth, rtol=1e-12)
    mean, var = (jnp.asarray(a.ravel()) for a in np.meshgrid(np.linspace(-3, 3, 61), [0.25, 1.0, 4.0]))
    np.testing.assert_allclose(gaussian.quadrature(jnp.tanh, mean, var), gaussian.tanh(mean, var), rtol=0, atol=1e-4)
    np.testing.assert_allclose(
        gaussian.quadrature(activations.relu, mean, var), gaussian.relu(mean, var), rtol=0, atol=0.01
    )


def test_an_activation_without_a_closed_form_has_its_mean_by_quadrature(x64, monkeypatch):
    monkeypatch.setitem(activations._BY_NAME, "cube", lambda u: u**3)
    mean, var = jnp.asarray([-1.0, 0.5]), jnp.asarray([2.0, 0.0])
    np.testing.assert_allclose(gaussian.get("cube")(mean, var), mean**3 + 3 * mean * var, rtol=1e-12)


def test_symmetric_functions_stay_symmetric():
    var = jnp.asarray([0.0, 0.5, 4.0])
    np.testing.assert_array_equal(gaussian.tanh(jnp.zeros(3), var), 0)
    mean = jnp.asarray([0.3, 1.0, 5.0])
    np.testing.assert_array_equal(gaussian.tanh(mean, var), -gaussian.tanh(-mean, var))
    np.testing.assert_allclose(gaussian.sigmoid(mean, var) + gaussian.sigmoid(-mean, var), 1, rtol=3e-7)


def test_prelu_has_a_slope_for_each_channel(x64):
    slope = jnp.asarray([0.25, 0.0, -0.5, 1.0])
    mean, var = jnp.asarray([[-1.0] * 4, [0.5] * 4]), jnp.asarray([[0.3] * 4, [2.0] * 4])
    want, slopes = np.empty(mean.shape), np.asarray(slope)
    for n, c in np.ndindex(mean.shape):
        function = lambda u, c=c: u if u > 0 else slopes[c] * u  # noqa: E731
        want[n, c] = normal_mean(function, float(mean[n, c]), float(var[n, c]))
    one, part = jnp.ones_like(mean), jnp.broadcast_to(slope, mean.shape)

    def pulled(function, *given):
        value, pull = jax.vjp(function, *given)
        return value, *pull(one)

    value, *gradients = jax.jit(functools.partial(pulled, gaussian.prelu))(mean, var, slope)
    np.testing.assert_allclose(value, want, rtol=0, atol=1e-13)
    rectified, of_mean, of_var = jax.jit(functools.partial(pulled, gaussian.relu))(mean, var)
    wanted = part + (1 - part) * of_mean, (1 - part) * of_var, (mean - rectified).sum(0)
    for actual, desired in zip(gradients, wanted, strict=True):
        np.testing.assert_allclose(actual, desired, rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(gaussian.identity(mean, var), mean)


@pytest.mark.parametrize("name", but_for(QUICK, NAMES))
def test_first_and_second_derivatives_are_central_differences(name, x64):
    mean, var = np.array([-3.0, -0.4, 0.0, 0.6, 2.5, -0.1, 0.02]), np.array([0.5, 1.0, 0.2, 3.0, 8.0, 0.01, 1e-4])
    gradient = jax.grad(gaussian.get(name), (0, 1))
    hessian = jax.jacrev(gradient, (0, 1))
    all_of = jax.jit(jax.vmap(lambda m, v: (gaussian.get(name)(m, v), *gradient(m, v), *hessian(m, v))))
    eps = 1e-4 * np.sqrt(var), 1e-4 * var  # over which the function bends: s, and var itself
    _, *slopes, of_mean, of_var = all_of(mean, var)
    curves = np.array([of_mean, of_var])  # [of which slope, along which argument, points]
    for axis, step in enumerate(eps):
        shift = (step, 0 * var) if axis == 0 else (0 * var, step)
        up, down = (all_of(mean + sign * shift[0], var + sign * shift[1])[:3] for sign in (1, -1))
        differences = [(a - b) / (2 * step) for a, b in zip(up, down)]
        for actual, desired in zip((slopes[axis], *curves[:, axis]), differences, strict=True):
            np.testing.assert_allclose(actual, desired, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", but_for(["tanh", *QUICK], NAMES))
def test_without_variance_it_is_the_activation(name):
    mean = jnp.asarray([-1e4, -90.0, -1.5, 0.0, 0.7, 90.0, 1e4])
    function, zero = gaussian.get(name), jnp.zeros(7)
    values, (slopes, of_var) = jax.jit(jax.vmap(jax.value_and_grad(function, (0, 1))))(mean, zero)
    np.testing.assert_allclose(values, activations.get(name)(mean), rtol=1e-6, atol=2e-7)
    plain = jax.jit(jax.vmap(jax.grad(activations.get(name))))
    np.testing.assert_allclose(slopes, plain(mean), rtol=1e-6, atol=2e-7)
    assert jnp.isfinite(of_var).all()


@pytest.mark.parametrize("name", but_for(["tanh", *QUICK], NAMES))
@pytest.mark.parametrize("dtype", but_for(["float32"], ["float32", "bfloat16"]))
def test_values_and_derivatives_stay_finite(name, dtype):
    mean, var = (
        grid.ravel().astype(dtype)
        for grid in jnp.meshgrid(
            jnp.asarray([-1e15, -1e4, -20.0, 0.0, 20.0, 1e4, 1e15]), jnp.asarray([0, 1e-30, 1e-3, 1.0, 1e4, 1e15])
        )
    )
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(gaussian.get(name), (0, 1))))(mean, var)
    for found in (values, *slopes):
        assert jnp.isfinite(found).all()


@pytest.mark.slow
def test_inference_is_the_mean_of_100000_masks(x64):
    """DropConnect itself, not normal draws; of 400 connections, whose sum is normal to less than the error."""
    random = np.random.default_rng(0)
    x, kernel = (jnp.asarray(random.standard_normal(shape)) for shape in ((1, 400), (400, 3)))
    kernel, bias = kernel / 15, jnp.asarray([0.5, -0.2, 0.1])
    slope = jnp.asarray([0.25, 0.1, -0.3])

    @jax.jit
    def draw(key):
        same = jnp.broadcast_to(x, (SAMPLES // 100, 400))
        return dropconnect.drop_connect(key, same, kernel, bias, drop_rate=0.5, chunk_size=100)

    u = jnp.concatenate([draw(key) for key in jax.random.split(jax.random.key(1), 100)])
    assert u.shape == (SAMPLES, 3)
    mean, var = dropconnect.moments(x, kernel, bias, drop_rate=0.5)
    pairs = {name: (activations.get(name)(u), gaussian.get(name)(mean, var)[0]) for name in NAMES}
    pairs["prelu"] = activations.prelu(u, slope), gaussian.prelu(mean, var, slope)[0]
    for name, (draws, wanted) in pairs.items():
        error = 4 * np.std(draws, axis=0) / np.sqrt(SAMPLES)
        np.testing.assert_array_less(np.abs(np.mean(draws, axis=0) - wanted), error, err_msg=name)


def test_samples_tend_to_the_closed_form(x64):
    mean, var = jnp.asarray([-1.0, 0.0, 2.0]), jnp.asarray([0.5, 2.0, 0.1])
    count = 20_000
    both = lambda u: jnp.stack([activations.elu(u[0]), jnp.square(activations.elu(u[1]))])  # noqa: E731
    twice = jnp.stack([mean, mean]), jnp.stack([var, var])
    sample = jax.jit(functools.partial(gaussian.sample, function=both, count=count))
    found, square = sample(jax.random.key(0), mean=twice[0], var=twice[1])
    error = 4.5 * np.sqrt((square - found**2) / count)
    np.testing.assert_array_less(np.abs(found - gaussian.elu(mean, var)), error)
    assert not np.array_equal(found, sample(jax.random.key(1), mean=twice[0], var=twice[1])[0])


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
