"""Sampling and greedy decoding from tables of logits, against plain loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax.decode import feed, filters, greedy, sample, sampling
from tests.decode import tables
from tests.references import decode as reference

V, T, STOP = 4, 5, 2
TABLE = tables.draw(6, V, T)
ROWS = np.arange(6)
KEY = jax.random.key(3)


def drawn(table, rows, steps, **options):
    return tables.jitted(sample, table, rows, steps, KEY, **options)


def histories(found):
    return [tuple(tokens[:length].tolist()) for tokens, length in zip(found.tokens, found.lengths)]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("stop", [STOP, None])
def test_log_probabilities_lengths_and_ends_are_those_of_the_tokens(stop):
    rows = np.arange(60) % 6
    found = drawn(TABLE, rows, T, stop=stop, allowed=filters.standard(0.7, 3))
    assert found.tokens.dtype == found.lengths.dtype == np.int32
    assert len(set(histories(found))) > 20
    for row, tokens, length, log_prob, ended in zip(rows, found.tokens, found.lengths, found.log_probs, found.ended):
        own = tuple(tokens[:length].tolist())
        assert ended == (own[-1] == stop)
        assert ended or length == T
        assert stop not in own[:-1]
        assert (tokens[length:] == stop).all()
        logits = tables.logits_of(TABLE, row)
        assert log_prob == pytest.approx(reference.log_probability(logits, own), rel=1e-12)
        smallest = [reference.by_rank(logits(own[:t]))[-1] for t in range(length)]
        assert all(token != excluded for token, excluded in zip(own, smallest))


@pytest.mark.usefixtures("x64")
def test_sequences_have_the_probabilities_of_the_filtered_model():
    """Pearson's χ² over all sequences of two tokens; its 1e-6 quantile at 15 degrees of freedom is 55.6."""
    count = 20_000
    found = drawn(TABLE, np.zeros(count, int), 2, allowed=filters.temperature(1.3))
    logits = tables.logits_of(TABLE, 0)

    def p(history):
        return reference.tempered(reference.softmax(logits(history)), 1.3)

    expected = np.array([p(())[a] * p((a,))[b] for a in range(V) for b in range(V)]) * count
    seen = np.bincount(found.tokens[:, 0] * V + found.tokens[:, 1], minlength=V * V)
    assert ((seen - expected) ** 2 / expected).sum() < 55.6


def test_rows_do_not_depend_on_each_other():
    whole = drawn(TABLE, ROWS, T, stop=STOP)

    @jax.jit
    def run(rows):
        carry, prompt = tables.carry_of(rows), tables.prompt_of(rows)
        return sample(tables.step_of(TABLE), carry, prompt, T, KEY, stop=STOP, rows=rows)

    for n in ROWS:
        alone = run(jnp.asarray([n], jnp.int32))
        for name in ("tokens", "lengths", "log_probs", "ended"):
            np.testing.assert_array_equal(getattr(alone, name)[0], getattr(whole, name)[n])
    same = drawn(TABLE, np.zeros(50, int), T)
    assert len(set(histories(same))) > 10  # the same prompt, other draws


def test_the_key_decides():
    first, again = (drawn(TABLE, ROWS, T, allowed=filters.temperature(2)) for _ in range(2))
    np.testing.assert_array_equal(first.tokens, again.tokens)
    other = tables.jitted(sample, TABLE, ROWS, T, jax.random.key(4), allowed=filters.temperature(2))
    assert (other.tokens != first.tokens).any()


@pytest.mark.parametrize("stop", [STOP, None])
def test_greedy_takes_the_likeliest_at_each_step(stop):
    found = tables.jitted(greedy, TABLE, ROWS, T, stop=stop)
    assert histories(found) == [reference.greedy(tables.logits_of(TABLE, n), T, stop) for n in ROWS]


def test_greedy_takes_the_first_of_equal_tokens():
    found = tables.jitted(greedy, np.zeros_like(TABLE), ROWS, 3)
    assert not found.tokens.any()


