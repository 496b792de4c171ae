"""Batch normalisation with its rectifier and residual, against float64 numpy."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jax.test_util import check_grads

from cs231n_jax.ops.norm import batch_norm, ghost_batch_norm, normalize
from tests.references import norm as reference
from tests.rows import but_for, one_in

EPS = 1e-5
PRECISIONS = [("float64", 1e-14), ("float32", 1e-6), ("bfloat16", 2**-7)]
FORMS = list(itertools.product((False, True), (False, True)))  # rectifier, residual


def draw(shape=(4, 5, 3, 6), dtype="float64", offset=0.3):
    random = np.random.default_rng(0)
    x, residual = random.standard_normal((2, *shape))
    scale, bias = random.standard_normal((2, shape[-1])) + 0.5
    return [jnp.asarray(a, dtype) for a in (x + offset, scale, bias, residual)]


def wide(*arrays):
    return [None if a is None else np.asarray(a, np.float64) for a in arrays]


def close(actual, desired, tolerance):
    np.testing.assert_allclose(actual, desired, rtol=0, atol=tolerance * np.abs(desired).max())


@pytest.mark.parametrize("shape", [(4, 5, 3, 6), (16, 8)])
@pytest.mark.parametrize(("relu", "with_residual"), FORMS)
@pytest.mark.parametrize(("dtype", "tolerance"), one_in(2, PRECISIONS))
def test_forward(shape, relu, with_residual, dtype, tolerance, x64):
    x, scale, bias, residual = draw(shape, jnp.dtype(dtype))
    residual = residual if with_residual else None
    run = jax.jit(functools.partial(batch_norm, eps=EPS, relu=relu))
    y, mean, var = run(x, scale, bias, residual=residual)
    *inputs, residual_64 = wide(x, scale, bias, residual)
    expected = reference.batch_norm(*inputs, EPS, relu, residual_64)
    assert y.dtype == x.dtype
    assert mean.dtype == var.dtype == ("float64" if dtype == "float64" else "float32")
    close(np.asarray(y, np.float64), expected[0], tolerance)
    for statistic, true in zip((mean, var), expected[1:]):
        close(statistic, true, min(tolerance, 1e-6))
    run = jax.jit(functools.partial(normalize, eps=EPS, relu=relu))
    inferred = run(x, mean, var, scale, bias, residual=residual)
    close(np.asarray(inferred, np.float64), np.asarray(y, np.float64), tolerance)


@pytest.mark.parametrize(("relu", "with_residual"), FORMS)
def test_gradients_against_central_differences(relu, with_residual, x64):
    x, scale, bias, residual = draw()
    weights = [jnp.cos(jnp.arange(n, dtype=jnp.float64) ** 2) for n in (x.size, 6, 6)]

    def loss(x, scale, bias, residual):
        residual = residual if with_residual else None
        results = batch_norm(x, scale, bias, eps=EPS, relu=relu, residual=residual)
        return sum(jnp.sum(w * r.reshape(-1)) for w, r in zip(weights, results))  # the statistics count too

    jitted = jax.jit(loss)
    on_device = lambda *given: jitted(*map(jnp.asarray, given))  # noqa: E731
    check_grads(on_device, (x, scale, bias, residual), order=1, modes=["rev"], eps=1e-6, atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-13), ("float32", 2e-6), ("bfloat16", 2**-7)])
def test_input_gradient(dtype, tolerance, x64):
    x, scale, bias, dy = draw(dtype=jnp.dtype(dtype))
    _, pull = jax.vjp(lambda x: batch_norm(x, scale, bias, eps=EPS)[0], x)
    (dx,) = pull(dy)
    assert dx.dtype == x.dtype
    close(np.asarray(dx, np.float64), reference.input_gradient(*wide(x, scale, dy), EPS), tolerance)


@pytest.mark.parametrize("offset", [0, 10, 1000])
def test_statistics_far_from_zero(offset):
    """Digits lost to a mean of many standard deviations: none in the variance, those of float32 itself in the rest."""
    x, scale, bias, _ = draw((64, 16, 16, 4), "float32", offset)
    y, mean, var = batch_norm(x, scale, bias, eps=EPS)
    expected = reference.batch_norm(*wide(x, scale, bias), EPS)
    np.testing.assert_allclose(mean, expected[1], rtol=0, atol=2e-7 * max(offset, 1))
    np.testing.assert_allclose(var, expected[2], rtol=1e-6)
    np.testing.assert_allclose(y, expected[0], rtol=0, atol=1e-6 * max(offset, 1))


def test_float32_parameters_serve_bfloat16_images():
    x, *_ = draw(dtype=jnp.bfloat16)
    _, scale, bias, _ = draw(dtype="float32")
    loss = lambda x, scale, bias: batch_norm(x, scale, bias, eps=EPS, relu=True)[0].astype(jnp.float32).sum()  # noqa: E731
    assert [g.dtype for g in jax.grad(loss, (0, 1, 2))(x, scale, bias)] == [jnp.bfloat16, jnp.float32, jnp.float32]


def test_a_constant_channel():
    x, scale, bias, _ = draw(dtype="float32")
    x = x.at[..., 2].set(7.0)
    (y, mean, var), pull = jax.vjp(functools.partial(batch_norm, eps=EPS), x, scale, bias)
    # The mean is off by a rounding, 7·6e-8, and then multiplied by 1/√eps = 316.
    np.testing.assert_allclose(y[..., 2], np.broadcast_to(bias[2], y.shape[:-1]), rtol=0, atol=3e-4)
    assert 0 <= var[2] < 1e-12
    assert all(jnp.isfinite(g).all() for g in pull((jnp.ones_like(y), jnp.ones_like(mean), jnp.ones_like(var))))


def test_what_is_not_a_number_stays_so():
    x, scale, bias, residual = draw(dtype="float32")
    y, *_ = batch_norm(x.at[0, 0, 0, 1].set(jnp.nan), scale, bias, eps=EPS, relu=True, residual=residual)
    assert jnp.isnan(y[..., 1]).all()
    assert jnp.isfinite(y[..., 0]).all()


def test_batch_over_eight_devices():
    x, scale, bias, residual = draw((16, 4, 4, 8), "float32")

    def loss(x, scale, bias, residual):
        y, mean, var = batch_norm(x, scale, bias, eps=EPS, relu=True, residual=residual)
        return jnp.sin(y).mean(), (mean, var)

    function = jax.jit(jax.grad(loss, (0, 1, 2, 3), has_aux=True))
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    places = [NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("data",), (), (), ("data",))]
    spread = jax.tree.leaves(function(*map(jax.device_put, (x, scale, bias, residual), places)))
    for a, b in zip(spread, jax.tree.leaves(function(x, scale, bias, residual)), strict=True):
        close(a, np.asarray(b), 1e-6)


def test_second_derivatives(x64):
    x, scale, bias, _ = draw((3, 4))

    def plain(x):
        centred = x - jnp.broadcast_to(x.mean(0, keepdims=True), x.shape)
        deviation = jnp.sqrt(jnp.square(centred).mean(0, keepdims=True) + EPS)
        y = centred / jnp.broadcast_to(deviation, x.shape)
        return jnp.sin(y * jnp.broadcast_to(scale[None], x.shape) + jnp.broadcast_to(bias[None], x.shape)).sum()

    ours = lambda x: jnp.sin(batch_norm(x, scale, bias, eps=EPS)[0]).sum()  # noqa: E731
    hessian = jax.jit(jax.hessian(plain))(x)
    np.testing.assert_allclose(
        jax.jit(jax.hessian(ours))(x), hessian, rtol=0, atol=1e-12 * float(jnp.abs(hessian).max())
    )
    with pytest.raises(TypeError, match="custom_vjp"):
        jax.jvp(ours, (x,), (x,))


# --- ghost batches ---


@pytest.mark.parametrize("ghost", but_for([2, 6], [1, 2, 3, 6]))
@pytest.mark.parametrize(("relu", "with_residual"), [(False, False), (True, True)])
@pytest.mark.parametrize(("dtype", "tolerance"), one_in(2, PRECISIONS))
def test_ghost_batches(ghost, relu, with_residual, dtype, tolerance, x64):
    x, scale, bias, residual = draw((6, 5, 3, 4), jnp.dtype(dtype))
    x = x * jnp.arange(1, 7, dtype=x.dtype).reshape(6, 1, 1, 1)  # so that every group has moments of its own
    residual = residual if with_residual else None
    run = jax.jit(functools.partial(ghost_batch_norm, ghost=ghost, eps=EPS, relu=relu))
    y, mean, var = run(x, scale, bias, residual=residual)
    *inputs, residual_64 = wide(x, scale, bias, residual)
    expected = reference.ghost_batch_norm(*inputs, ghost, EPS, relu, residual_64)
    assert y.dtype == x.dtype
    close(np.asarray(y, np.float64), expected[0], tolerance)
    for statistic, true in zip((mean, var), expected[1:]):
        close(statistic, true, min(tolerance, 1e-6))


def test_one_ghost_batch_is_the_batch():
    x, scale, bias, residual = draw((6, 3, 3, 4), "float32")
    options = {"eps": EPS, "relu": True, "residual": residual}
    whole = batch_norm(x, scale, bias, **options)
    for a, b in zip(ghost_batch_norm(x, scale, bias, ghost=6, **options), whole):
        close(a, np.asarray(b), 1e-6)
    assert not np.allclose(ghost_batch_norm(x, scale, bias, ghost=3, **options)[0], whole[0], atol=1e-2)


def test_gradients_of_ghost_batches(x64):
    x, scale, bias, residual = draw((6, 2, 4))
    weights = [jnp.cos(jnp.arange(n, dtype=jnp.float64) ** 2) for n in (x.size, 4, 4)]

    @jax.jit
    def loss(x, scale, bias, residual):
        results = ghost_batch_norm(x, scale, bias, ghost=2, eps=EPS, relu=True, residual=residual)
        return sum(jnp.sum(w * r.reshape(-1)) for w, r in zip(weights, results))

    on_device = lambda *given: loss(*map(jnp.asarray, given))  # noqa: E731
    check_grads(on_device, (x, scale, bias, residual), order=1, modes=["rev"], eps=1e-6, atol=1e-7, rtol=1e-7)


def test_ghost_batches_over_eight_devices():
    x, scale, bias, residual = draw((16, 4, 4, 8), "float32")

    @functools.partial(jax.jit, static_argnames="ghost")
    def function(x, scale, bias, residual, ghost):
        def loss(x, scale, bias, residual):
            y, *moments = ghost_batch_norm(x, scale, bias, ghost=ghost, eps=EPS, relu=True, residual=residual)
            return jnp.sin(y).mean(), moments

        return jax.grad(loss, (0, 1, 2, 3), has_aux=True)(x, scale, bias, residual)

    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    places = [NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("data",), (), (), ("data",))]
    arrays = list(map(jax.device_put, (x, scale, bias, residual), places))
    for ghost in (2, 4):  # the examples of one device, and of two
        spread = jax.tree.leaves(function(*arrays, ghost))
        for a, b in zip(spread, jax.tree.leaves(function(x, scale, bias, residual, ghost)), strict=True):
            close(a, np.asarray(b), 1e-6)


@pytest.mark.parametrize("ghost", [0, 4, 12])
def test_ghost_batches_divide_the_batch(ghost):
    x, scale, bias, _ = draw((6, 2, 4), "float32")
    with pytest.raises(ValueError, match=f"ghost batches of {ghost} do not divide a batch of 6 examples"):
        ghost_batch_norm(x, scale, bias, ghost=ghost, eps=EPS)
