"""Evaluation over a whole source: every example exactly once, whatever the batch size or the devices."""

from collections.abc import Callable, Iterator

import jax
import numpy as np

from cs231n_jax.tasks.base import Metrics, Task
from cs231n_jax.typing import Batch, ModelState, Params


def make_eval_step(task: Task) -> Callable[[Params, ModelState, Batch], Metrics]:
    """The function (params, model_state, batch) -> metrics of one masked batch, to be jitted."""

    def eval_step(params: Params, model_state: ModelState, batch: Batch) -> Metrics:
        return task.loss(params, model_state, batch, key=None, train=False)[1][1]

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