def test_in_pieces_it_gives_what_it_gives_at_once_with_one_compilation():
    whole = drawn(TABLE, ROWS, T, stop=STOP)
    step, traces = tables.step_of(TABLE), []
    state = sampling.begin(step, tables.carry_of(ROWS), tables.prompt_of(ROWS), T, stop=STOP)

    @jax.jit
    def extend(state, until):
        traces.append(until)
        return sampling.extend(step, state, until, KEY, stop=STOP)

    for until in (2, 3, 50):
        state = extend(state, jnp.int32(until))
    assert len(traces) == 1
    assert bool(state.done())
    jax.tree.map(np.testing.assert_array_equal, whole._replace(carry=0, token=0), state._replace(carry=0, token=0))


def test_prompts_of_different_lengths_are_fed_before():
    """The padding after a prompt has no influence, and each row goes on from the end of its own."""
    history = np.array([[0, 1, 3, 3], [0, 2, 0, 0], [0, 0, 0, 1]], np.int32)  # the first token leads to the root
    lengths, rows = np.array([3, 1, 4], np.int32), np.arange(3)

    @jax.jit
    def run(prompt, lengths):
        return greedy(tables.step_of(TABLE), tables.carry_of(rows), prompt, 2, prompt_lengths=lengths)

    for padding in (history, np.where(np.arange(4) < lengths[:, None], history, 1)):
        found = run(jnp.asarray(padding), jnp.asarray(lengths))
        for n, length in enumerate(lengths):
            before = tuple(history[n, 1:length].tolist())
            logits = tables.logits_of(TABLE, n)
            assert histories(found)[n] == reference.greedy(lambda y, b=before, f=logits: f(b + y), 2, None)


def test_the_loop_ends_with_its_last_row():
    table = np.zeros_like(TABLE)
    table[..., STOP] = 50.0
    found = tables.jitted(greedy, table, ROWS, 1000, stop=STOP)
    assert found.t == 1
    assert found.lengths.tolist() == [1] * 6
    assert (found.tokens == STOP).all()


def test_no_rows_and_no_steps_give_nothing():
    assert drawn(TABLE, ROWS, 0).tokens.shape == (6, 0)
    assert drawn(TABLE, np.arange(0), T).tokens.shape == (0, T)


def test_a_narrow_model_is_scored_in_float32():
    table = jnp.asarray(TABLE, jnp.bfloat16)
    found = jax.jit(lambda: sample(tables.step_of(table), tables.carry_of(ROWS), tables.prompt_of(ROWS), T, KEY))()
    assert found.log_probs.dtype == jnp.float32
    expected = reference.log_probability(
        tables.logits_of(np.asarray(table, np.float64), 0), tuple(found.tokens[0].tolist())
    )
    assert float(found.log_probs[0]) == pytest.approx(expected, rel=1e-5)


def test_the_carry_gets_the_types_that_the_step_gives_it():
    def step(carry, token):
        total = carry.astype(jnp.float32) + token.astype(jnp.float32)
        return jax.nn.one_hot(total.astype(jnp.int32), 8), total

    prompt = jnp.asarray([[1, 2], [3, 0]], jnp.int32)
    carry, last = feed(step, jnp.zeros(2, jnp.bfloat16), prompt)
    assert carry.dtype == jnp.float32
    assert (carry.tolist(), last.tolist()) == ([1, 3], [2, 0])
    assert greedy(step, jnp.zeros(2, jnp.bfloat16), prompt, 2).tokens.tolist() == [[3, 6], [3, 6]]


def test_mistakes_are_named():
    step, carry, prompt = tables.step_of(TABLE), tables.carry_of(ROWS), tables.prompt_of(ROWS)
    with pytest.raises(ValueError, match=r"stop is 4, but the model has tokens 0 … 3"):
        sample(step, carry, prompt, T, KEY, stop=4)
    with pytest.raises(ValueError, match="steps is -1; it must be 0 or more"):
        sample(step, carry, prompt, -1, KEY)
    with pytest.raises(ValueError, match="a prompt has no token"):
        feed(step, carry, prompt[:, :0])
