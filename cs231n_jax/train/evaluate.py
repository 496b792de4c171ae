"""Evaluation over a whole source: every example exactly once, whatever the batch size or the devices."""

from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh

from cs231n_jax.data import eval_batches
from cs231n_jax.tasks.base import Metrics, Task
from cs231n_jax.train import carry, record, sharding, snapshots
from cs231n_jax.train.assemble import Assembly, assemble_here
from cs231n_jax.train.signals import Interrupted
from cs231n_jax.typing import Array, Batch, ModelState, Params

CUT = "interrupted in the evaluation, of which nothing is kept"


def make_eval_step(task: Task, mesh: Mesh | None = None) -> Callable[[Params, ModelState, Batch], Metrics]:
    """The function (params, model_state, batch) -> metrics of one masked batch, to be jitted."""

    def eval_step(params: Params, model_state: ModelState, batch: Batch) -> Metrics:
        return task.loss(sharding.whole(params, mesh), model_state, batch, key=None, train=False)[1][1]

    return eval_step


def evaluate(
    eval_step: Callable[[Params, ModelState, Batch], Metrics],
    params: Params,
    model_state: ModelState,
    batches: Iterator[Batch],
    should_stop: Callable[[], bool] = lambda: False,
) -> Metrics | None:
    """Metrics over all batches, added up in float64 on the host; None if `should_stop` said so in between."""
    total: Metrics | None = None
    for batch in batches:
        if should_stop():
            return None
        metrics = jax.device_get(eval_step(params, model_state, batch))
        metrics = jax.tree.map(lambda x: np.asarray(x, np.float64), metrics)
        total = metrics if total is None else {name: total[name] + metrics[name] for name in metrics}
    if total is None:
        raise ValueError("there is nothing to evaluate: the source has no examples")
    return total


def device_batches(assembly: Assembly) -> Iterator[Batch]:
    """The evaluation split in padded and masked batches on the devices."""
    processes = {"process_index": jax.process_index(), "process_count": jax.process_count()}
    for batch in eval_batches(assembly.eval_source, assembly.eval_batch_size, **processes):
        yield sharding.put_batch(batch, assembly.mesh)


def outputs(
    assembly: Assembly,
    predict: Callable[[Batch, int], tuple[Array, Array]],
    should_stop: Callable[[], bool] = lambda: False,
) -> np.ndarray:
    """The evaluation split by `predict`, (batch, its number) -> ([..., b, K], mask [b]), as float64 [..., N, K].

    Raises:
        Interrupted: `should_stop` said so between two batches.
    """
    found = []
    for number, batch in enumerate(device_batches(assembly)):
        if should_stop():
            raise Interrupted(CUT)
        values, mask = sharding.to_host(predict(batch, number))
        found.append(values.astype(np.float64)[..., mask > 0, :])
    return np.concatenate(found, axis=-2)


def evaluate_snapshot(
    workdir: Path,
    step: str = "latest",
    warn: Callable[[str], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[int, dict[str, float]]:
    """The metrics of one snapshot of a run on its evaluation split.

    Args:
        workdir: the run directory.
        step: a step, or "latest" for the newest whole snapshot.
        warn: told of each damaged snapshot that was passed.
        should_stop: looked at before every batch.

    Returns:
        (the step, the task's metrics as numbers).

    Raises:
        FileNotFoundError: there is no run or no such snapshot.
        DamagedSnapshotError: the snapshot asked for is damaged.
        Interrupted: `should_stop` said so.
    """
    assembly = assemble_here(record.stored_config(workdir), should_stop)
    found = snapshots.resolve(workdir, step, warn)
    _, params, model_state = snapshots.load(workdir, found)
    params, model_state = sharding.put_state((params, carry.without(model_state)), assembly.mesh)
    eval_step = jax.jit(make_eval_step(assembly.task, assembly.mesh), out_shardings=sharding.replicated(assembly.mesh))
    metrics = evaluate(eval_step, params, model_state, device_batches(assembly), should_stop)
    if metrics is None:
        raise Interrupted(CUT)
    return found, assembly.task.summarize(metrics)
