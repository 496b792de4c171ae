"""How batches reach the compiled step: one after the other from the host, or from a data set that is on the devices."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cs231n_jax.train import sharding
from cs231n_jax.train.assemble import Assembly
from cs231n_jax.train.state import TrainState
from cs231n_jax.typing import Array, Batch

Step = Callable[[TrainState, Batch], TrainState]


class Feed(NamedTuple):
    """A way of feeding a step."""

    shapes: tuple[Any, ...]  # of what `take` returns, with shardings, to compile for: one entry a declared length
    most: int  # updates in one call
    take: Callable[[int, int], Any]  # (updates done, updates to do in this call) -> arguments on the devices
    which: Callable[[int], int]  # updates done -> the entry of `shapes` that `take` then has
    apply: Callable[[Step, TrainState, Any], TrainState]  # inside the compiled call


def make_feed(assembly: Assembly) -> Feed:
    """The feed that `train.steps_per_call` asks for: streamed for 1, resident for more."""
    calls = assembly.config.train.steps_per_call
    return _resident(assembly, calls) if calls > 1 else _streamed(assembly)


def _streamed(assembly: Assembly) -> Feed:
    def take(done: int, count: int) -> Batch:
        del count
        return sharding.put_batch(assembly.pipeline.batch(done), assembly.mesh)

    def apply(step: Step, state: TrainState, batch: Batch) -> TrainState:
        return step(state, batch)

    return Feed(assembly.bucket_shapes, 1, take, assembly.pipeline.bucket, apply)


def _resident(assembly: Assembly, most: int) -> Feed:
    """The whole training split on every device, as it is stored (uint8 images); the host sends indices.

    A call makes `count` ≤ `most` updates in one compiled loop: an accelerator then never waits for the host. On
    XLA:CPU convolutions in a loop run on one core, so there it is slower.
    """
    mesh, pipeline = assembly.mesh, assembly.pipeline
    source = assembly.train_source
    data = {name: sharding.replicate(x, mesh) for name, x in source[np.arange(len(source))].items()}
    across = NamedSharding(mesh, PartitionSpec(None, sharding.BATCH_AXES))
    one = jax.ShapeDtypeStruct((), np.int32, sharding=sharding.replicated(mesh))
    order = jax.ShapeDtypeStruct((most, pipeline.batch_size), np.int32, sharding=across)
    draws = {name: jax.ShapeDtypeStruct(order.shape, x.dtype, sharding=across) for name, x in pipeline.draws(0).items()}

    def take(done: int, count: int) -> Any:
        steps = [done + min(i, count - 1) for i in range(most)]
        rows = np.stack([pipeline.indices(step) for step in steps]).astype(np.int32)
        order = jax.make_array_from_process_local_data(across, rows)
        each = [pipeline.draws(step) for step in steps]
        drawn = {name: np.stack([draws[name] for draws in each]) for name in each[0]}
        draws = {name: jax.make_array_from_process_local_data(across, x) for name, x in drawn.items()}
        return data, order, sharding.replicate(np.int32(count), mesh), draws

    def apply(step: Step, state: TrainState, given: Any) -> TrainState:
        data, order, count, draws = given
        return many_updates(step, state, data, order, count, mesh, draws)

    shapes = sharding.with_shardings(data, sharding.replicated(mesh))
    return Feed(((shapes, order, one, draws),), most, take, lambda done: 0, apply)


def many_updates(
    step: Step, state: TrainState, data: Batch, order: Array, count: Array | int, mesh: Mesh, draws: Batch | None = None
) -> TrainState:
    """`count` updates in one loop, inside a compiled call.

    Args:
        step: one update.
        state: before the first of them.
        data: the whole training split on the devices, by name, [examples, …].
        order: int32 [at least count, batch], the examples of each update.
        count: how many rows of `order` are used.
        mesh: the devices, over which each batch is split.
        draws: what else a batch holds, by name, [at least count, batch].
    """
    draws = draws or {}

    def body(i: Any, state: TrainState) -> TrainState:
        batch = {name: x[order[i]] for name, x in data.items()} | {name: x[i] for name, x in draws.items()}
        return step(state, jax.lax.with_sharding_constraint(batch, sharding.batch_sharding(mesh)))

    return jax.lax.fori_loop(0, count, body, state)
