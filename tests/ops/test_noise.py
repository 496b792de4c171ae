"""Dropout, stochastic depth and drop-path: their distributions, means, and what they are at rate 0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax.ops import noise
from tests.references import regularizers

KEYS = jax.random.split(jax.random.key(0), 4000)


def test_dropout_zeroes_its_share_and_keeps_the_mean():
    """cs231n's assignment 2: 500×500 values around 10, keep probability 0.4; fraction of zeros 0.6, mean 10."""
    x = 10 + jax.random.normal(jax.random.key(1), (500, 500))
    y = noise.dropout(jax.random.key(2), x, drop_rate=0.6)
    zeros = float((y == 0).mean())
    assert zeros == pytest.approx(0.6, abs=0.004)  # 4 standard deviations of 250,000 draws
    assert float(y.mean()) == pytest.approx(float(x.mean()), abs=0.11)  # 4·10·√(0.6/0.4)/500, nearly
    np.testing.assert_allclose(y[y != 0], (x / 0.4)[y != 0], rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_at_rate_zero_nothing_happens(dtype):
    x = jax.random.normal(jax.random.key(1), (3, 4, 5)).astype(dtype)
    key = jax.random.key(2)
    assert noise.dropout(key, x, drop_rate=0.0) is x
    assert noise.spatial_dropout(key, x, drop_rate=0.0) is x
    for gate in ("batch", "row"):
        assert noise.stochastic_depth(key, x, drop_rate=0.0, gate=gate) is x
    assert noise.dropout(key, x, drop_rate=0.5).dtype == dtype
    assert noise.spatial_dropout(key, x, drop_rate=0.5).dtype == dtype
    assert noise.stochastic_depth(key, x, drop_rate=0.5).dtype == dtype
    assert noise.stochastic_depth(None, x, drop_rate=0.5).dtype == dtype


def test_dropout_has_the_gradient_of_its_mask(x64):
    x = jax.random.normal(jax.random.key(1), (4, 5), jnp.float64)
    dy = jax.random.normal(jax.random.key(2), (4, 5), jnp.float64)
    y, pull = jax.vjp(lambda x: noise.dropout(jax.random.key(3), x, drop_rate=0.3), x)
    np.testing.assert_allclose(pull(dy)[0], np.where(y == 0, 0, dy / 0.7), rtol=1e-12)


def test_spatial_dropout_leaves_out_whole_channels_of_each_example(x64):
    """All positions of a channel share one draw; examples and channels do not; the gradient has the same mask."""
    x = 1 + jax.random.uniform(jax.random.key(1), (40, 3, 2, 50), jnp.float64)
    y, pull = jax.vjp(lambda x: noise.spatial_dropout(jax.random.key(2), x, drop_rate=0.3), x)
    kept = np.asarray(y[:, 0, 0] != 0)
    expected = np.asarray(x) * kept[:, None, None] / 0.7
    np.testing.assert_allclose(y, expected, rtol=1e-12)
    np.testing.assert_allclose(pull(x)[0], expected, rtol=1e-12)
    assert len({row.tobytes() for row in kept}) == len(kept)
    assert len({column.tobytes() for column in kept.T}) == kept.shape[1]


def test_spatial_dropout_without_positions_is_dropout():
    x = jax.random.normal(jax.random.key(1), (30, 20))
    key = jax.random.key(2)
    np.testing.assert_array_equal(noise.spatial_dropout(key, x, drop_rate=0.4), noise.dropout(key, x, drop_rate=0.4))


# --- keep rate, mean and independence of every operator that draws a mask of its own for parts of a batch ---

RATE, EXAMPLES = 0.3, 6
MASKS = {  # what is kept, [K, units]: by example for those that draw for each
    "dropout": lambda key: noise.dropout(key, jnp.ones((EXAMPLES, 4)), drop_rate=RATE),
    "spatial_dropout": lambda key: noise.spatial_dropout(key, jnp.ones((EXAMPLES, 2, 2, 4)), drop_rate=RATE)[:, 0, 1],
    "stochastic_depth": lambda key: noise.stochastic_depth(key, jnp.ones((EXAMPLES, 1)), drop_rate=RATE, gate="row"),
}


@pytest.mark.parametrize("name", MASKS)
def test_keep_rate_and_mean(name):
    draws = np.asarray(jax.vmap(MASKS[name])(KEYS), np.float64).reshape(len(KEYS), -1)
    kept = draws != 0
    spread = np.sqrt(RATE * (1 - RATE) / len(KEYS))  # of the share of one unit
    np.testing.assert_allclose(kept.mean(0), 1 - RATE, atol=4.5 * spread)
    np.testing.assert_allclose(kept.mean(), 1 - RATE, atol=4.5 * spread / np.sqrt(kept.shape[1]))
    expected = 1.0 if name != "stochastic_depth" else 1 - RATE  # scaled in inference, and not in training
    np.testing.assert_allclose(draws.mean(0), expected, atol=4.5 * spread * draws.max())


@pytest.mark.parametrize("name", MASKS)
def test_units_examples_and_keys_are_independent(name):
    """The correlation of any two units over keys, and of a unit with itself at the next key, is that of chance."""
    kept = np.asarray(jax.vmap(MASKS[name])(KEYS) != 0).reshape(len(KEYS), -1)
    units = kept.shape[1]
    correlation = np.corrcoef(kept.T)[~np.eye(units, dtype=bool)]
    assert np.abs(correlation).max() < 4.8 / np.sqrt(len(KEYS))  # up to 276 pairs at once
    next_key = [np.corrcoef(kept[:-1, unit], kept[1:, unit])[0, 1] for unit in range(units)]
    assert np.abs(next_key).max() < 4.5 / np.sqrt(len(KEYS) - 1)


def test_the_inputs_of_a_join_and_joins_of_other_keys_are_dropped_independently():
    """Given that something is left, two of three inputs are anticorrelated by what the rejected draw takes away."""
    kept = np.asarray(jax.vmap(lambda key: noise.local_drop_path(key, 3, drop_rate=RATE))(KEYS) > 0)
    chances = regularizers.local_drop_path_chances(3, RATE)
    both = sum(chance for pattern, chance in chances.items() if pattern[0] and pattern[1])
    for i, j in ((0, 1), (0, 2), (1, 2)):
        spread = np.sqrt(both * (1 - both) / len(KEYS))
        np.testing.assert_allclose((kept[:, i] & kept[:, j]).mean(), both, atol=4.5 * spread)
    for i in range(3):
        assert abs(np.corrcoef(kept[:-1, i], kept[1:, i])[0, 1]) < 4.5 / np.sqrt(len(KEYS) - 1)


@pytest.mark.parametrize("gate", ["batch", "row"])
def test_the_mean_over_gates_is_the_inference_output(gate):
    x = jnp.arange(1.0, 7.0).reshape(3, 2)
    draws = jax.vmap(lambda key: noise.stochastic_depth(key, x, drop_rate=0.3, gate=gate))(KEYS)
    expected = noise.stochastic_depth(None, x, drop_rate=0.3, gate=gate)
    np.testing.assert_allclose(expected, 0.7 * x, rtol=1e-6)
    # 4 standard deviations of a mean of 4000 draws of Bernoulli(0.7)
    np.testing.assert_allclose(draws.mean(0), expected, rtol=4 * np.sqrt(0.3 / 0.7 / len(KEYS)))
    on = np.asarray(draws[:, :, 0] != 0)
    together = (on == on[:, :1]).all()
    assert together == (gate == "batch")


def test_expected_depth_of_resnet_110():
    """Huang et al. 2016, section 3: 54 blocks, p_L = 0.5; 40.25 are on, on average."""
    rates = noise.linear_drop_rates(54, 0.5)
    assert rates[0] == pytest.approx(1 - 0.99074, abs=1e-5)
    assert rates[-1] == 0.5
    assert sum(1 - rate for rate in rates) == pytest.approx(40.25, abs=1e-12)


def test_join_is_the_mean_or_the_weighted_sum():
    inputs = [jnp.full((2, 3), value) for value in (1.0, 2.0, 6.0)]
    np.testing.assert_allclose(noise.join(inputs), 3.0)
    np.testing.assert_allclose(noise.join(inputs, jnp.asarray((0.5, 0.5, 0.0))), 1.5)


@pytest.mark.parametrize(("inputs", "drop_rate"), [(1, 0.15), (2, 0.15), (3, 0.5), (4, 0.9)])
def test_local_drop_path_draws_every_set_with_its_chance(inputs, drop_rate):
    draws = jax.vmap(lambda key: noise.local_drop_path(key, inputs, drop_rate=drop_rate))(KEYS)
    np.testing.assert_allclose(draws.sum(1), 1.0, rtol=1e-6)
    # 4.5 standard deviations of a mean of weights in [0, 1]; by symmetry every input has the weight 1 / k
    np.testing.assert_allclose(draws.mean(0), 1 / inputs, atol=4.5 * 0.5 / np.sqrt(len(KEYS)))
    kept = np.asarray(draws > 0)
    np.testing.assert_allclose(draws, kept / kept.sum(1, keepdims=True), rtol=1e-6)
    for pattern, chance in regularizers.local_drop_path_chances(inputs, drop_rate).items():
        found = (kept == pattern).all(1).mean()
        assert found == pytest.approx(chance, abs=4.5 * np.sqrt(chance * (1 - chance) / len(KEYS)) + 1e-12)


def test_drop_path_at_rate_zero_is_the_mean():
    np.testing.assert_allclose(noise.local_drop_path(jax.random.key(0), 3, drop_rate=0.0), 1 / 3)


def test_global_drop_path_lets_one_column_pass():
    assert list(noise.global_drop_path(jnp.int32(2), [1, 2, 3])) == [0, 1, 0]
    np.testing.assert_allclose(noise.global_drop_path(jnp.int32(1), [2, 3]), 0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda key, x: noise.dropout(key, x, drop_rate=1.0), "drop_rate is 1.0"),
        (lambda key, x: noise.spatial_dropout(key, x, drop_rate=-0.1), "drop_rate is -0.1"),
        (lambda key, x: noise.stochastic_depth(key, x, drop_rate=1.5), "drop_rate is 1.5"),
        (lambda key, x: noise.stochastic_depth(key, x, drop_rate=0.5, gate="pixel"), "'row'"),
        (lambda key, x: noise.local_drop_path(key, 11, drop_rate=0.5), "1 to 10"),
        (lambda key, x: noise.spatial_dropout(key, x[0], drop_rate=0.5), r"x has the shape \[3\]; it must be maps"),
        (lambda key, x: noise.dropout(key, x.astype(int), drop_rate=0.5), "x is int32; it must hold floats"),
    ],
)
def test_wrong_arguments_are_named(call, message, unchecked):
    with pytest.raises((TypeError, ValueError), match=message):
        call(jax.random.key(0), jnp.ones((2, 3)))
