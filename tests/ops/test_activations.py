"""Activation functions against float64, and their derivatives where exponentials overflow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from cs231n_jax.ops import activations
from tests.references import activations as reference
from tests.rows import one_in

NAMES = [name for name in activations.NAMES if name != "prelu"]  # whose slope is learnt: see below
POINTS = [-1e4, -300.0, -90.0, -20.0, -1.5, -1e-3, 0.0, 1e-3, 0.7, 20.0, 90.0, 300.0, 1e4]


def derivative(function, x):
    return jax.vmap(jax.grad(function))(x)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), one_in(3, [("float64", 1e-15), ("float32", 2e-7), ("bfloat16", 2**-7)])
)
def test_value_and_derivative(name, dtype, tolerance, x64):
    x = jnp.asarray(POINTS, jnp.dtype(dtype))
    function = activations.get(name)
    for actual, expected in ((function(x), name), (derivative(function, x), f"{name}_derivative")):
        assert actual.dtype == x.dtype
        desired = [getattr(reference, expected)(float(point)) for point in np.asarray(x, float)]
        tiny = float(jnp.finfo(x.dtype).tiny)  # smaller numbers may be flushed to zero
        np.testing.assert_allclose(np.asarray(actual, np.float64), desired, rtol=tolerance, atol=max(tolerance, tiny))


@pytest.mark.parametrize("name", one_in(3, [(name,) for name in NAMES]))
def test_orders_of_derivatives(name, x64):
    function = activations.get(name)
    x = np.asarray([-3.0, -0.4, 0.6, 2.5])
    check_grads(lambda x: jax.jit(function)(jnp.asarray(x)), (x,), order=2, eps=1e-5, atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_a_number_stays_so(name):
    assert jnp.isnan(activations.get(name)(jnp.asarray([jnp.nan]))).all()


SLOPES = [0.25, 0.0, -0.5, 1.5]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-15), ("float32", 2e-7), ("bfloat16", 2**-7)])
def test_prelu(dtype, tolerance, x64):
    """At every point with every slope: the value, and the derivatives for both."""
    x = jnp.asarray(np.repeat(np.array(POINTS)[:, None], len(SLOPES), 1), jnp.dtype(dtype))
    slope = jnp.asarray(SLOPES, x.dtype)
    y, pull = jax.vjp(jax.jit(activations.prelu), x, jnp.broadcast_to(slope, x.shape[-1:]))
    pairs = [[(float(point), value) for point, value in zip(row, SLOPES)] for row in np.asarray(x, float)]
    dx, dslope = pull(jnp.ones_like(y))
    assert y.dtype == dx.dtype == dslope.dtype == x.dtype
    for actual, name in ((y, "prelu"), (dx, "prelu_derivative")):
        desired = [[getattr(reference, name)(*pair) for pair in row] for row in pairs]
        np.testing.assert_allclose(np.asarray(actual, np.float64), desired, rtol=tolerance, atol=tolerance)
    each = [[reference.prelu_slope_derivative(*pair) for pair in row] for row in pairs]
    np.testing.assert_allclose(np.asarray(dslope, np.float64), np.sum(each, axis=0), rtol=2 * tolerance)


def test_prelu_against_central_differences(x64):
    random = np.random.default_rng(0)
    x = random.standard_normal((5, 4, 3))
    jitted = jax.jit(activations.prelu)
    on_device = lambda x, slope: jitted(jnp.asarray(x), jnp.asarray(slope))  # noqa: E731
    check_grads(on_device, (x, np.array([0.25, 0.0, -0.5])), order=2, eps=1e-6, atol=1e-7, rtol=1e-7)


def test_the_slope_s_gradient_is_summed_in_its_own_dtype():
    """In bfloat16 a sum of ones stops at 256."""
    x, slope = -jnp.ones((40_000, 2), jnp.bfloat16), jnp.asarray([0.25, 0.5])
    y, pull = jax.vjp(activations.prelu, x, slope)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(pull(jnp.ones_like(y))[1], [-40_000.0, -40_000.0], rtol=1e-6)


def test_prelu_keeps_what_is_not_a_number():
    assert jnp.isnan(activations.prelu(jnp.asarray([[jnp.nan]]), jnp.asarray([0.25]))).all()


@pytest.mark.parametrize(
    ("name", "message"), [("rely", "Did you mean 'relu'"), ("zzz", "choose one of"), ("prelu", "slope")]
)
def test_unknown_names(name, message):
    with pytest.raises(ValueError, match=message):
        activations.get(name)
