"""Beam search over all rows of a batch in one compiled loop."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from cs231n_jax.decode.prompt import Carry, Step, check_stop, empty, feed, put
from cs231n_jax.decode.ranking import largest, likeliest
from cs231n_jax.ops.precision import at_least_float32
from cs231n_jax.typing import Array

Normalise = Callable[[Array], Array]  # lengths ≥ 1, float -> what a log-probability is divided by


def wu(alpha: float = 0.6) -> Normalise:
    """The length penalty ((5 + |Y|) / 6)^α; 0 turns it off.

    The default is that of Vaswani et al. 2017, section 6.1.

    Reference: Wu et al. 2016, "Google's Neural Machine Translation System", equation 14, without its coverage penalty.
    """
    return lambda lengths: ((5 + lengths) / 6) ** alpha


def power(alpha: float = 1.0) -> Normalise:
    """|Y|^α; 1 makes a score the mean log-probability of a token, 0 turns it off."""
    return lambda lengths: lengths**alpha


class Hypotheses(NamedTuple):
    """The B best of each row: those that ended before those that did not, each by falling score.

    There is always a first one, where the model allows any token at all. Where there are fewer than B, the other
    places have score −∞ and length 0.
    """

    tokens: Array  # int32 [N, B, S]; after the end the stop token, or 0
    lengths: Array  # int32 [N, B], the stop token included
    scores: Array  # float32 or float64 [N, B]: log_probs / normalise(lengths)
    log_probs: Array  # the same type [N, B]: sum over the tokens, in nats
    ended: Array  # bool [N, B]: False where the steps were over first


class Beams(NamedTuple):
    """The state of a search."""

    tokens: Array  # int32 [N, B, S]: the hypotheses that go on, best first; before the first token one a row
    log_probs: Array  # [N, B]; −∞ where there is none
    token: Array  # int32 [N, B]: the next to be fed
    carry: Carry  # leaves [N·B, ...]
    t: Array  # int32 []: steps done
    pool: Hypotheses  # those that ended

    def over(self) -> Array:
        """The rows that have B hypotheses, or none that could go on: bool [N]."""
        return jnp.all(self.pool.ended, 1) | jnp.all(self.log_probs == -jnp.inf, 1)

    def done(self) -> Array:
        """Whether there is nothing to add: bool []."""
        return (self.t >= self.tokens.shape[2]) | jnp.all(self.over())


def beam_search(
    step: Step,
    carry: Carry,
    prompt: Array,
    steps: int,
    *,
    beam: int,
    stop: int | None,
    prompt_lengths: Array | None = None,
    normalise: Normalise | None = None,
) -> Hypotheses:
    """The B continuations of each prompt that a search of width B finds likeliest.

    At each step all one-token extensions of a row's B hypotheses are ranked by log-probability. Those among the first
    B that are the stop token end; the first B others go on. A row is over when B hypotheses have ended, or at the last
    step, where those that have not ended fill what is left, and are marked. So width 1 is greedy decoding, and a width
    of V^S finds the best of all sequences.

    To be called inside jit, where `step` closes over the parameters. The rows that it sees are n·B + b; what is the
    same for all steps (an encoder's outputs) it can close over and repeat B times, which is cheaper than to have it in
    the carry, which is gathered in every step.

    Args:
        step: one step of the model.
        carry: of the model before the prompts, leaves [N, ...].
        prompt: tokens, int32 [N, P] with P ≥ 1.
        steps: S, the most tokens of a hypothesis, the stop token included.
        beam: B, at least 1.
        stop: the token that ends a hypothesis; None: all have S tokens.
        prompt_lengths: int32 [N], from 1 to P; all P by default.
        normalise: what the scores of ended hypotheses of different lengths are divided by; default: `wu()`.

    Returns:
        `Hypotheses`.

    Raises:
        ValueError: a prompt has no token, `steps` is negative, `beam` below 1, or `stop` no token of the model.

    Reference: Sutskever, Vinyals, Le 2014, "Sequence to Sequence Learning with Neural Networks", section 3.2.
    *Deviation*: the width there shrinks with each hypothesis that ends; here, as in fairseq, B always go on.
    """
    state = begin(step, carry, prompt, steps, beam, prompt_lengths, stop, normalise)
    return best(extend(step, state, steps, stop=stop, normalise=normalise), normalise=normalise)


def begin(
    step: Step,
    carry: Carry,
    prompt: Array,
    steps: int,
    beam: int,
    prompt_lengths: Array | None = None,
    stop: int | None = None,
    normalise: Normalise | None = None,
) -> Beams:
    """The state after the first token, which comes from one hypothesis a row; arguments as for `beam_search`."""
    if beam < 1 or steps < 0:
        raise ValueError(f"beam is {beam} and steps is {steps}; they must be at least 1 and 0")
    carry, token = feed(step, carry, prompt, prompt_lengths)
    n, score = len(prompt), at_least_float32(jax.eval_shape(step, carry, token)[0].dtype)
    tokens, nothing = empty((n, beam, steps), stop), jnp.full((n, beam), -jnp.inf, score)
    state = Beams(
        tokens=tokens[:, :1],
        log_probs=jnp.zeros((n, 1), score),
        token=token[:, None],
        carry=carry,
        t=jnp.zeros((), jnp.int32),
        pool=Hypotheses(tokens, jnp.zeros((n, beam), jnp.int32), nothing, nothing, jnp.zeros((n, beam), bool)),
    )
    if steps:
        return _advance(step, state, stop, normalise)
    widened = jax.tree.map(lambda x: jnp.repeat(x, beam, 0), carry)
    return state._replace(
        tokens=tokens,
        log_probs=nothing.at[:, 0].set(0),
        token=jnp.repeat(state.token, beam, 1),
        carry=widened,
    )


def extend(
    step: Step, state: Beams, until: Array | int, *, stop: int | None, normalise: Normalise | None = None
) -> Beams:
    """Search up to step `until`, at most to the last one: in pieces it gives what it gives at once.

    Arguments but `state` and `until`, which may be traced, as for `beam_search`.
    """

    def goes_on(state: Beams) -> Array:
        return (state.t < until) & ~state.done()

    return lax.while_loop(goes_on, lambda state: _advance(step, state, stop, normalise), state)


def _advance(step: Step, state: Beams, stop: int | None, normalise: Normalise | None) -> Beams:
    """One token more: from B hypotheses of a row, or from the one there is at first, to B."""
    (n, now, _), b = state.tokens.shape, state.pool.tokens.shape[1]
    logits, carry = step(state.carry, state.token.reshape(n * now))
    end, v = check_stop(stop, logits), logits.shape[-1]
    most = min(2 * b, now * v)  # at most B of them are stop tokens
    ranked, index = likeliest(logits.astype(state.log_probs.dtype), state.log_probs, most)
    if most < b:  # fewer tokens than hypotheses
        ranked, index = (
            jnp.pad(x, ((0, 0), (0, b - most)), constant_values=y) for x, y in ((ranked, -jnp.inf), (index, 0))
        )
    parent, token = index // v, index % v
    tokens = put(_take(state.tokens, parent), state.t, token)
    ends = (token == end) & ~state.over()[:, None]
    log_probs, chosen = largest(jnp.where(token == end, -jnp.inf, ranked), b)
    rows = jnp.arange(n, dtype=jnp.int32)[:, None] * now + _take(parent, chosen)
    return Beams(
        tokens=_take(tokens, chosen),
        log_probs=log_probs,
        token=_take(token, chosen),
        carry=jax.tree.map(lambda x: x[rows.reshape(n * b)], carry),
        t=state.t + 1,
        pool=_add(state.pool, tokens[:, :b], ranked[:, :b], ends[:, :b], state.t + 1, normalise),
    )


def best(state: Beams, *, normalise: Normalise | None = None) -> Hypotheses:
    """The hypotheses of a search: those that ended, then those that did not."""
    going = _hypotheses(state.tokens, state.log_probs, state.t, normalise)
    both = jax.tree.map(lambda a, b: jnp.concatenate((a, b), 1), state.pool, going)
    missing = jnp.where(both.ended, 0, jnp.where(both.scores > -jnp.inf, 1, 2))
    order = jnp.argsort(missing, axis=1, stable=True)[:, : state.tokens.shape[1]]
    return jax.tree.map(lambda x: _take(x, order), both)


def _hypotheses(tokens: Array, log_probs: Array, length: Array, normalise: Normalise | None) -> Hypotheses:
    """Hypotheses of one length that have not ended."""
    there = log_probs > -jnp.inf
    divisor = (normalise or wu())(jnp.maximum(length, 1).astype(log_probs.dtype))
    lengths = jnp.where(there, length, 0)
    return Hypotheses(tokens, lengths, log_probs / divisor, log_probs, jnp.zeros_like(there))


def _add(
    pool: Hypotheses, tokens: Array, log_probs: Array, ends: Array, length: Array, normalise: Normalise | None
) -> Hypotheses:
    """The B best by score of a pool and of B candidates, those of them that end."""
    new = _hypotheses(tokens, jnp.where(ends, log_probs, -jnp.inf), length, normalise)
    new = new._replace(ended=new.scores > -jnp.inf)
    both = jax.tree.map(lambda a, b: jnp.concatenate((a, b), 1), pool, new)
    order = largest(both.scores, pool.scores.shape[1])[1]
    return jax.tree.map(lambda x: _take(x, order), both)


def _take(x: Array, index: Array) -> Array:
    """x[n, index[n, i]] for [N, K, ...] and [N, I]."""
    return jax.vmap(lambda row, i: row[i])(x, index)
