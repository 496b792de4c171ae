"""Everything a run needs to continue, as one pytree; everything random in it is computed, not stored."""

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from cs231n_jax.optim import GradientTransformation
from cs231n_jax.tasks.base import Metrics, Task
from cs231n_jax.train import sharding
from cs231n_jax.typing import Array, Batch, Key, ModelState, Params, PyTree


class TrainState(NamedTuple):
    """The state between two updates."""

    step: Array  # shape=(), int32: updates done so far
    params: Params
    model_state: ModelState  # every non-trained variable, by collection
    opt_state: PyTree
    metrics: Metrics  # running sums since the last line of metrics.jsonl, so that a resumed interval is whole
    dropped: Array  # shape=(), int32: updates dropped in a row because a gradient was not finite
    dropped_total: Array  # shape=(), int32: updates dropped since the start


def create(
    task: Task,
    optimizer: GradientTransformation,
    seed: int,
    batch: Batch,
    mesh: Mesh,
    like: TrainState | None = None,
    begin: Callable[[Params, ModelState], tuple[Params, ModelState]] | None = None,
) -> TrainState:
    """The state before the first update, made where it will live: leaf by leaf, each device getting its own shard.

    Args:
        task: what is trained.
        optimizer: its gradient transformation.
        seed: the run's seed.
        batch: arrays or jax.ShapeDtypeStructs of one batch; only shapes are looked at.
        mesh: the devices.
        like: what `shapes` gave for the same arguments, where it is at hand.
        begin: drawn parameters and state -> those to begin with, on the host where they are others.
    """
    like = shapes(task, optimizer, batch, mesh) if like is None else like

    def place(leaves: Any) -> Any:
        return sharding.put_state(leaves, mesh)

    params, model_state = task.init(seed, batch, place)
    if begin:
        params, model_state = begin(params, model_state)
        params = place(params)
    model_state = place(model_state)  # a carry lies elsewhere than its shape alone says
    make_slots = jax.jit(optimizer.init, out_shardings=jax.tree.map(lambda x: x.sharding, like.opt_state))
    return TrainState(
        step=place(np.zeros((), np.int32)),
        params=params,
        model_state=model_state,
        opt_state=make_slots(params),
        metrics=place(zeros(like.metrics)),
        dropped=place(np.zeros((), np.int32)),
        dropped_total=place(np.zeros((), np.int32)),
    )


def shapes(task: Task, optimizer: GradientTransformation, batch: Batch, mesh: Mesh) -> TrainState:
    """What `create` would give, as jax.ShapeDtypeStructs that say where each leaf lies: nothing is drawn."""
    params, model_state = task.shapes(batch)
    count: Any = jax.ShapeDtypeStruct((), jnp.int32)
    found = TrainState(
        step=count,
        params=params,
        model_state=model_state,
        opt_state=jax.eval_shape(optimizer.init, params),
        metrics=_metric_shapes(task, params, model_state, batch),
        dropped=count,
        dropped_total=count,
    )
    return sharding.with_shardings(found, sharding.state_shardings(found, mesh))


def zeros(shapes: PyTree) -> PyTree:
    """Zeros on the host for every leaf."""
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)


def _metric_shapes(task: Task, params: Params, model_state: ModelState, batch: Batch) -> Metrics:
    """The task's training metrics, found by an abstract run of its loss."""

    def metrics_of(params: Params, model_state: ModelState, batch: Batch) -> Metrics:
        return task.loss(params, model_state, batch, key=jax.random.key(0), train=True)[1][1]

    return jax.eval_shape(metrics_of, params, model_state, batch)


def stream_key(seed: int, purpose: str, step: Array | int) -> Key:
    """The PRNG key of one purpose at one step: fold_in(key(SHA-256 of seed and purpose), step).

    The root of each stream is a hash, made on the host, so that a compiled step holds one derivation and not two.
    """
    root: Any = np.frombuffer(hashlib.sha256(f"{seed} {purpose}".encode()).digest()[:8], "<u4").astype(np.uint32)
    return jax.random.fold_in(jax.random.wrap_key_data(root, impl="threefry2x32"), step)
