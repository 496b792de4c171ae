"""The LSTM whose states are turned, against a plain scan and the loop over rows, and under jax's transformations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from cs231n_jax.ops import cells, recurrent, time_loop, turned_loop
from tests.ops.test_recurrent import N, close, draw, every_form, lengths_of, like, ours, plain, with_gradients


@pytest.fixture
def always(monkeypatch):
    """Every LSTM over vectors takes the turned loop."""
    monkeypatch.setattr(turned_loop, "LARGE", 0)
    monkeypatch.setattr(turned_loop, "VECTOR", 1)


@every_form
def test_values_and_gradients_are_those_of_a_plain_scan(reverse, is_padded, n, always, x64):
    inputs, lengths = draw("lstm", n=n), lengths_of(n) if is_padded else None
    assert turned_loop.suits(cells.LSTM, jnp.swapaxes(inputs[0], 0, 1), cells.without_hidden_bias(inputs[1]))
    cotangents = like(jax.eval_shape(ours("lstm"), *inputs))
    wanted = with_gradients(plain("lstm", lengths, reverse))(inputs, cotangents)
    close(with_gradients(ours("lstm", lengths, reverse))(inputs, cotangents), wanted, 1e-13)


def test_large_weights_take_it_and_change_nothing(monkeypatch):
    """In float32, at the smallest size that is large: to its rounding; and it is the turned loop that ran."""
    h = 368
    x, weights, state = draw("lstm", "float32", n=turned_loop.VECTOR, t=3, h=h, scale=0.1)
    y, last = ours("lstm")(x, weights, state)
    cotangents = like((y, last))
    found = with_gradients(ours("lstm"))((x, weights, state), cotangents)
    monkeypatch.setattr(turned_loop, "suits", lambda *_: False)
    wanted = with_gradients(ours("lstm"))((x, weights, state), cotangents)
    close(found, wanted, 2e-6)
    monkeypatch.undo()
    monkeypatch.setattr(turned_loop, "run", lambda reverse, x, live, weights, state: (jnp.swapaxes(0 * y, 0, 1), state))
    assert not jax.jit(ours("lstm"))(x, weights, state)[0].any()


@pytest.mark.parametrize(
    ("cell", "n", "h", "dtype", "tokens"),
    [
        ("lstm", 17, 368, "float32", False),
        ("lstm", 16, 360, "float32", False),
        ("gru", 16, 512, "float32", False),
        ("lstm", 16, 368, "bfloat16", False),
        ("lstm", 16, 368, "float32", True),
    ],
)
def test_what_does_not_suit_it(cell, n, h, dtype, tokens):
    """Examples that fill no vectors, small weights, other cells, narrow numbers, tokens; each alone."""
    x, weights, _ = draw(cell, dtype, n=n, t=1, h=h)
    into, *rest = weights[:3]
    kind = {"lstm": cells.LSTM, "gru": cells.GRU}[cell]
    assert not turned_loop.suits(kind, jnp.swapaxes(x, 0, 1), (None if tokens else into, *rest, None))


def test_gradients_can_be_differentiated_again(always, x64):
    x, weights, state = draw("lstm")

    def curvature(layer):
        def slope(x):
            return jax.grad(lambda x: jnp.sum(jnp.sin(layer(x, weights, state)[0])))(x)

        return jax.grad(lambda x: jnp.sum(slope(x) ** 2))(x)

    found, wanted = (jax.jit(lambda layer=layer: curvature(layer("lstm")))() for layer in (ours, plain))
    close(found, wanted, 1e-11)


def test_it_can_be_mapped_over_weights(always, x64):
    x, weights, state = draw("lstm")
    both = jax.tree.map(lambda leaf: jnp.stack((leaf, 0.5 * leaf)), weights)
    found = jax.vmap(lambda w: recurrent.lstm(x, w, state)[0])(both)
    wanted = jnp.stack([recurrent.lstm(x, jax.tree.map(lambda leaf: leaf[i], both), state)[0] for i in range(2)])  # noqa: B023
    close(found, wanted, 1e-13)


def test_two_windows_are_one_pass(always, x64):
    x, weights, state = draw("lstm")
    y, last = recurrent.lstm(x, weights, state)
    first, middle = recurrent.lstm(x[:, :2], weights, state)
    second, end = recurrent.lstm(x[:, 2:], weights, middle)
    close((jnp.concatenate((first, second), 1), end), (y, last), 0)


def test_a_batch_over_devices_is_the_same(always):
    inputs, lengths = draw("lstm", "float32", 16), lengths_of(16)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    split, whole = (NamedSharding(mesh, PartitionSpec(*names)) for names in (("data",), ()))
    cotangents = like(jax.eval_shape(ours("lstm"), *inputs))
    placed = jax.device_put(inputs[0], split), jax.device_put(inputs[1], whole), inputs[2]
    found = with_gradients(ours("lstm", lengths))(placed, cotangents)
    assert found[0][0].sharding.is_equivalent_to(split, 3)
    close(found, with_gradients(ours("lstm", lengths))(inputs, cotangents), 1e-5)


def test_other_tests_have_batches_that_do_not_fill_a_vector():
    assert N % turned_loop.VECTOR


@pytest.mark.parametrize("width", [time_loop.ALIASED - 1, time_loop.ALIASED, 2 * time_loop.ALIASED])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_a_product_over_all_steps_is_that_of_numpy_whatever_the_width(width, dtype, x64):
    random = np.random.default_rng(0)
    left, right = (random.integers(-3, 4, (3, 4, size)) for size in (5, width))  # their sums are exact in any order
    found = jax.jit(time_loop.outer)(*(jnp.asarray(a, dtype) for a in (left, right)), jnp.zeros((), "float32"))
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, np.einsum("tni,tnj->ij", left, right))


def test_rows_that_share_lines_of_the_cache_are_made_longer():
    def shapes(width):
        rows = jax.ShapeDtypeStruct((4, width), "float32")
        return str(jax.make_jaxpr(time_loop.outer)(rows, rows, rows))

    longer = time_loop.ALIASED + time_loop.LINE
    assert f"f32[4,{longer}]" in shapes(time_loop.ALIASED)
    assert "pad" not in shapes(longer)
