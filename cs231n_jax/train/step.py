"""One update as a pure function."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from cs231n_jax import optim
from cs231n_jax.tasks.base import Metrics, Task
from cs231n_jax.train.state import TrainState, stream_key
from cs231n_jax.typing import Array, Batch, ModelState, Params


def make_train_step(
    task: Task, optimizer: optim.GradientTransformation, seed: int, max_dropped: int = 0
) -> Callable[[TrainState, Batch], TrainState]:
    """The function (state, batch) -> state of one update, to be jitted with the state donated.

    The loss is differentiated as a sum and divided by the global count, so that masks, uneven batches and devices
    give the same gradient. Where the loss, a gradient, a new parameter or a statistic is not finite, the whole update
    is dropped (parameters, statistics, metrics and optimizer state stay) and counted, in `state.dropped` while they
    come in a row; after more than `max_dropped` of these nothing moves any more, until the loop looks and stops.
    """

    def train_step(state: TrainState, batch: Batch) -> TrainState:
        key = stream_key(seed, "train", state.step)

        def total_loss(params: Params) -> tuple[Array, tuple[Array, ModelState, Metrics]]:
            mean, (model_state, metrics) = task.loss(params, state.model_state, batch, key=key, train=True)
            return mean.total, (mean.count, model_state, metrics)

        (total, (count, model_state, metrics)), grads = jax.value_and_grad(total_loss, has_aux=True)(state.params)
        grads = jax.tree.map(lambda g: g / count.astype(g.dtype), grads)

        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        running = {name: state.metrics[name] + metrics[name] for name in metrics}
        moved = optim.apply_updates(state.params, updates)
        good = jnp.isfinite(total) & optim.all_finite((grads, moved, model_state)) & (state.dropped <= max_dropped)
        new = (moved, model_state, opt_state, running)
        old = (state.params, state.model_state, state.opt_state, state.metrics)
        params, new_model_state, opt_state, running = jax.tree.map(lambda a, b: jnp.where(good, a, b), new, old)
        return TrainState(
            step=state.step + 1,
            params=params,
            model_state=new_model_state,
            opt_state=opt_state,
            metrics=running,
            dropped=jnp.where(good, 0, state.dropped + 1).astype(jnp.int32),
            dropped_total=state.dropped_total + jnp.where(good, 0, 1).astype(jnp.int32),
        )

    return train_step
