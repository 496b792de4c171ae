"""Initial values: right distributions, a pure function of (seed, path), the same in every dtype."""

import time

import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax.ops import init

SHAPE = (3, 3, 64, 128)
FAN_IN, FAN_OUT = 9 * 64, 9 * 128


@pytest.mark.parametrize(
    ("spec", "std"),
    [
        (init.he_normal(SHAPE), np.sqrt(2 / FAN_IN)),
        (init.he_normal(SHAPE, "fan_out"), np.sqrt(2 / FAN_OUT)),
        (init.xavier_normal(SHAPE), np.sqrt(2 / (FAN_IN + FAN_OUT))),
        (init.xavier_uniform(SHAPE), np.sqrt(2 / (FAN_IN + FAN_OUT))),
        (init.lecture_xavier(SHAPE), np.sqrt(1 / FAN_IN)),
        (init.torch_uniform(SHAPE, FAN_IN), 1 / np.sqrt(3 * FAN_IN)),
        (init.normal(SHAPE, 0.01), 0.01),
        (init.truncated_normal(SHAPE, 0.01), 0.01 * 0.87962566),  # standard deviation of N(0,1) cut at ±2
    ],
)
def test_moments(spec, std):
    values = init.draw(spec, 0, "a/kernel").astype(np.float64)
    n = values.size
    assert abs(values.mean()) < 5 * std / np.sqrt(n)
    assert values.std() == pytest.approx(std, rel=5 / np.sqrt(n))  # 5 sigma, kurtosis ≤ 3
    assert values.shape == SHAPE
    assert values.dtype == np.float64


def test_bounds():
    assert np.abs(init.draw(init.uniform((10**5,), 0.3), 0, "a")).max() <= 0.3
    assert np.abs(init.draw(init.truncated_normal((10**5,), 0.5), 0, "a")).max() <= 1.0
    assert np.all(init.draw(init.constant((3,), 1.5), 0, "a") == 1.5)


def test_seed_and_path_decide():
    spec = init.he_normal((100, 100))
    first = init.draw(spec, 0, "a/kernel")
    assert np.array_equal(first, init.draw(spec, 0, "a/kernel"))
    assert not np.array_equal(first, init.draw(spec, 1, "a/kernel"))
    assert not np.array_equal(first, init.draw(spec, 0, "b/kernel"))


def test_blocks_are_independent_of_the_size():
    """A larger leaf begins with the same blocks: any block can be drawn alone."""
    small = init.draw(init.normal((init.BLOCK,), 1.0), 0, "a")
    large = init.draw(init.normal((3 * init.BLOCK + 5,), 1.0), 0, "a")
    assert np.array_equal(large[: init.BLOCK], small)
    blocks = large[: 3 * init.BLOCK].reshape(3, -1)
    assert np.abs(np.corrcoef(blocks) - np.eye(3)).max() < 5 / np.sqrt(init.BLOCK)


def test_every_dtype_rounds_the_same_draw():
    spec = init.normal((1000,), 0.1)
    full = init.draw(spec, 0, "a")
    assert np.array_equal(init.draw(spec._replace(dtype="float64"), 0, "a").astype(np.float32), full)
    half = init.draw(spec._replace(dtype="bfloat16"), 0, "a")
    assert half.dtype == jnp.bfloat16
    assert np.array_equal(half, full.astype(jnp.bfloat16))


def test_drawing_takes_tens_of_nanoseconds_a_parameter():
    best = np.inf
    for _ in range(5):
        before = time.process_time()
        init.draw(init.normal((1000, 1000), 1.0), 0, "a")
        best = min(best, time.process_time() - before)
    assert best / 1e6 < 25e-9


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match="two axes"):
        init.he_normal((3,))
    with pytest.raises(ValueError, match="unknown distribution 'gauss'"):
        init.draw(init.Spec("gauss", 1.0, (3,)), 0, "a")


def test_orthogonal_blocks_keep_the_norm():
    """Of every gate; and they are uniform over all orthogonal matrices, as far as their traces tell."""
    values = init.draw(init.orthogonal((40, 160), 1.5), 0, "a").astype(np.float64)
    blocks = values.reshape(40, 4, 40).swapaxes(0, 1)
    for block in blocks:
        np.testing.assert_allclose(block @ block.T, 2.25 * np.eye(40), atol=5e-6)
    traces = [np.trace(init.draw(init.orthogonal((8, 8)), seed, "a")) for seed in range(500)]
    assert abs(np.mean(traces)) < 5 / np.sqrt(500)  # mean 0 and variance 1, which wrong signs of QR would not give
    assert np.var(traces) == pytest.approx(1, abs=5 * np.sqrt(2 / 500))


def test_only_the_forget_gates_are_biased():
    assert list(init.draw(init.lstm_bias((8,)), 0, "a")) == [0, 0, 1, 1, 0, 0, 0, 0]
    assert list(init.draw(init.lstm_bias((4,), 0.0), 0, "a")) == [0, 0, 0, 0]
    half = init.draw(init.lstm_bias((4,), 2.0)._replace(dtype="bfloat16"), 0, "a")
    assert half.dtype == jnp.bfloat16
    assert half[1] == 2


def test_shapes_of_other_layers_are_refused():
    with pytest.raises(ValueError, match=r"shape is \(4, 6\); orthogonal blocks side by side need \[H, G·H\]"):
        init.orthogonal((4, 6))
    with pytest.raises(ValueError, match=r"shape is \(6,\); the bias of an LSTM is \[4·H\]"):
        init.lstm_bias((6,))
