"""Convolution against float64 numpy; the fast gradients on CPU against lax's own rules."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jax.test_util import check_grads

from cs231n_jax.ops import conv_cpu
from cs231n_jax.ops.conv import conv
from cs231n_jax.ops.window import padding_pairs, pair
from tests.references import conv as reference
from tests.rows import but_for, one_in

# images [h, w, c], kernel [kh, kw, o], stride, padding
SHAPES = [
    ((8, 8, 16), (3, 3, 16), 1, 1),
    ((9, 7, 8), (3, 3, 12), 1, 1),
    ((8, 8, 3), (3, 3, 8), 1, 1),  # few channels
    ((8, 8, 64), (3, 3, 16), 2, 1),
    ((9, 7, 8), (3, 3, 8), 2, 1),
    ((9, 7, 8), (3, 3, 8), 2, 0),
    ((9, 8, 8), (3, 3, 8), (2, 1), ((1, 0), (0, 2))),
    ((7, 11, 8), (3, 3, 8), 3, 1),
    ((6, 5, 16), (1, 1, 8), 1, 0),
    ((8, 7, 8), (1, 1, 16), 2, 0),
    ((6, 6, 8), (1, 1, 8), 1, 1),
    ((8, 8, 8), (5, 5, 8), 1, 2),
    ((14, 14, 6), (5, 5, 16), 1, 0),
    ((11, 12, 8), (5, 5, 8), 2, 2),
    ((16, 15, 3), (7, 7, 8), 2, 3),
    ((9, 9, 8), (7, 7, 8), 1, 3),
    ((23, 23, 3), (11, 11, 8), 4, 2),
    ((8, 9, 8), (3, 1, 8), 1, ((1, 1), (0, 0))),
    ((8, 8, 8), (2, 2, 8), 2, 0),
    ((8, 8, 8), (2, 4, 8), 1, 1),
    ((6, 6, 8), (3, 3, 8), 1, 3),  # whole windows of padding
    ((2, 2, 8), (3, 3, 16), 1, 1),  # images smaller than the kernel from here on
    ((1, 1, 8), (3, 3, 16), 1, 1),
    ((2, 2, 8), (3, 3, 16), 2, 1),
    ((1, 3, 8), (3, 3, 8), 2, 2),
    ((3, 4, 3), (5, 5, 8), 1, 2),
    ((5, 5, 16), (5, 5, 12), 1, 0),  # its gradient is a 1×1 image under a 5×5 kernel
    ((2, 2, 8), (3, 3, 8), 4, 4),
]


def draw(shape, kernel, dtype, batch=3):
    random = np.random.default_rng(0)
    x = random.standard_normal((batch, *shape))
    k = random.standard_normal((*kernel[:2], shape[2], kernel[2])) / np.sqrt(kernel[0] * kernel[1] * shape[2])
    return jnp.asarray(x, dtype), jnp.asarray(k, dtype)


def value_and_gradients(function, x, kernel):
    y, pull = jax.vjp(function, x, kernel)
    return y, *pull(jnp.asarray(np.random.default_rng(1).standard_normal(y.shape), y.dtype))


def assert_close(actual, desired, tolerance):
    """Relative to the largest number of each array."""
    for a, b in zip(actual, desired, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * float(jnp.abs(b).max()))


def assert_gradients(function, *arguments):
    """Against central differences along a random direction."""
    jitted = jax.jit(function)
    on_device = lambda *given: jitted(*map(jnp.asarray, given))  # noqa: E731  (the differences come as numpy arrays)
    check_grads(on_device, arguments, order=1, modes=["rev"], eps=1e-5, atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize(("shape", "kernel", "stride", "padding"), SHAPES)
@pytest.mark.parametrize("dtype", but_for(["float64"], ["float32", "float64"]))
def test_forward(shape, kernel, stride, padding, dtype, x64):
    x, k = draw(shape, kernel, dtype)
    expected = reference.conv(x, k, pair(stride, "stride"), padding_pairs(padding))
    actual = conv(x, k, stride=stride, padding=padding)
    assert actual.dtype == dtype
    tolerance = 1e-6 if dtype == "float32" else 1e-14
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


STRANGE = [(1, 2, 4), (2, (1, 3), 1), (1, 2, 1), (2, 1, 2), (1, 1, 4)]
STRANGE += [(3 - stride, *rest) for stride, *rest in STRANGE]


@pytest.mark.parametrize(("stride", "dilation", "groups"), but_for(STRANGE[:3], STRANGE))
def test_dilation_and_groups(dilation, groups, stride, x64):
    random = np.random.default_rng(0)
    x = jnp.asarray(random.standard_normal((2, 9, 8, 4)))
    k = jnp.asarray(random.standard_normal((3, 3, 4 // groups, 8)))
    function = functools.partial(conv, stride=stride, padding=1, dilation=dilation, groups=groups)
    expected = reference.conv(x, k, (stride, stride), ((1, 1), (1, 1)), pair(dilation, "dilation"), groups)
    np.testing.assert_allclose(function(x, k), expected, rtol=0, atol=1e-13)
    assert_gradients(function, x, k)


@pytest.mark.parametrize(("shape", "kernel", "stride", "padding"), one_in(2, SHAPES[::4]))
def test_gradients_against_central_differences(shape, kernel, stride, padding, x64):
    function = functools.partial(conv, stride=stride, padding=padding)
    assert_gradients(function, *draw(shape, kernel, "float64"))


@pytest.mark.parametrize(("shape", "kernel", "stride", "padding"), one_in(7, SHAPES))
def test_fast_gradients_equal_those_of_lax(shape, kernel, stride, padding):
    x, k = draw(shape, kernel, "float32", batch=4)
    plain = functools.partial(conv_cpu.plain, stride=pair(stride, "stride"), padding=padding_pairs(padding))
    fast = functools.partial(conv, stride=stride, padding=padding)
    assert_close(
        jax.jit(functools.partial(value_and_gradients, fast))(x, k),
        jax.jit(functools.partial(value_and_gradients, plain))(x, k),
        1e-6,
    )


@pytest.mark.parametrize(("shape", "kernel", "stride", "padding"), one_in(5, SHAPES))
def test_fast_formulas_are_exact(shape, kernel, stride, padding, x64):
    """In float64, where the order of the sums does not show."""
    x, k = draw(shape, kernel, "float64")
    stride, padding = pair(stride, "stride"), padding_pairs(padding)
    plain = functools.partial(conv_cpu.plain, stride=stride, padding=padding)
    y, pull = jax.vjp(plain, x, k)
    dy = jnp.asarray(np.random.default_rng(1).standard_normal(y.shape))
    gradients = jax.jit(conv_cpu.gradients, static_argnums=(3, 4))
    assert_close(gradients(x, k, dy, stride, padding), pull(dy), 1e-13)
    if conv_cpu.is_small(x.shape, k.shape):
        assert_close([conv_cpu.small_image(x, k, stride, padding)], [y], 1e-14)


def test_bfloat16():
    x, k = draw((8, 8, 16), (3, 3, 8), jnp.bfloat16)
    y = conv(x, k, padding=1)
    assert y.dtype == jnp.bfloat16
    exact = reference.conv(x.astype(jnp.float32), k.astype(jnp.float32), padding=((1, 1), (1, 1)))
    np.testing.assert_allclose(y.astype(jnp.float32), exact, rtol=0, atol=2**-8 * np.abs(exact).max())
    gradients = jax.grad(lambda x, k: conv(x, k, padding=1).astype(jnp.float32).sum(), (0, 1))(x, k)
    assert [g.dtype for g in gradients] == [jnp.bfloat16, jnp.bfloat16]


def two_layers(x, k1, k2):
    return jnp.tanh(conv(jnp.tanh(conv(x, k1, stride=2, padding=1)), k2, padding=1)).mean()


def test_batch_over_eight_devices():
    x, k1 = draw((8, 8, 16), (3, 3, 16), "float32", batch=16)
    _, k2 = draw((8, 8, 16), (3, 3, 8), "float32")
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    spread = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
    shared = [jax.device_put(k, NamedSharding(mesh, PartitionSpec())) for k in (k1, k2)]
    function = jax.jit(jax.grad(two_layers, (0, 1, 2)))
    assert_close(jax.device_get(function(spread, *shared)), jax.device_get(function(x, k1, k2)), 2e-6)
    program = function.lower(spread, *shared).compile().as_text()
    assert "all-gather" not in program  # images stay where they are


@pytest.mark.parametrize("shape", [(8, 8, 16), (2, 2, 16)])
def test_lowering_chooses_the_form_of_the_platform(shape, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")  # a host with a GPU beside its CPU
    x, k = draw(shape, (3, 3, 8), "float32")
    traced = jax.jit(jax.grad(lambda x, k: jnp.sin(conv(x, k, padding=1)).sum(), (0, 1))).trace(x, k)
    products = {p: traced.lower(lowering_platforms=(p,)).as_text().count("dot_general") for p in ("cpu", "cuda", "tpu")}
    assert products["cpu"] > 0
    assert products["cuda"] == products["tpu"] == 0
    assert traced.lower(lowering_platforms=("cpu", "cuda")).as_text()  # for both at once


@pytest.mark.parametrize("stride", [1, 2])
def test_second_derivatives(stride):
    x, k = draw((4, 4, 8), (3, 3, 2), "float32", batch=1)
    loss = lambda function: lambda k: jnp.sin(function(x, k)).sum()  # noqa: E731
    fast = loss(functools.partial(conv, stride=stride, padding=1))
    plain = loss(functools.partial(conv_cpu.plain, stride=(stride, stride), padding=((1, 1), (1, 1))))
    direction = jnp.cos(k)
    for second in (
        lambda f: lambda k: jax.jvp(jax.grad(f), (k,), (direction,)),
        lambda f: lambda k: [jax.hessian(f)(k)],
    ):
        assert_close(jax.jit(second(fast))(k), jax.jit(second(plain))(k), 1e-5)
    with pytest.raises(TypeError, match="custom_vjp"):
        jax.jvp(fast, (k,), (direction,))


def test_vmap():
    x, k = draw((6, 6, 8), (3, 3, 8), "float32")
    many = jnp.stack([k, 2 * k])
    gradient = jax.grad(lambda k: jnp.sin(conv(x, k, padding=1)).sum())
    assert_close([jax.vmap(gradient)(many)], [jnp.stack([gradient(k), gradient(2 * k)])], 1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": 0}, "stride is 0"),
        ({"padding": -1}, "at least 0"),
        ({"padding": ((1, 1), (0, -1))}, "padding is"),
        ({"groups": 3}, "divide the 8 channels"),
        ({"groups": 2}, r"must be \[3, 3, 4, 8\]"),
        ({"dilation": 4}, "window covers 9 pixels"),
    ],
)
def test_impossible_arguments(options, message):
    x, k = draw((4, 4, 8), (3, 3, 8), "float32")
    with pytest.raises(ValueError, match=message):
        conv(x, k, **options)


def test_mixed_dtypes():
    x, k = draw((4, 4, 8), (3, 3, 8), "float32")
    with pytest.raises(TypeError, match=r"bfloat16.*float32"):
        conv(x.astype(jnp.bfloat16), k)
