"""Beam search against every sequence there is, and against a search with lists."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax.decode import beam, beam_search, greedy
from tests.decode import tables
from tests.references import decode as reference
from tests.rows import but_for, one_in

V, T, STOP = 3, 4, 1
N = 5
TABLE = tables.draw(N, V, T)
ROWS = np.arange(N)
NORMALISERS = {
    "wu": (beam.wu(), lambda n: ((5 + n) / 6) ** 0.6),
    "mean": (beam.power(), lambda n: n),
    "sum": (beam.wu(0), lambda n: 1.0),
}


def search(table=TABLE, rows=ROWS, steps=T, *, width, stop=STOP, **options):
    return tables.jitted(beam_search, table, rows, steps, beam=width, stop=stop, **options)


def listed(found, n):
    """The hypotheses of a row as the references give them."""
    fields = zip(*(x[n] for x in (found.tokens, found.lengths, found.log_probs, found.scores, found.ended)))
    rows = [(tuple(y[:length].tolist()), p, score, bool(ended)) for y, length, p, score, ended in fields]
    return [row for row in rows if row[2] > -np.inf]


def same(found, expected):
    assert [(y, ended) for y, _, _, ended in found] == [(y, ended) for y, _, _, ended in expected]
    np.testing.assert_allclose([row[1:3] for row in found], [row[1:3] for row in expected], rtol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("norm", "stop"), but_for([("wu", STOP)], [("wu", STOP), ("mean", STOP), ("sum", None)]))
def test_a_width_of_all_sequences_finds_all_of_them_in_order(norm, stop):
    normalise, formula = NORMALISERS[norm]
    found = search(width=V**T, stop=stop, normalise=normalise)
    for n in ROWS:
        same(listed(found, n), reference.exhaustive(tables.logits_of(TABLE, n), V, T, stop, formula))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("width", "stop"), one_in(2, [(1, STOP), (2, STOP), (2, None), (3, STOP), (5, STOP), (10, STOP)])
)
def test_narrow_widths_are_the_search_with_lists(width, stop):
    normalise, formula = NORMALISERS["wu"]
    found = search(width=width, stop=stop, normalise=normalise)
    for n in ROWS:
        same(listed(found, n), reference.beam(tables.logits_of(TABLE, n), V, T, stop, width, formula))


def test_width_one_is_greedy():
    found, likeliest = search(width=1), tables.jitted(greedy, TABLE, ROWS, T, stop=STOP)
    assert 0 < found.ended.sum() < N
    for name in ("tokens", "lengths", "log_probs", "ended"):
        np.testing.assert_array_equal(getattr(found, name)[:, 0], getattr(likeliest, name))


@pytest.mark.usefixtures("x64")
def test_hypotheses_are_sorted_distinct_padded_and_scored_by_their_tokens():
    table = tables.draw(20, 5, 6, seed=1)
    found = search(table, np.arange(20), 6, width=4, stop=0)
    ends = [sum(row[3] for row in listed(found, n)) for n in range(20)]
    assert min(ends) < 4 <= max(ends)
    for n in range(20):
        rows = listed(found, n)
        assert len({row[0] for row in rows}) == len(rows) == 4
        assert rows == sorted(rows, key=lambda row: (not row[3], -row[2]))
        for tokens, log_prob, score, ended in rows:
            expected = reference.log_probability(tables.logits_of(table, n), tokens)
            np.testing.assert_allclose((log_prob, score), (expected, expected / ((5 + len(tokens)) / 6) ** 0.6))
            assert ended == (tokens[-1] == 0)
        for tokens, length in zip(found.tokens[n], found.lengths[n]):
            assert (tokens[length:] == 0).all()


def test_a_batch_gives_what_its_rows_give_alone():
    """Rows are over at different steps; none may change after that."""
    table = tables.draw(N, V, T, seed=2)
    table[0, :, STOP] += 6.0
    run = tables.compiled(beam_search, table, T, beam=2, stop=STOP)
    whole = run(ROWS)
    assert len({int(x) for x in whole.lengths[:, 0]}) > 1
    for n in ROWS:
        jax.tree.map(lambda a, b, n=n: np.testing.assert_array_equal(a[0], b[n]), run([n]), whole)


def test_in_pieces_it_gives_what_it_gives_at_once():
    step = tables.step_of(TABLE)

    @jax.jit
    def extend(state, until):
        state = beam.extend(step, state, until, stop=STOP)
        return state, beam.best(state)

    begin = jax.jit(lambda carry, prompt: beam.begin(step, carry, prompt, T, 3, stop=STOP))
    state = begin(tables.carry_of(ROWS), tables.prompt_of(ROWS))
    for until in range(T + 2):
        state, found = extend(state, until)
        assert (found.scores[:, 0] > -jnp.inf).all()  # at every moment there is a hypothesis
    jax.tree.map(np.testing.assert_array_equal, search(width=3), found)


def test_where_none_ends_the_unfinished_are_given_and_marked():
    table = TABLE.copy()
    table[..., STOP] = -np.inf
    found = search(table, width=3)
    assert not found.ended.any()
    assert (found.lengths == T).all()
    assert np.isfinite(found.scores).all()
    assert (found.tokens != STOP).all()


def test_where_all_must_end_there_is_one_hypothesis():
    table = np.full_like(TABLE, -np.inf)
    table[..., STOP] = 0
    found = search(table, steps=50, width=3)
    assert found.lengths.tolist() == [[1, 0, 0]] * N
    assert found.ended.tolist() == [[True, False, False]] * N
    assert found.scores.tolist() == [[0, -np.inf, -np.inf]] * N
    assert (found.tokens == STOP).all()


def test_limits_of_the_shapes():
    assert search(rows=np.arange(0), width=3).tokens.shape == (0, 3, T)
    nothing = search(steps=0, width=2)
    assert nothing.tokens.shape == (N, 2, 0)
    assert nothing.scores.tolist() == [[0, -np.inf]] * N
    one = search(np.zeros((N, 10, 1)), steps=3, width=2, stop=0)
    assert one.ended.tolist() == [[True, False]] * N


def test_no_vocabulary_is_sorted_whole():
    """XLA:CPU would, if what top_k gives were cut further; it takes many times as long."""

    def run(rows):
        carry, prompt = tables.carry_of(rows), tables.prompt_of(rows)
        return beam_search(tables.step_of(jnp.asarray(TABLE, jnp.float32)), carry, prompt, T, beam=7, stop=STOP)

    program = jax.jit(run).lower(jnp.asarray(ROWS, jnp.int32)).compile().as_text()
    assert re.search(r"TopK", program)
    assert not re.findall(rf"\[{N},{7 * V}\]\S* sort\(", program)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="beam is 0 and steps is 4; they must be at least 1 and 0"):
        search(width=0)
    with pytest.raises(ValueError, match="stop is 7, but the model has tokens 0 … 2"):
        search(width=2, stop=7)
