"""Everything a run needs to continue, as one pytree; everything random in it is computed, not stored."""

import zlib
from typing import NamedTuple

import jax
import jax.numpy as jnp

from cs231n_jax.metrics import Mean
from cs231n_jax.optim import GradientTransformation
from cs231n_jax.tasks.base import Metrics, Task
from cs231n_jax.typing import Array, Batch, Key, ModelState, Params, PyTree


class TrainState(NamedTuple):
    """The state between two updates."""

    step: Array  # shape=(), int32: updates done so far
    params: Params
    model_state: ModelState  # every non-trained variable, by collection
    opt_state: PyTree
    metrics: Metrics  # running sums since the last line of metrics.jsonl, so that a resumed interval is whole
    dropped: Array  # shape=(), int32: updates dropped in a row because a gradient was not finite


def create(task: Task, optimizer: GradientTransformation, seed: int, batch: Batch) -> TrainState:
    """The state before the first update.

    Args:
        task: what is trained.
        optimizer: its gradient transformation.
        seed: the run's seed.
        batch: arrays or jax.ShapeDtypeStructs of one batch; only shapes are looked at.
    """
    params, model_state = task.init(seed, batch)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        model_state=model_state,
        opt_state=jax.jit(optimizer.init)(params),
        metrics=empty_metrics(task, params, model_state, batch),
        dropped=jnp.zeros((), jnp.int32),
    )


def empty_metrics(task: Task, params: Params, model_state: ModelState, batch: Batch) -> Metrics:
    """The task's training metrics, all zero: found by an abstract run of its loss."""

    def metrics_of(params: Params, model_state: ModelState, batch: Batch) -> Metrics:
        return task.loss(params, model_state, batch, key=jax.random.key(0), train=True)[1][1]

    shapes = jax.eval_shape(metrics_of, params, model_state, batch)
    return {name: Mean(*(jnp.zeros(x.shape, x.dtype) for x in mean)) for name, mean in shapes.items()}


def stream_key(seed: int, purpose: str, step: Array | int) -> Key:
    """The PRNG key of one purpose at one step: fold_in(fold_in(key(seed), crc32(purpose)), step)."""
    stream = jax.random.fold_in(jax.random.key(seed), zlib.crc32(purpose.encode()))
    return jax.random.fold_in(stream, step)
