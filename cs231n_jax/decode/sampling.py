"""Sampling, and greedy decoding as its limit: one compiled loop for all rows of a batch."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from cs231n_jax.decode import filters
from cs231n_jax.decode.filters import Filter
from cs231n_jax.decode.prompt import Carry, Step, check_stop, empty, feed, put
from cs231n_jax.ops.precision import at_least_float32
from cs231n_jax.typing import Array, Key


class Samples(NamedTuple):
    """What was sampled so far, and what is needed to go on."""

    tokens: Array  # int32 [N, S]; after the end of a row the stop token, or 0
    lengths: Array  # int32 [N]: tokens sampled, the stop token included
    log_probs: Array  # float32 or float64 [N]: their logarithms' sum, in nats, under the model without filters
    ended: Array  # bool [N]: whether the stop token was sampled
    t: Array  # int32 []: steps done
    carry: Carry
    token: Array  # int32 [N]: the next to be fed

    def done(self) -> Array:
        """Whether there is nothing to add: bool []."""
        return (self.t >= self.tokens.shape[1]) | jnp.all(self.ended)


def sample(
    step: Step,
    carry: Carry,
    prompt: Array,
    steps: int,
    key: Key,
    *,
    prompt_lengths: Array | None = None,
    allowed: Filter | None = None,
    stop: int | None = None,
    rows: Array | None = None,
) -> Samples:
    """Continue prompts by tokens drawn from softmax(allowed(logits)).

    Row n draws its t-th token with fold_in(fold_in(key, rows[n]), t): what it gets does not depend on the others. To
    be called inside jit, where `step` closes over the parameters; there is one compilation for a shape.

    Args:
        step: one step of the model.
        carry: of the model before the prompts, leaves [N, ...].
        prompt: tokens, int32 [N, P] with P ≥ 1.
        steps: S, the most tokens that are added.
        key: PRNG key.
        prompt_lengths: int32 [N], from 1 to P; all P by default.
        allowed: a filter of `filters`; by default the model's own distribution.
        stop: the token that ends a row; None: rows end with the steps.
        rows: int32 [N], by default 0 … N − 1: the numbers of the rows, for a batch that is done in parts.

    Returns:
        `Samples`; a row that ends early stands still from there on.

    Raises:
        ValueError: a prompt has no token, `steps` is negative, or `stop` is no token of the model.
    """
    return extend(
        step, begin(step, carry, prompt, steps, prompt_lengths, stop), steps, key, allowed=allowed, stop=stop, rows=rows
    )


def greedy(
    step: Step,
    carry: Carry,
    prompt: Array,
    steps: int,
    *,
    prompt_lengths: Array | None = None,
    stop: int | None = None,
) -> Samples:
    """Continue prompts by the likeliest token at each step, of equal ones the first; arguments as for `sample`."""
    largest, any_key = filters.temperature(0), jax.random.key(0)  # one token is left to draw from
    return sample(step, carry, prompt, steps, any_key, prompt_lengths=prompt_lengths, allowed=largest, stop=stop)


def begin(
    step: Step, carry: Carry, prompt: Array, steps: int, prompt_lengths: Array | None = None, stop: int | None = None
) -> Samples:
    """The state before the first token; arguments as for `sample`."""
    if steps < 0:
        raise ValueError(f"steps is {steps}; it must be 0 or more")
    carry, token = feed(step, carry, prompt, prompt_lengths)
    n, score = len(prompt), at_least_float32(jax.eval_shape(step, carry, token)[0].dtype)
    return Samples(
        tokens=empty((n, steps), stop),
        lengths=jnp.zeros(n, jnp.int32),
        log_probs=jnp.zeros(n, score),
        ended=jnp.zeros(n, bool),
        t=jnp.zeros((), jnp.int32),
        carry=carry,
        token=token,
    )


def extend(
    step: Step,
    state: Samples,
    until: Array | int,
    key: Key,
    *,
    allowed: Filter | None = None,
    stop: int | None = None,
    rows: Array | None = None,
) -> Samples:
    """Sample up to step `until`, at most to the last one: in pieces it gives what it gives at once.

    Arguments but `state` and `until`, which may be traced, as for `sample`.
    """
    numbers = jnp.arange(len(state.tokens), dtype=jnp.int32) if rows is None else rows
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)

    def draw(key: Key, t: Array, logits: Array) -> Array:
        return jax.random.categorical(jax.random.fold_in(key, t), logits).astype(jnp.int32)

    def advance(state: Samples) -> Samples:
        logits, carry = step(state.carry, state.token)
        end, logits = check_stop(stop, logits), logits.astype(state.log_probs.dtype)
        drawn = jax.vmap(draw, (0, None, 0))(keys, state.t, allowed(logits) if allowed else logits)
        gained = jnp.take_along_axis(jax.nn.log_softmax(logits), drawn[:, None], 1)[:, 0]
        token = jnp.where(state.ended, stop or 0, drawn)
        return Samples(
            tokens=put(state.tokens, state.t, token),
            lengths=state.lengths + (~state.ended).astype(jnp.int32),
            log_probs=state.log_probs + jnp.where(state.ended, 0, gained),
            ended=state.ended | (token == end),
            t=state.t + 1,
            carry=carry,
            token=token,
        )

    return lax.while_loop(lambda state: (state.t < until) & ~state.done(), advance, state)
