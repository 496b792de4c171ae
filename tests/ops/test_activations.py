"""Activation functions against float64, and their derivatives where exponentials overflow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from cs231n_jax.ops import activations
from tests.references import activations as reference

NAMES = ["sigmoid", "tanh", "relu", "leaky_relu", "elu"]
POINTS = [-1e4, -300.0, -90.0, -20.0, -1.5, -1e-3, 0.0, 1e-3, 0.7, 20.0, 90.0, 300.0, 1e4]


def derivative(function, x):
    return jax.vmap(jax.grad(function))(x)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-15), ("float32", 2e-7), ("bfloat16", 2**-7)])
def test_value_and_derivative(name, dtype, tolerance, x64):
    x = jnp.asarray(POINTS, jnp.dtype(dtype))
    function = activations.get(name)
    for actual, expected in ((function(x), name), (derivative(function, x), f"{name}_derivative")):
        assert actual.dtype == x.dtype
        desired = [getattr(reference, expected)(float(point)) for point in x]
        tiny = float(jnp.finfo(x.dtype).tiny)  # smaller numbers may be flushed to zero
        np.testing.assert_allclose(np.asarray(actual, np.float64), desired, rtol=tolerance, atol=max(tolerance, tiny))


@pytest.mark.parametrize("name", NAMES)
def test_orders_of_derivatives(name, x64):
    function = activations.get(name)
    x = np.asarray([-3.0, -0.4, 0.6, 2.5])
    check_grads(lambda x: function(jnp.asarray(x)), (x,), order=2, eps=1e-5, atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_a_number_stays_so(name):
    assert jnp.isnan(activations.get(name)(jnp.asarray([jnp.nan]))).all()


def test_prelu(x64):
    random = np.random.default_rng(0)
    x, slope = jnp.asarray(random.standard_normal((5, 4, 3))), jnp.asarray([0.25, 0.0, -0.5])
    expected = np.where(np.asarray(x) > 0, x, np.asarray(slope) * np.asarray(x))
    np.testing.assert_allclose(activations.prelu(x, slope), expected, rtol=1e-15)
    on_device = lambda x, slope: activations.prelu(jnp.asarray(x), jnp.asarray(slope))  # noqa: E731
    check_grads(on_device, (x, slope), order=2, eps=1e-6, atol=1e-7, rtol=1e-7)
    gradients = jax.grad(lambda x, slope: activations.prelu(x, slope).sum(), (0, 1))(x * 1e4, slope)
    np.testing.assert_allclose(gradients[1], np.minimum(np.asarray(x) * 1e4, 0).sum((0, 1)), rtol=1e-12)
    assert jnp.isfinite(gradients[0]).all()


@pytest.mark.parametrize(
    ("name", "message"), [("rely", "Did you mean 'relu'"), ("zzz", "choose one of"), ("prelu", "slope")]
)
def test_unknown_names(name, message):
    with pytest.raises(ValueError, match=message):
        activations.get(name)
