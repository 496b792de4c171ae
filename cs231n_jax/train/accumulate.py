"""Gradients of a batch in pieces, so that only one piece's activations are in memory at a time."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from cs231n_jax.tasks.base import Metrics
from cs231n_jax.typing import Array, Batch, Key, ModelState, Params


class Sums(NamedTuple):
    """What a batch adds up to; those of two batches add up to those of their union."""

    total: Array  # shape=(): Σ of the loss over the examples
    count: Array  # shape=(): examples, or what else the loss is divided by
    metrics: Metrics
    grads: Params  # of `total`


Gradient = Callable[[Params, ModelState, Batch, Key], tuple[Sums, ModelState]]


def in_pieces(gradient: Gradient, pieces: int, unroll: bool) -> Gradient:
    """`gradient` of a batch of N examples as the sum over `pieces` micro-batches of N / pieces.

    Micro-batch i takes the examples i, i + pieces, i + 2·pieces, …: on a mesh each device then has an equal part of
    every micro-batch among its own examples, and nothing moves. The losses are sums, so without batch statistics and
    noise the result is that of the whole batch, in another order of summation. BatchNorm normalises each micro-batch
    by its own statistics and moves its running ones once for each, as torch does under accumulation; the noise of
    micro-batch i is drawn from fold_in(key, i). Over several devices the gradients of each micro-batch are added up in
    turn: `pieces` times the communication of one batch.

    Args:
        gradient: of one batch.
        pieces: how many micro-batches; must divide N. 1 returns `gradient` itself.
        unroll: write the loop out (XLA:CPU runs convolutions inside a loop on one core); else a scan.
    """
    if pieces == 1:
        return gradient

    def piece_of(batch: Batch, index: Any) -> Batch:
        apart = {name: x.reshape(-1, pieces, *x.shape[1:]) for name, x in batch.items()}
        return {name: jax.lax.dynamic_index_in_dim(x, index, axis=1, keepdims=False) for name, x in apart.items()}

    def accumulated(params: Params, model_state: ModelState, batch: Batch, key: Key) -> tuple[Sums, ModelState]:
        def add(carry: tuple[Sums, ModelState], index: Any) -> tuple[tuple[Sums, ModelState], None]:
            sums, model_state = carry
            more, model_state = gradient(params, model_state, piece_of(batch, index), jax.random.fold_in(key, index))
            return (jax.tree.map(jnp.add, sums, more), model_state), None

        carry = gradient(params, model_state, piece_of(batch, 0), jax.random.fold_in(key, 0))
        if not unroll:
            return jax.lax.scan(add, carry, jnp.arange(1, pieces))[0]
        for index in range(1, pieces):
            carry, _ = add(carry, _once_there(jnp.int32(index), carry[0].grads))
        return carry

    return accumulated


def _once_there(index: Array, grads: Params) -> Array:
    """`index`, in a form that waits for all of `grads`: nothing exceeds infinity, but XLA does not rely on that.

    XLA:CPU drops optimization barriers before it orders a program, and would hold the activations of all micro-batches.
    """
    firsts = (jnp.ravel(leaf)[0] for leaf in jax.tree.leaves(grads))
    return index + sum(((first > jnp.inf).astype(index.dtype) for first in firsts), jnp.zeros_like(index))
