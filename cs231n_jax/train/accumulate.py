"""Gradients of a batch in pieces, so that only one piece's activations are in memory at a time."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from cs231n_jax.tasks.base import Metrics
from cs231n_jax.train.carry import NAME
from cs231n_jax.typing import Array, Batch, Key, ModelState, Params, PyTree


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
    micro-batch i is drawn from fold_in(key, i); of a carry it has the rows of its own examples. Over several devices
    the gradients of each micro-batch are added up in turn: `pieces` times the communication of one batch.

    Args:
        gradient: of one batch.
        pieces: how many micro-batches; must divide N. 1 returns `gradient` itself.
        unroll: write the loop out (XLA:CPU runs convolutions inside a loop on one core); else a scan.
    """
    if pieces == 1:
        return gradient

    def of_piece(params: Params, state: ModelState, batch: Batch, key: Key, index: Any) -> tuple[Sums, ModelState]:
        kept = {name: tree for name, tree in state.items() if name == NAME}
        small = {**state, **_rows(kept, index, pieces)}
        key = jax.random.fold_in(key, index)
        sums, new = gradient(params, small, _rows(batch, index, pieces), key)
        return sums, {**new, **_with_rows(kept, {name: new[name] for name in kept}, index, pieces)}

    def accumulated(params: Params, model_state: ModelState, batch: Batch, key: Key) -> tuple[Sums, ModelState]:
        def add(so_far: tuple[Sums, ModelState], index: Any) -> tuple[tuple[Sums, ModelState], None]:
            sums, model_state = so_far
            more, model_state = of_piece(params, model_state, batch, key, index)
            return (jax.tree.map(jnp.add, sums, more), model_state), None

        so_far = of_piece(params, model_state, batch, key, 0)
        if not unroll:
            return jax.lax.scan(add, so_far, jnp.arange(1, pieces))[0]
        for index in range(1, pieces):
            so_far, _ = add(so_far, _once_there(jnp.int32(index), so_far[0].grads))
        return so_far

    return accumulated


def _rows(tree: PyTree, index: Any, pieces: int) -> PyTree:
    """Of leaves [N, ...] the rows index, index + pieces, index + 2·pieces, …"""

    def of(x: Array) -> Array:
        return jax.lax.dynamic_index_in_dim(_apart(x, pieces), index, axis=1, keepdims=False)

    return jax.tree.map(of, tree)


def _with_rows(tree: PyTree, rows: PyTree, index: Any, pieces: int) -> PyTree:
    """`tree` with these rows in place of its own."""

    def of(x: Array, rows: Array) -> Array:
        return jax.lax.dynamic_update_index_in_dim(_apart(x, pieces), rows, index, axis=1).reshape(x.shape)

    return jax.tree.map(of, tree, rows)


def _apart(x: Array, pieces: int) -> Array:
    return x.reshape(-1, pieces, *x.shape[1:])


def _once_there(index: Array, grads: Params) -> Array:
    """`index`, in a form that waits for all of `grads`: nothing exceeds infinity, but XLA does not rely on that.

    XLA:CPU drops optimization barriers before it orders a program, and would hold the activations of all micro-batches.
    """
    firsts = (jnp.ravel(leaf)[0] for leaf in jax.tree.leaves(grads))
    return index + sum(((first > jnp.inf).astype(index.dtype) for first in firsts), jnp.zeros_like(index))
