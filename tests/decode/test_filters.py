"""Filters against their definitions in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax.decode import filters
from tests.references import decode as reference

LOGITS = np.random.default_rng(0).standard_normal((3, 4, 11)) * 2
TIED = np.log([[0.1, 0.3, 0.3, 0.3], [0.25, 0.25, 0.25, 0.25], [0.3, 0.1, 0.3, 0.3]])


def probabilities(allowed, logits=LOGITS):
    return np.asarray(jax.nn.softmax(allowed(jnp.asarray(logits))))


def agree(found, expected, logits=LOGITS):
    """The same tokens are kept, with the same probabilities."""
    wanted = np.array([expected(reference.softmax(row)) for row in logits.reshape(-1, logits.shape[-1])])
    found = found.reshape(wanted.shape)
    np.testing.assert_array_equal(found > 0, wanted > 0)
    np.testing.assert_allclose(found, wanted, rtol=1e-13)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("logits", [LOGITS, TIED], ids=["distinct", "tied"])
def test_each_filter_is_its_definition(logits):
    for value in (0, 0.3, 0.8, 1.0, 2.0):
        found = probabilities(filters.temperature(value), logits)
        agree(found, lambda p, t=value: reference.tempered(p, t), logits)
    for k in (1, 2, 3, 11, 500):
        agree(probabilities(filters.top_k(k), logits), lambda p, k=k: reference.top_k(p, k), logits)
    for mass in (1e-60, 0.2, 0.45, 0.58, 0.77, 0.95, 1.0):
        agree(probabilities(filters.top_p(mass), logits), lambda p, m=mass: reference.nucleus(p, m), logits)


@pytest.mark.usefixtures("x64")
def test_they_compose_in_the_order_written():
    def expected(p):
        return reference.nucleus(reference.top_k(reference.tempered(p, 0.7), 6), 0.8)

    agree(probabilities(jax.jit(filters.standard(0.7, 6, 0.8))), expected)
    agree(probabilities(filters.chain(filters.temperature(0.7), filters.top_k(6), filters.top_p(0.8))), expected)
    agree(probabilities(filters.standard()), lambda p: p)
    agree(probabilities(filters.chain()), lambda p: p)


def test_of_equal_tokens_the_first_are_kept():
    kept = lambda allowed: (probabilities(allowed, TIED) > 0).astype(int).tolist()  # noqa: E731
    assert kept(filters.temperature(0)) == [[0, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]]
    assert kept(filters.top_k(2)) == [[0, 1, 1, 0], [1, 1, 0, 0], [1, 0, 1, 0]]
    assert kept(filters.top_p(0.55)) == [[0, 1, 1, 0], [1, 1, 1, 0], [1, 0, 1, 0]]


def test_the_nucleus_is_the_smallest_set_that_reaches_p():
    logits = np.log([[0.5, 0.25, 0.125, 0.125]])
    for p, count in ((0.01, 1), (0.499, 1), (0.501, 2), (0.749, 2), (0.751, 3), (0.874, 3), (0.876, 4)):
        assert (probabilities(filters.top_p(p), logits) > 0).sum() == count, p


def test_narrow_types_are_widened_and_extremes_stay_finite():
    allowed = filters.standard(filters.LOWEST, 3, 0.9)
    found = allowed(jnp.asarray([3e38, -3e38, 0.0, -jnp.inf], jnp.bfloat16))
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(jax.nn.softmax(found), [1, 0, 0, 0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: filters.temperature(-0.1), r"temperature is -0\.1; it must be 0"),
        (lambda: filters.temperature(1e-9), "temperature is 1e-09; it must be 0"),
        (lambda: filters.temperature(float("nan")), "temperature is nan"),
        (lambda: filters.temperature(float("inf")), "temperature is inf"),
        (lambda: filters.top_k(0), "top_k is 0; it must be at least 1"),
        (lambda: filters.top_p(0.0), r"top_p is 0\.0; it must lie in \(0, 1\]"),
        (lambda: filters.top_p(1.01), r"top_p is 1\.01; it must lie in"),
        (lambda: filters.standard(1.0, -1), "top_k is -1"),
        (lambda: filters.standard(p=float("nan")), "top_p is nan"),
    ],
)
def test_numbers_out_of_range_are_refused_when_a_filter_is_made(make, message):
    with pytest.raises(ValueError, match=message):
        make()
