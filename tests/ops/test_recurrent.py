"""Recurrent layers against numpy, central differences and a plain scan."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jax.test_util import check_grads

from cs231n_jax.ops import cells, recurrent, time_loop
from cs231n_jax.ops.cells import GruWeights, LstmState, Weights
from tests.references import recurrent as reference
from tests.rows import but_for, one_in

N, T, D, H = 3, 5, 4, 6
MANY = time_loop.FEW  # a batch for which the inputs are multiplied in the loop
GATES = {"rnn": 1, "lstm": 4, "gru": 3}
LAYERS = {"rnn": recurrent.rnn, "lstm": recurrent.lstm, "gru": recurrent.gru}
STEPS = {"rnn": cells.rnn_step, "lstm": cells.lstm_step, "gru": cells.gru_step}
every_cell = pytest.mark.parametrize("cell", GATES)
# What does not depend on the gates: by default of the one with two states.
one_cell = pytest.mark.parametrize("cell", but_for(["lstm"], GATES))
either_way = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
FORMS = [(False, False, N), (True, True, N), (False, True, MANY), (True, False, MANY)]  # any two meet in each way
every_form = pytest.mark.parametrize(("reverse", "is_padded", "n"), FORMS)


def draw(cell, dtype="float64", n=N, t=T, d=D, h=H, scale=1.0):
    """x, weights, state."""
    random = np.random.default_rng(n)

    def normal(*shape):
        return jnp.asarray(scale * random.standard_normal(shape), dtype)

    weights = [normal(d, GATES[cell] * h), normal(h, GATES[cell] * h), normal(GATES[cell] * h)]
    weights = GruWeights(*weights, normal(h)) if cell == "gru" else Weights(*weights)
    wide = "float32" if dtype == "bfloat16" else dtype
    state = LstmState(normal(n, h), normal(n, h).astype(wide)) if cell == "lstm" else normal(n, h)
    return normal(n, t, d), weights, state


def lengths_of(n=N, t=T):
    """All lengths from 0 to T."""
    return jnp.asarray([(t - 2 * i) % (t + 1) for i in range(n)], jnp.int32)


def plain(cell, lengths=None, reverse=False):
    """The layer as a scan of its step, differentiated by jax."""

    def layer(x, weights, state):
        n, t, _ = x.shape
        live = jnp.ones((t, n), bool) if lengths is None else jnp.arange(t, dtype=jnp.int32)[:, None] < lengths[None]

        def step(state, inputs):
            x, live = inputs
            kept = live[:, None]
            new = jax.tree.map(lambda a, b: jnp.where(kept, a, b), STEPS[cell](x, state, weights), state)
            h = jax.tree.leaves(new)[0]
            return new, jnp.where(kept, h, jnp.zeros_like(h))

        last, y = lax.scan(step, state, (jnp.swapaxes(x, 0, 1), live), reverse=reverse)
        return jnp.swapaxes(y, 0, 1), last

    return layer


def ours(cell, lengths=None, reverse=False):
    return lambda x, weights, state: LAYERS[cell](x, weights, state, lengths=lengths, reverse=reverse)


def with_gradients(layer):
    def run(inputs, cotangents):
        results, pull = jax.vjp(layer, *inputs)
        return results, pull(cotangents)

    return jax.jit(run, compiler_options={"xla_backend_optimization_level": 0})


def like(tree):
    random = np.random.default_rng(9)
    return jax.tree.map(lambda a: jnp.asarray(random.standard_normal(a.shape), a.dtype), tree)


def close(actual, desired, tolerance):
    """In units of the largest number of each array."""
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(desired), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1.0, np.abs(b).max()))


# --- values ---


@every_cell
def test_a_step_is_the_reference(cell, x64):
    x, weights, state = draw(cell)
    found = jax.tree.leaves(STEPS[cell](x[:, 0], state, weights))
    for n in range(N):
        wanted = reference.STEPS[cell](x[n, 0], *(s[n] for s in jax.tree.leaves(state)), *weights)
        close([s[n] for s in found], wanted, 1e-14)


@every_cell
@every_form
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-13), ("float32", 3e-6)])
def test_a_sequence_is_the_reference(cell, reverse, is_padded, n, dtype, tolerance, x64):
    """In float32 the errors of five steps with weights of size 1 add up."""
    x, weights, state = draw(cell, dtype, n)
    lengths = lengths_of(n) if is_padded else None
    y, last = jax.jit(ours(cell, lengths, reverse))(x, weights, state)
    assert y.dtype == x.dtype
    numbers = jax.tree.map(lambda a: np.asarray(a, np.float64), (x, weights, tuple(jax.tree.leaves(state))))
    wanted = reference.sequence(cell, *numbers, lengths if is_padded else [T] * n, reverse)
    close((y, last), wanted, tolerance)


@every_cell
def test_the_state_is_zero_by_default(cell):
    x, weights, state = draw(cell, "float32")
    zero = jax.tree.map(jnp.zeros_like, state)
    close(LAYERS[cell](x, weights), LAYERS[cell](x, weights, zero), 0)


@every_cell
@either_way
def test_what_lies_after_the_end_has_no_influence(cell, reverse, x64):
    x, weights, state = draw(cell)
    lengths = lengths_of()
    late = jnp.arange(T, dtype=jnp.int32)[None, :, None] >= lengths[:, None, None]
    run = with_gradients(ours(cell, lengths, reverse))
    cotangents = like(jax.eval_shape(ours(cell), x, weights, state))
    clean = run((jnp.where(late, 0.0, x), weights, state), cotangents)
    for other in (jnp.nan, 1e300):
        spoiled = run((jnp.where(late, other, x), weights, state), cotangents)
        close(spoiled, clean, 0)
    assert not np.asarray(clean[0][0])[np.broadcast_to(late, (N, T, H))].any()
    assert not np.asarray(clean[1][0])[np.broadcast_to(late, (N, T, D))].any()


@one_cell
@pytest.mark.parametrize("n", [N, MANY])
def test_bfloat16_is_near_and_keeps_its_cell_in_float32(cell, n):
    """Three digits, after five steps: weights of size ½, so that errors do not grow."""
    x, weights, state = draw(cell, "bfloat16", n, scale=0.5)
    cotangents = like(jax.eval_shape(ours(cell), x, weights, state))
    found = with_gradients(ours(cell))((x, weights, state), cotangents)
    assert found[0][0].dtype == jnp.bfloat16
    if cell == "lstm":
        assert found[0][1].c.dtype == jnp.float32
    up = jax.tree.map(lambda a: a.astype(jnp.float32), ((x, weights, state), cotangents))
    close(found, with_gradients(plain(cell))(*up), 2**-5)


# --- derivatives ---


@pytest.mark.parametrize(
    ("cell", "reverse", "is_padded", "n"), one_in(2, [(cell, *form) for cell, form in itertools.product(GATES, FORMS)])
)
def test_gradients_are_those_of_a_plain_scan(cell, reverse, is_padded, n, x64):
    inputs = draw(cell, n=n)
    lengths = lengths_of(n) if is_padded else None
    cotangents = like(jax.eval_shape(ours(cell), *inputs))
    wanted = with_gradients(plain(cell, lengths, reverse))(inputs, cotangents)
    close(with_gradients(ours(cell, lengths, reverse))(inputs, cotangents), wanted, 1e-13)


@every_cell
@pytest.mark.parametrize(("reverse", "is_padded", "n"), one_in(4, FORMS[::-1]))
def test_gradients_are_central_differences(cell, reverse, is_padded, n, x64):
    layer = ours(cell, lengths_of(n) if is_padded else None, reverse)
    check_grads(jax.jit(layer), draw(cell, n=n, scale=0.5), order=1, modes=["rev"], eps=1e-5, atol=1e-8, rtol=1e-8)


@one_cell
def test_gradients_can_be_differentiated_again(cell, x64):
    inputs = draw(cell, n=2, scale=0.5)

    def curvature(layer):
        gradient = jax.grad(lambda *inputs: jnp.sum(layer(*inputs)[0] ** 2), (0, 1, 2))
        cotangents = like(inputs)
        again = jax.grad(lambda *inputs: sum(map(jnp.vdot, *map(jax.tree.leaves, (gradient(*inputs), cotangents)))))
        return again(*inputs), jax.jvp(gradient, inputs, cotangents)[1]

    ours_again, plain_again = (jax.jit(functools.partial(curvature, layer(cell)))() for layer in (ours, plain))
    close(ours_again, plain_again, 1e-12)


@every_cell
def test_forward_mode_raises_and_the_plain_scan_has_it(cell):
    inputs = draw(cell, "float32")
    with pytest.raises(TypeError, match="can't apply forward-mode"):
        jax.jvp(ours(cell), inputs, inputs)
    jax.jvp(plain(cell), inputs, inputs)


@one_cell
def test_it_can_be_mapped_over_weights(cell, x64):
    x, weights, state = draw(cell)
    many = jax.tree.map(lambda a: jnp.stack((a, 2 * a)), weights)
    run = with_gradients(ours(cell))
    cotangents = like(jax.eval_shape(ours(cell), x, weights, state))
    found = jax.vmap(lambda weights: run((x, weights, state), cotangents))(many)
    for i in range(2):
        one = run((x, jax.tree.map(lambda a, i=i: a[i], many), state), cotangents)
        close(jax.tree.map(lambda a, i=i: a[i], found), one, 1e-13)


# --- windows, directions, layers ---


@one_cell
@pytest.mark.parametrize("n", [N, MANY])
def test_two_windows_are_one_pass(cell, n, x64):
    x, weights, state = draw(cell, n=n)
    y, last = jax.jit(ours(cell))(x, weights, state)
    head, between = jax.jit(ours(cell))(x[:, :2], weights, state)
    tail, end = jax.jit(ours(cell))(x[:, 2:], weights, between)
    close((jnp.concatenate((head, tail), 1), end), (y, last), 1e-14)


@one_cell
def test_reverse_is_the_sequence_turned_around(cell, x64):
    x, weights, state = draw(cell)
    lengths = np.asarray(lengths_of())
    y, last = ours(cell, jnp.asarray(lengths), reverse=True)(x, weights, state)
    order = np.array([[n - 1 - t if t < n else t for t in range(T)] for n in lengths])
    turned = jnp.take_along_axis(x, order[:, :, None], 1)
    y_turned, last_turned = ours(cell, jnp.asarray(lengths))(turned, weights, state)
    close((y, last), (jnp.take_along_axis(y_turned, order[:, :, None], 1), last_turned), 1e-14)


@one_cell
def test_a_batch_over_devices_is_the_same(cell):
    x, weights, state = draw(cell, "float32", 2 * MANY)
    lengths = lengths_of(2 * MANY)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    split = NamedSharding(mesh, PartitionSpec("data"))
    cotangents = like(jax.eval_shape(ours(cell), x, weights, state))
    inputs = jax.device_put(x, split), jax.device_put(weights, NamedSharding(mesh, PartitionSpec())), state
    found = with_gradients(ours(cell, lengths))(inputs, cotangents)
    assert found[0][0].sharding.is_equivalent_to(split, 3)
    close(found, with_gradients(ours(cell, lengths))((x, weights, state), cotangents), 1e-5)


# --- what it refuses ---


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda x, w, s: (x[0], w, s, None), ValueError, r"x has shape \(5, 4\); sequences are \[N, T, D\]"),
        (lambda x, w, s: (x[:, :0], w, s, None), ValueError, "with at least one step"),
        (lambda x, w, s: (x[..., :3], w, s, None), ValueError, r"input has shape \(4, 24\); 3 inputs and 6 hidden"),
        (lambda x, w, s: (x, w._replace(bias=w.bias[:6]), s, None), ValueError, r"bias has shape \(6,\); .* \[24\]"),
        (lambda x, w, s: (x, w._replace(hidden=w.bias), s, None), ValueError, r"must be \[H, 4·H\]"),
        (lambda x, w, s: (x.astype("bfloat16"), w, s, None), TypeError, "x is bfloat16 and the weights' input is"),
        (lambda x, w, s: (x, w, s._replace(c=s.c[:2]), None), ValueError, r"c has shape \(2, 6\); it must be \[3, 6\]"),
        (lambda x, w, s: (x, w, s._replace(h=s.h.astype("bfloat16")), None), TypeError, "h is bfloat16; it must be f"),
        (lambda x, w, s: (x, w, s, lengths_of(2)), ValueError, r"lengths have shape \(2,\); 3 sequences need \[3\]"),
    ],
)
def test_what_does_not_fit_is_named(change, error, message):
    x, weights, state, lengths = change(*draw("lstm", "float32"))
    with pytest.raises(error, match=message):
        recurrent.lstm(x, weights, state, lengths=lengths)


@one_cell
def test_lengths_that_are_no_integers_are_refused(cell, unchecked):
    for lengths in (jnp.full(N, 2.5), jnp.ones(N, bool)):
        with pytest.raises(TypeError, match=f"lengths are {lengths.dtype}; .* integers from 0 to {T}"):
            ours(cell, lengths)(*draw(cell, "float32"))


@every_cell
def test_a_weight_that_is_none_is_refused(cell):
    x, weights, _ = draw(cell, "float32")
    for name in weights._fields:
        message = f"the weights' {name} is None; give all of {', '.join(weights._fields)}: zeros are no bias"
        with pytest.raises(TypeError, match=message):
            getattr(recurrent, cell)(x, weights._replace(**{name: None}))


def test_a_stack_wants_a_state_a_layer_and_directions_come_in_pairs():
    x, weights, state = draw("lstm", "float32")
    with pytest.raises(ValueError, match="there are 1 states for 2 layers: give one a layer"):
        recurrent.stacked(recurrent.lstm, x, [weights, weights], [state])
    with pytest.raises(ValueError, match=r"weights of both directions are a pair \(forward, backward\)"):
        recurrent.bidirectional(recurrent.lstm, x, (weights, weights, weights))
    with pytest.raises(ValueError, match="states of both directions are a pair"):
        recurrent.bidirectional(recurrent.lstm, x, (weights, weights), state)


# --- tokens ---


@one_cell
@pytest.mark.parametrize("n", [N, MANY])
def test_tokens_are_one_hot_vectors(cell, n, x64):
    _, weights, state = draw(cell, n=n)
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, D, (n, T)), jnp.int32)
    layer = ours(cell, lengths_of(n))
    looked_up = with_gradients(lambda weights, state: layer(tokens, weights, state))
    multiplied = with_gradients(lambda weights, state: layer(jax.nn.one_hot(tokens, D), weights, state))
    cotangents = like(layer(tokens, weights, state))
    close(looked_up((weights, state), cotangents), multiplied((weights, state), cotangents), 1e-13)


def test_tokens_in_bfloat16_keep_the_dtypes_of_vectors():
    _, weights, state = draw("lstm", "bfloat16")
    tokens = jnp.zeros((N, T), jnp.int32)
    layer = with_gradients(lambda weights, state: recurrent.lstm(tokens, weights, state))
    results, gradients = layer((weights, state), like(recurrent.lstm(tokens, weights, state)))
    assert [leaf.dtype for leaf in jax.tree.leaves(results)] == ["bfloat16", "bfloat16", "float32"]
    assert [leaf.dtype for leaf in jax.tree.leaves(gradients)] == [leaf.dtype for leaf in (*weights, *state)]


def test_lengths_of_a_narrow_type_end_sequences_longer_than_it_counts():
    x, weights, state = draw("rnn", "float32", n=2, t=140)
    y, _ = recurrent.rnn(x, weights, state, lengths=jnp.array([0, 3], jnp.int8))
    np.testing.assert_array_equal(y.any(-1), [[False] * 140, [True] * 3 + [False] * 137])


@pytest.mark.parametrize("token", [D, -1, -D])
def test_a_token_that_does_not_exist_is_not_a_number(token):
    _, weights, state = draw("rnn", "float32")
    y, _ = recurrent.rnn(jnp.full((N, T), token, jnp.int32).at[:, 0].set(0), weights, state)
    assert np.isfinite(y[:, 0]).all()
    assert np.isnan(y[:, 1:]).all()
