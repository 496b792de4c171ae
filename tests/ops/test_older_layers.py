"""Local response normalisation and adaptive pooling, against float64 numpy."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from cs231n_jax.ops.adaptive_pool import adaptive_avg_pool
from cs231n_jax.ops.lrn import local_response_norm
from tests.references import regularizers
from tests.rows import but_for


def draw(shape, scale=1.0):
    return np.random.default_rng(0).standard_normal(shape) * scale


@pytest.mark.parametrize("constants", [(5, 1e-4, 0.75, 2.0), (3, 0.3, 0.5, 1.0), (1, 1.0, 1.0, 0.5)])
@pytest.mark.parametrize("channels", but_for([9], [2, 9]))
def test_local_response_norm(constants, channels, x64):
    x = draw((2, 3, channels), 5.0)
    names = dict(zip(("size", "alpha", "beta", "k"), constants))
    actual = local_response_norm(jnp.asarray(x), **names)
    np.testing.assert_allclose(actual, regularizers.local_response_norm(x, **names), rtol=1e-12)
    check_grads(lambda x: local_response_norm(jnp.asarray(x), **names), (jnp.asarray(x),), order=1, modes=["rev"])


@pytest.mark.parametrize("shape", [(2, 6, 6, 3), (1, 13, 7, 2), (1, 2, 1, 2), (2, 12, 9, 1)])
def test_adaptive_avg_pool(shape, x64):
    x = draw(shape)
    np.testing.assert_allclose(
        adaptive_avg_pool(jnp.asarray(x), 6), regularizers.adaptive_avg_pool(x, 6), rtol=1e-12, atol=1e-14
    )


@pytest.mark.parametrize("function", [local_response_norm, lambda x: adaptive_avg_pool(x, 2)])
def test_bfloat16_is_computed_wider(function):
    x = jnp.asarray(draw((1, 5, 5, 4)), jnp.bfloat16)
    y = function(x)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y, function(x.astype(jnp.float32)).astype(jnp.bfloat16))


def test_an_even_neighbourhood_is_refused():
    with pytest.raises(ValueError, match="odd"):
        local_response_norm(jnp.ones((2, 4)), size=4)
