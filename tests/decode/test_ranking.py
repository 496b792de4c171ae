"""The likeliest continuations of some hypotheses against a stable sort of all of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax.decode import ranking

N, B, V, K = 6, 3, 37, 8


def given():
    """Logits with many ties, within a hypothesis and between two that are alike, and some of −∞."""
    rng = np.random.default_rng(0)
    logits = np.round(2 * rng.standard_normal((N, B, V)))
    logits[rng.random(logits.shape) < 0.3] = -np.inf
    logits[:, 1] = logits[:, 0]
    before = np.full((N, B), -1.0)
    before[3:, 2] = -np.inf
    before[4, 1:] = -np.inf
    logits[4, 0, 4:] = -np.inf  # fewer than K continuations
    logits[4, 0, :4] = 1.0, 0.0, 1.0, 0.0
    return logits, before


def expected(logits, before):
    with np.errstate(divide="ignore"):
        totals = logits - np.log(np.exp(logits).sum(-1, keepdims=True)) + before[..., None]
    totals = totals.reshape(N, B * V)
    order = np.argsort(-totals, axis=1, kind="stable")[:, :K]
    return np.take_along_axis(totals, order, 1), order


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("large", "width"), [(V + 1, 4), (0, 1), (0, 4), (0, 5), (0, 200)])
def test_with_chunks_or_without_it_is_a_stable_sort(large, width):
    logits, before = given()
    run = jax.jit(functools.partial(ranking.likeliest, k=K, large=large, width=width))
    values, index = jax.device_get(run(jnp.asarray(logits.reshape(N * B, V)), jnp.asarray(before)))
    totals, order = expected(logits, before)
    there = totals > -np.inf
    assert there.sum(1).tolist() == [K, K, K, K, 4, K]
    np.testing.assert_allclose(values, totals, rtol=1e-14)
    np.testing.assert_array_equal(index[there], order[there])
    assert index.dtype == np.int32
    assert (index >= 0).all()
    assert (index < B * V).all()


def test_the_totals_of_a_large_vocabulary_are_not_made():
    """They would be written, and read again to be ranked, in each step of a search."""

    def run(logits, before):
        return ranking.likeliest(jnp.tanh(logits), before, K)

    given = jax.ShapeDtypeStruct((N * B, 2048), jnp.float32), jax.ShapeDtypeStruct((N, B), jnp.float32)
    program = jax.jit(run).lower(*given).compile()
    assert program.memory_analysis().temp_size_in_bytes < 1.5 * N * B * 2048 * 4


@pytest.mark.usefixtures("x64")
def test_a_vocabulary_that_chunks_divide_is_not_copied():
    rng = np.random.default_rng(0)
    for v, copied in ((1200, False), (1201, True)):
        given = jnp.asarray(rng.standard_normal((N * B, v))), jnp.asarray(rng.standard_normal((N, B)))
        whole, chunks = (jax.jit(functools.partial(ranking.likeliest, k=K, large=n)) for n in (v + 1, v))
        assert (" pad(" in chunks.lower(*given).compile().as_text()) == copied
        (values, index), (wanted, order) = chunks(*given), whole(*given)
        np.testing.assert_allclose(values, wanted, rtol=1e-14)
        np.testing.assert_array_equal(index, order)
