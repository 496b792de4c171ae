"""Attention and the layer that attends at each step, against numpy and torch."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from cs231n_jax.ops import attention, cells
from cs231n_jax.ops.attention import Memory
from cs231n_jax.ops.attentive import AttentiveWeights, Gate, attentive
from cs231n_jax.ops.cells import GruWeights, Weights
from tests.references import attention as reference
from tests.references import recurrent
from tests.rows import but_for

N, Q, L, K, D, T, E, H = 3, 2, 5, 4, 6, 3, 2, 4
LENGTHS = np.array([5, 1, 3], np.int32)


def normal(*shape, seed=0, dtype="float64"):
    return jnp.asarray(np.random.default_rng((seed, *shape)).standard_normal(shape), dtype)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "padded"])
@pytest.mark.parametrize("kind", ["dot", "additive"])
def test_scores_weights_and_contexts_are_the_reference(kind, lengths, x64):
    query, keys, values, vector = normal(N, Q, K), normal(N, L, K), normal(N, L, D), normal(K)
    more = (vector,) if kind == "additive" else ()

    @jax.jit
    def attended(query, keys, values, *more):
        scores = getattr(attention, kind)(query, keys, *more)
        alpha = attention.weigh(scores, None if lengths is None else jnp.asarray(lengths))
        return scores, alpha, attention.read(alpha, values)

    scores, alpha, contexts = map(np.asarray, attended(query, keys, values, *more))
    for n, q in np.ndindex(N, Q):
        there = L if lengths is None else lengths[n]
        wanted = getattr(reference, kind)(np.asarray(query[n, q]), np.asarray(keys[n]), *map(np.asarray, more))
        np.testing.assert_allclose(scores[n, q], wanted, rtol=1e-12, atol=1e-12)
        weights = reference.softmax(wanted[:there])
        np.testing.assert_allclose(alpha[n, q, :there], weights, rtol=1e-12)
        assert not np.any(alpha[n, q, there:])
        np.testing.assert_allclose(contexts[n, q], reference.context(weights, np.asarray(values[n])), rtol=1e-12)


def test_torch_reads_the_same(x64):
    torch = pytest.importorskip("torch")
    query, keys, values = normal(N, Q, K), normal(N, L, K), normal(N, L, D)
    there = np.arange(L) < LENGTHS[:, None, None]
    given = [torch.tensor(np.asarray(x)) for x in (query, keys, values)]
    wanted = torch.nn.functional.scaled_dot_product_attention(*given, torch.tensor(there), scale=1.0)
    found = attention.read(attention.weigh(attention.dot(query, keys), jnp.asarray(LENGTHS)), values)
    np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-12)


def test_scores_of_places_that_are_not_there_have_no_influence(x64):
    scores = normal(N, Q, L)
    there = np.arange(L) < LENGTHS[:, None, None]
    for strange in (1e300, -1e300, np.inf, np.nan):
        found = attention.weigh(jnp.where(there, scores, strange), jnp.asarray(LENGTHS))
        assert np.array_equal(found, attention.weigh(scores, jnp.asarray(LENGTHS)))


def test_lengths_of_a_narrow_type_end_memories_longer_than_it_counts():
    weights = attention.weigh(jnp.zeros((2, 1, 140)), jnp.array([2, 100], jnp.int8))
    np.testing.assert_array_equal((weights > 0).sum(-1), [[2], [100]])


def test_of_an_empty_memory_nothing_is_read_and_gradients_are_finite(x64):
    lengths = jnp.array([0, 5, 2], jnp.int32)

    def total(scores, values):
        return jnp.sum(jnp.sin(attention.read(attention.weigh(scores, lengths), values)))

    scores, values = normal(N, Q, L), normal(N, L, D)
    assert not np.any(jax.jit(attention.weigh)(scores, lengths)[0])
    gradients = jax.jit(jax.grad(total, (0, 1)))(scores, values)
    assert all(np.isfinite(g).all() and not np.any(g[0]) for g in gradients)
    check_grads(jax.jit(total), (scores, values), 2, ["rev"])


def test_sums_in_bfloat16_are_taken_in_float32():
    def attended(query, keys, vector, values):
        grown = attention.additive_of_exponentials(query, attention.exponentials_by_unit(keys), vector)
        scores = (attention.dot(query, keys), attention.additive(query, keys, vector), grown)
        return scores, [attention.weigh(each) for each in scores], attention.read(attention.weigh(grown), values)

    given = (normal(*shape, dtype="bfloat16") for shape in ((N, Q, K), (N, L, K), (K,), (N, L, D)))
    *sums, read = jax.eval_shape(attended, *given)
    assert {each.dtype for each in jax.tree.leaves(sums)} == {jnp.dtype("float32")}
    assert read.dtype == jnp.bfloat16


EXTREMES = (0.0, 1e-30, 1e-4, 3.0, 12.0, 34.0)


def both_scores(query, keys, vector):
    grown = jax.jit(attention.additive_of_exponentials)(query, attention.exponentials_by_unit(keys), vector)
    return grown, jax.jit(attention.additive)(query, keys, vector)


def elsewhere(monkeypatch):
    """What is computed where there is no CPU."""
    monkeypatch.setattr(attention, "by_platform", lambda *operands, cpu, default: default(*operands))


@pytest.mark.parametrize("cpu", [True, False])
@pytest.mark.parametrize(("dtype", "bound"), but_for([("float64", 1e-13)], [("float32", 2e-6), ("float64", 1e-13)]))
def test_scores_by_exponentials_are_those_by_tanh(dtype, bound, cpu, x64, monkeypatch):
    if not cpu:
        elsewhere(monkeypatch)
    draw = partial(normal, dtype=dtype)
    strange = jnp.asarray([sign * x for x in EXTREMES for sign in (1, -1)], dtype)
    queries, keys = jnp.broadcast_to(strange[:, None], (12, K))[None], jnp.broadcast_to(strange[:, None], (12, K))[None]
    for given in ((draw(N, Q, 64), 3 * draw(N, L, 64), draw(64) / 8), (queries, keys, draw(K))):
        found, wanted = both_scores(*given)
        assert found.dtype == wanted.dtype == dtype
        np.testing.assert_allclose(found, wanted, rtol=0, atol=bound * float(jnp.abs(given[2]).sum()))


@pytest.mark.parametrize("places", but_for([3 * attention.TERMS + 1], [1, attention.TERMS, 3 * attention.TERMS + 1]))
def test_few_queries_read_what_many_do(places, x64, monkeypatch):
    monkeypatch.setattr(attention, "LARGE", 0)
    weights, values = attention.weigh(normal(N, Q, places)), normal(N, places, D)
    assert "dot_general" not in str(jax.make_jaxpr(attention.read_for_few)(weights, values))
    bound = 4 * float(jnp.finfo("float64").eps) * float(jnp.abs(values).max())  # of a mean, which may come near to zero
    found, wanted = (f(weights, values) for f in (attention.read_for_few, attention.read))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=bound)
    narrow = values.astype("bfloat16")
    found, wanted = (f(weights, narrow) for f in (attention.read_for_few, attention.read))
    assert found.dtype == wanted.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype("float32"), wanted.astype("float32"), rtol=2**-7)  # of 8 bits the last
    elsewhere(monkeypatch)
    assert "dot_general" in str(jax.make_jaxpr(lambda *given: attention.read_for_few(*given))(weights, values))


def test_one_query_and_little_memory_are_read_by_a_product(x64):
    for queries, places in ((Q, L), (1, attention.LARGE)):
        weights, values = (jax.ShapeDtypeStruct((1, *shape), "float64") for shape in ((queries, places), (places, 1)))
        assert "dot_general" in str(jax.make_jaxpr(attention.read_for_few)(weights, values))


def test_scores_by_exponentials_are_finite_whatever_is_given_and_right_where_a_query_is_beyond_all_bounds():
    largest = float(jnp.finfo("float32").max)
    vector = jnp.linspace(-1.0, 2.0, K)
    for size in (50.0, 1e4, largest, np.inf):
        queries = jnp.asarray([[[size] * K, [-size] * K]])
        for key in (0.0, 30.0, -30.0):
            found, wanted = both_scores(queries, jnp.full((1, 1, K), key), vector)
            np.testing.assert_allclose(found, wanted, rtol=1e-6)
        found, _ = both_scores(queries, queries, vector)
        assert np.isfinite(found).all()


def test_scores_by_exponentials_have_the_gradients_of_those_by_tanh(x64):
    given = normal(N, Q, K), normal(N, L, K), normal(K)
    sums = (lambda *x, i=i: jnp.sin(both_scores(*x)[i]).sum() for i in (0, 1))
    found, wanted = (jax.jit(jax.grad(function, (0, 1, 2)))(*given) for function in sums)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-10), found, wanted)


def layer(cell, rows, gated=False, dtype="float64"):
    """x, weights, state and memory of the attentive layer."""
    draw = partial(normal, dtype=dtype)
    gates = {"lstm": 4, "gru": 3}[cell]
    into = [draw(E + D, gates * H), draw(H, gates * H), draw(gates * H)]
    kind = GruWeights(*into, draw(H)) if cell == "gru" else Weights(*into)
    gate = Gate(draw(H, 1), draw(1)) if gated else None
    weights = AttentiveWeights(kind, draw(H, K), draw(K, seed=1), gate)
    state = tuple(draw(rows, H, seed=i) for i in range(2 if cell == "lstm" else 1))
    return draw(rows, T, E), weights, state, Memory(draw(N, L, K), draw(N, L, D), jnp.asarray(LENGTHS))


CELLS = {"lstm": cells.LSTM, "gru": cells.GRU}


@pytest.mark.parametrize("gated", [False, True], ids=["open", "gated"])
@pytest.mark.parametrize("each", [1, 2], ids=["one", "beams"])
@pytest.mark.parametrize("cell", CELLS)
def test_the_attentive_layer_is_the_reference(cell, each, gated, x64):
    x, weights, state, memory = layer(cell, N * each, gated)
    run = jax.jit(lambda *given: attentive(CELLS[cell], *given))
    outputs, contexts, alphas, last = jax.device_get(run(x, weights, state, memory))
    x, state = jax.device_get((x, state))  # rows of them are taken, each of which would be a program
    keys, values = np.asarray(memory.keys), np.asarray(memory.values)
    for row in range(N * each):
        n, now = row // each, [np.asarray(s[row]) for s in state]
        there = LENGTHS[n]
        for t in range(T):
            query = now[0] @ np.asarray(weights.query)
            alpha = reference.softmax(reference.additive(query, keys[n, :there], np.asarray(weights.vector)))
            read = reference.context(alpha, values[n])
            if gated:
                read = read * recurrent.sigmoid(
                    now[0] @ np.asarray(weights.gate.weights) + np.asarray(weights.gate.bias)
                )
            joined = np.concatenate([np.asarray(x[row, t]), read])
            now = recurrent.STEPS[cell](joined, *now, *map(np.asarray, weights.cell))
            np.testing.assert_allclose(alphas[row, t, :there], alpha, rtol=1e-10)
            np.testing.assert_allclose(contexts[row, t], read, rtol=1e-10, atol=1e-12)
            np.testing.assert_allclose(outputs[row, t], now[0], rtol=1e-10, atol=1e-12)
        for ours, wanted in zip(last, now):
            np.testing.assert_allclose(ours[row], wanted, rtol=1e-10, atol=1e-12)
    assert not np.any(np.asarray(alphas)[np.arange(L) >= np.repeat(LENGTHS, each)[:, None, None] + np.zeros((1, T, 1))])


@pytest.mark.parametrize("cell", but_for(["gru"], CELLS))
def test_with_the_exponentials_of_its_keys_the_layer_is_the_same(cell, x64):
    x, weights, state, memory = layer(cell, 2 * N, gated=True)
    run = jax.jit(lambda memory: attentive(CELLS[cell], x, weights, state, memory))
    wanted, found = run(memory), run(memory._replace(exponentials=attention.exponentials_by_unit(memory.keys)))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-11, atol=1e-13), found, wanted)


@pytest.mark.parametrize(
    ("cell", "gated"), but_for([("gru", False), ("lstm", True)], itertools.product(CELLS, (False, True)))
)
def test_its_gradients_are_central_differences(cell, gated, x64):
    x, weights, state, memory = layer(cell, 2 * N if gated else N, gated)

    def outputs(x, weights, state, keys, values):
        return attentive(CELLS[cell], x, weights, state, Memory(keys, values, memory.lengths))

    check_grads(jax.jit(outputs), (x, weights, state, memory.keys, memory.values), 1, ["rev"])


def test_in_bfloat16_its_gradients_are_those_of_float32_within_rounding():
    def gradients(dtype):
        x, weights, (h, _), memory = layer("lstm", N, gated=True, dtype=dtype)

        def total(x, weights, keys, values):
            state = h, jnp.zeros((N, H), "float32")
            outputs, contexts, *_ = attentive(cells.LSTM, x, weights, state, Memory(keys, values, memory.lengths))
            return outputs.astype("float32").sum() + contexts.astype("float32").sum()

        return jax.tree.leaves(jax.jit(jax.grad(total, (0, 1, 2, 3)))(x, weights, memory.keys, memory.values))

    for found, wanted in zip(gradients("bfloat16"), gradients("float32")):
        assert found.dtype == jnp.bfloat16
        np.testing.assert_allclose(found.astype("float32"), wanted, atol=0.05 * np.abs(wanted).max())  # 8 bits


def test_what_does_not_fit_is_named(x64, unchecked):
    with pytest.raises(ValueError, match="queries have 4 units and keys 3: bring them to one width"):
        attention.dot(normal(N, Q, 4), normal(N, L, 3))
    with pytest.raises(ValueError, match="queries have 4 units and keys 3: bring them to one width"):
        attention.additive_of_exponentials(normal(N, Q, 4), normal(3, N, L), normal(3))
    x, weights, state, memory = layer("gru", N + 1)
    with pytest.raises(ValueError, match="4 rows cannot read from 3 memories"):
        attentive(cells.GRU, x, weights, state, memory)
