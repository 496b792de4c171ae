"""The contract with models that generate, and the prompts that they begin with."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from cs231n_jax.typing import Array, PyTree

Carry = PyTree  # what a model remembers: leaves [N, ...]
Step = Callable[[Carry, Array], tuple[Array, Carry]]  # (carry, tokens int32 [N]) -> (logits [N, V], carry)


def feed(step: Step, carry: Carry, prompt: Array, lengths: Array | None = None) -> tuple[Carry, Array]:
    """Run a model over all tokens of its prompts but their last ones, which are the first that a decoder feeds.

    Args:
        step: one step of the model.
        carry: before the first token.
        prompt: tokens, int32 [N, P] with P ≥ 1; what lies after the end of a prompt has no influence.
        lengths: of the prompts, int32 [N], from 1 to P; all P by default. Smaller ones are taken as 1.

    Returns:
        the carry of each row after its own `length − 1` tokens, in the types that the model gives it, and the last
        tokens int32 [N].

    Raises:
        ValueError: the prompts have no token.
    """
    n, most = prompt.shape
    if most < 1:
        raise ValueError("a prompt has no token; it needs at least one, such as a start token")
    types = jax.eval_shape(step, carry, prompt[:, 0])[1]
    carry = jax.tree.map(lambda x, like: x.astype(like.dtype), carry, types)
    last = jnp.full((n,), most - 1, jnp.int32) if lengths is None else jnp.clip(lengths - 1, 0, most - 1)

    def advance(carry: Carry, inputs: tuple[Array, Array]) -> tuple[Carry, None]:
        token, t = inputs
        return choose_rows(t < last, step(carry, token)[1], carry), None

    inputs = prompt[:, :-1].T, jnp.arange(most - 1, dtype=jnp.int32)
    return lax.scan(advance, carry, inputs)[0], jnp.take_along_axis(prompt, last[:, None], 1)[:, 0]


def choose_rows(rows: Array, yes: PyTree, no: PyTree) -> PyTree:
    """Of two trees with leaves [N, ...] the rows of one or the other; `rows`: bool [N]."""

    def choose(a: Array, b: Array) -> Array:
        return jnp.where(lax.broadcast_in_dim(rows, a.shape, (0,)), a, b)

    return jax.tree.map(choose, yes, no)


def check_stop(stop: int | None, logits: Array) -> int:
    """The stop token, −1 where there is none.

    Raises:
        ValueError: it is no token.
    """
    if stop is not None and not 0 <= stop < logits.shape[-1]:
        raise ValueError(f"stop is {stop}, but the model has tokens 0 … {logits.shape[-1] - 1}: give one, or None")
    return -1 if stop is None else stop


def empty(shape: tuple[int, ...], stop: int | None) -> Array:
    """Room for tokens, filled with what stands after an end: the stop token, 0 where there is none."""
    return jnp.full(shape, stop or 0, jnp.int32)


def put(tokens: Array, t: Array, token: Array) -> Array:
    """Tokens [..., S] with `token` [...] at step t."""
    steps = lax.broadcasted_iota(jnp.int32, tokens.shape, tokens.ndim - 1)
    return jnp.where(steps == t, token[..., None], tokens)
