"""One update as a pure function."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from cs231n_jax import optim
from cs231n_jax.models.base import stage_of
from cs231n_jax.optim.base import SMALL, run_update
from cs231n_jax.tasks.base import Metrics, Task
from cs231n_jax.train import sharding
from cs231n_jax.train.accumulate import Sums, in_pieces
from cs231n_jax.train.state import TrainState, stream_key
from cs231n_jax.typing import Array, Batch, Key, ModelState, Params, PyTree


def make_train_step(
    task: Task,
    optimizer: optim.GradientTransformation,
    seed: int,
    max_dropped: int = 0,
    *,
    accumulate: int = 1,
    mesh: Mesh | None = None,
    frozen: Sequence[str] = (),
) -> Callable[[TrainState, Batch], TrainState]:
    """The function (state, batch) -> state of one update, to be jitted with the state donated.

    The loss is differentiated as a sum and divided by the global count, so that masks, uneven batches, micro-batches
    and devices give the same gradient. Where the loss, a gradient, a new parameter, a slot of the optimizer or a
    statistic is not finite, the whole update is dropped (parameters, statistics, metrics and optimizer state stay) and
    counted, in `state.dropped` while they come in a row; after more than `max_dropped` of these nothing moves any more,
    until the loop looks and stops.

    On a mesh whose fsdp axis splits the state, parameters are gathered for use and gradients are split again before
    the optimizer sees them: its work and its slots are divided among the devices.

    On a CPU, where a kernel for every shape costs compile time, the norm of the gradient is taken of the packed sums
    and given to the optimizer; where that keeps a norm in its state, this one tells whether the gradient is finite
    (of elements that are, it is infinite from 1.8e19 on, and the update is dropped).

    Args:
        task: what is trained.
        optimizer: its gradient transformation.
        seed: the run's seed.
        max_dropped: updates dropped in a row that are put up with.
        accumulate: micro-batches that each batch is worked through in (see `accumulate.in_pieces`).
        mesh: the devices; None where nothing is split over them.
        frozen: stages that the optimizer leaves where they are: gradients end above them, and cost nothing there.
    """

    def held(params: Params) -> Params:
        if not frozen:
            return params
        return {
            name: jax.lax.stop_gradient(part) if stage_of(name) in frozen else part for name, part in params.items()
        }

    def gradient(params: Params, model_state: ModelState, batch: Batch, key: Key) -> tuple[Sums, ModelState]:
        def total_loss(params: Params) -> tuple[Array, tuple[Array, ModelState, Metrics]]:
            mean, (new_state, metrics) = task.loss(held(params), model_state, batch, key=key, train=True)
            return mean.total, (mean.count, new_state, metrics)

        (total, (count, new_state, metrics)), grads = jax.value_and_grad(total_loss, has_aux=True)(params)
        return Sums(total, count, metrics, grads), new_state

    on_cpu = (mesh.devices.flat[0].platform if mesh else jax.default_backend()) == "cpu"
    summed = in_pieces(gradient, accumulate, unroll=on_cpu)
    choose = _branch if on_cpu else _select
    finite_in = functools.partial(optim.all_finite, largest=_put_together(mesh, on_cpu))

    def train_step(state: TrainState, batch: Batch) -> TrainState:
        key = stream_key(seed, "train", state.step)
        sums, model_state = summed(sharding.whole(state.params, mesh), state.model_state, batch, key)
        summed_grads = sharding.split(sums.grads, mesh)
        grads = jax.tree.map(lambda g: g / sums.count.astype(g.dtype), summed_grads)
        known = {"gradient_norm": optim.global_norm(summed_grads, sums.count)} if on_cpu else {}

        updates, opt_state = run_update(optimizer, grads, state.opt_state, state.params, known)
        running = {name: state.metrics[name] + sums.metrics[name] for name in sums.metrics}
        moved = optim.apply_updates(state.params, updates)
        new = (moved, model_state, opt_state)
        if known and "gradient_norm" in optim.measurements(opt_state):
            finite = jnp.isfinite(known["gradient_norm"]) & finite_in(new)
        else:
            finite = finite_in((grads, *new))
        good = finite & jnp.isfinite(sums.total) & (state.dropped <= max_dropped)
        kept = TrainState(state.step + 1, *new, running, jnp.zeros_like(state.dropped), state.dropped_total)
        dropped = state._replace(step=state.step + 1, dropped=state.dropped + 1, dropped_total=state.dropped_total + 1)
        return choose(good, kept, dropped)

    return train_step


def _put_together(mesh: Mesh | None, on_cpu: bool) -> int:
    """Up to how many elements leaves are looked through for NaN at once; of those that are split none."""
    if mesh is not None and mesh.shape["fsdp"] > 1:
        return sharding.SPLIT_FROM - 1
    return 1 << 20 if on_cpu else SMALL


def _branch(good: Array, new: PyTree, old: PyTree) -> PyTree:
    """One of two trees by a branch: copies in place of a kernel to compile for each shape."""
    return jax.lax.cond(good, lambda new, old: new, lambda new, old: old, new, old)


def _select(good: Array, new: PyTree, old: PyTree) -> PyTree:
    """One of two trees leaf by leaf: an accelerator does not wait for the condition."""
    return jax.tree.map(lambda a, b: jnp.where(good, a, b), new, old)
