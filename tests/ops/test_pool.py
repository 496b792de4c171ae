"""Pooling against float64 numpy; the fast forms on CPU against XLA's own windows."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jax.test_util import check_grads

from cs231n_jax.ops import pool
from cs231n_jax.ops.window import padding_pairs, pair
from tests.references import pool as reference
from tests.rows import but_for, one_in

# image [h, w], window, stride, padding
WINDOWS = [
    ((8, 8), 2, 2, 0),
    ((9, 7), 3, 2, 1),
    ((9, 7), 3, 2, 0),
    ((7, 8), 3, 1, 1),
    ((8, 9), 2, 3, 1),
    ((8, 8), (3, 2), (1, 2), ((1, 0), (0, 1))),
    ((5, 6), 1, 1, 0),
    ((6, 6), 6, 6, 0),  # as many taps as are left to XLA
    ((13, 12), 3, 2, ((0, 1), (1, 0))),
]
CASES = [(*window, ceil_mode) for window, ceil_mode in itertools.product(WINDOWS, (False, True))]


def draw(size, dtype="float64", ties=False):
    random = np.random.default_rng(0)
    x = random.integers(-2, 3, (2, *size, 5)) if ties else random.standard_normal((2, *size, 5))
    return jnp.asarray(x, dtype)


def explicit(window, stride, padding):
    return pair(window, "window"), pair(stride, "stride"), padding_pairs(padding)


@pytest.mark.parametrize(("size", "window", "stride", "padding", "ceil_mode"), CASES)
def test_forward(size, window, stride, padding, ceil_mode, x64):
    x, where = draw(size), explicit(window, stride, padding)
    options = {"stride": stride, "padding": padding, "ceil_mode": ceil_mode}

    @jax.jit
    def pooled(x):
        averages = [pool.avg_pool(x, window, **options, count_include_pad=include) for include in (True, False)]
        return pool.max_pool(x, window, **options), averages

    largest, averages = pooled(x)
    np.testing.assert_array_equal(largest, reference.max_pool(x, *where, ceil_mode=ceil_mode))
    for include, actual in zip((True, False), averages):
        expected = reference.avg_pool(x, *where, ceil_mode=ceil_mode, count_include_pad=include)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("size", "window", "stride", "padding", "ceil_mode"), one_in(5, CASES))
def test_the_first_of_equal_maxima_takes_the_gradient(size, window, stride, padding, ceil_mode, x64, monkeypatch):
    x = draw(size, ties=True)
    function = functools.partial(pool.max_pool, window=window, stride=stride, padding=padding, ceil_mode=ceil_mode)
    dy = jnp.asarray(np.random.default_rng(1).standard_normal(jax.eval_shape(function, x).shape))
    expected = reference.max_pool_gradient(x, dy, *explicit(window, stride, padding), ceil_mode)
    for taps in (pool._MANY_TAPS, 0):  # XLA's windows, as on a GPU, hold the same
        monkeypatch.setattr(pool, "_MANY_TAPS", taps)
        pulled = jax.jit(lambda x, dy: jax.vjp(function, x)[1](dy)[0])
        np.testing.assert_allclose(pulled(x, dy), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("size", "window", "stride", "padding"), one_in(4, WINDOWS))
@pytest.mark.parametrize("function", [pool.max_pool, pool.avg_pool])
def test_gradients_against_central_differences(function, size, window, stride, padding, x64):
    jitted = jax.jit(functools.partial(function, window=window, stride=stride, padding=padding))
    on_device = lambda x: jitted(jnp.asarray(x))  # noqa: E731
    check_grads(on_device, (draw(size),), order=1, modes=["rev"], eps=1e-6, atol=1e-7, rtol=1e-7)


def test_global_average(x64):
    x = draw((4, 6))
    np.testing.assert_allclose(pool.global_avg_pool(x), np.asarray(x).mean((1, 2)), rtol=0, atol=1e-15)


@pytest.mark.parametrize("window", but_for([2], [2, 6]))
def test_bfloat16_is_averaged_in_float32(window):
    x = draw((6, 6), jnp.bfloat16)
    for function in (functools.partial(pool.avg_pool, window=window), pool.global_avg_pool):
        y, wide = map(jax.jit(function), (x, x.astype(jnp.float32)))
        assert y.dtype == jnp.bfloat16
        np.testing.assert_array_equal(y, wide.astype(jnp.bfloat16))
    y, pull = jax.vjp(jax.jit(functools.partial(pool.max_pool, window=window)), x)
    assert y.dtype == pull(y)[0].dtype == jnp.bfloat16


def test_what_is_not_a_number_stays_so():
    x = draw((4, 4), "float32").at[0, 1, 0, 0].set(jnp.nan)
    for function in (pool.max_pool, pool.avg_pool):
        y, pull = jax.vjp(jax.jit(functools.partial(function, window=2)), x)
        assert np.isnan(np.asarray(y)[0, 0, 0, 0])
        assert np.isfinite(np.asarray(y)[0, 1]).all()
        assert pull(jnp.ones_like(y))[0].shape == x.shape


def test_nothing_but_the_lowest_number():
    """A window of −∞ is −∞, not NaN."""
    y = pool.max_pool(jnp.full((1, 3, 3, 1), -jnp.inf), 3, stride=2, padding=1)
    assert jnp.isneginf(y).all()


def test_batch_over_eight_devices():
    x = jnp.concatenate([draw((8, 8), "float32")] * 4)
    loss = lambda x: jnp.sin(pool.avg_pool(pool.max_pool(x, 3, stride=2, padding=1), 2)).sum()  # noqa: E731
    function = jax.jit(jax.grad(loss))
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    spread = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
    np.testing.assert_allclose(function(spread), function(x), rtol=0, atol=1e-6)
    assert "all-gather" not in function.lower(spread).compile().as_text()


def test_lowering_chooses_the_form_of_the_platform(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")  # a host with a GPU beside its CPU
    traced = jax.jit(jax.grad(lambda x: pool.max_pool(x, 2).sum())).trace(draw((8, 8), "float32"))
    windows = {p: traced.lower(lowering_platforms=(p,)).as_text().count("select_and_scatter") for p in ("cpu", "cuda")}
    assert windows["cpu"] == 0
    assert windows["cuda"] > 0


def test_forward_mode():
    x = draw((6, 6), "float32")
    average = functools.partial(pool.avg_pool, window=2)
    np.testing.assert_allclose(jax.jvp(average, (x,), (x,))[1], average(x), rtol=0, atol=1e-6)  # it is linear
    with pytest.raises(TypeError, match="custom_vjp"):
        jax.jvp(functools.partial(pool.max_pool, window=2), (x,), (x,))


@pytest.mark.parametrize("function", [pool.max_pool, pool.avg_pool])
@pytest.mark.parametrize(
    ("window", "options", "message"),
    [
        (0, {}, "window is 0"),
        (2, {"stride": 0}, "stride is 0"),
        (2, {"padding": 2}, "smaller than the window"),
        (5, {}, "window covers 5 pixels"),
    ],
)
def test_impossible_arguments(function, window, options, message):
    with pytest.raises(ValueError, match=message):
        function(draw((4, 4), "float32"), window, **options)
