"""Averages of weights, of batch statistics and of predictions, as pure functions."""

from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax.tasks.base import Task
from cs231n_jax.typing import Array, Batch, Key, ModelState, Params, PyTree


def mean(trees: Iterable[PyTree]) -> PyTree:
    """The elementwise mean of k trees of arrays, summed in float64, in the dtype of the first.

    The trees may come from a generator: one at a time is held, beside the sum.

    Reference: Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima" (uniform weights).

    Raises:
        ValueError: there is no tree, or structures or shapes differ; the message names the first path.
    """
    first, total, count = None, None, 0
    for tree in trees:
        wide = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)
        if first is None:
            first, total = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree), wide
        else:
            _same_shapes(first, tree)
            total = jax.tree.map(np.add, total, wide)
        count += 1
    if not count:
        raise ValueError("the mean of no trees does not exist: pass at least one")
    return jax.tree.map(lambda s, like: np.asarray(s / count).astype(like.dtype), total, first)


def ema(average: PyTree, new: PyTree, decay: float) -> PyTree:
    """Exponential moving average: decay·average + (1 − decay)·new, in the dtype of `average`.

    Reference: Polyak, Juditsky 1992 (averaging of iterates); cs231n notes, "model ensembles" (a running average of
    the parameters).
    """
    return jax.tree.map(lambda a, n: (decay * a + (1.0 - decay) * n.astype(a.dtype)).astype(a.dtype), average, new)


def make_moments_step(task: Task) -> Callable[[Params, ModelState, Batch, Key], PyTree]:
    """The function (params, model_state, batch, key) -> plain batch moments of every BatchNorm, to be jitted."""

    def moments_step(params: Params, model_state: ModelState, batch: Batch, key: Key) -> PyTree:
        asking = {**model_state, "batch_moments": {}}
        _, (filled, _) = task.loss(params, asking, batch, key=key, train=True)
        return filled["batch_moments"]

    return moments_step


def pooled_moments(moments: Iterable[PyTree]) -> PyTree:
    """Mean and variance over the union of equally large batches from those of each batch, in float64.

    With equal sizes, mean = avg(mean_b) and var = avg(var_b) + avg((mean_b − mean)²), updated batch by batch without
    cancellation; this is exact, unlike a moving average of the batches.

    Args:
        moments: one tree a batch, whose leaves come in pairs {"mean": [C], "var": [C]}.

    Returns:
        the same tree for the union, float64.

    Reference: Chan, Golub, LeVeque 1983, "Algorithms for Computing the Sample Variance", equation 2.1.
    """
    pooled = None
    for count, moment in enumerate(moments):
        batch = jax.tree.map(lambda x: np.asarray(x, np.float64), jax.device_get(moment))
        pooled = batch if pooled is None else _merge(pooled, batch, count)
    if pooled is None:
        raise ValueError("batch statistics cannot be estimated from no batches: pass at least one")
    return pooled


def _merge(pooled: PyTree, batch: PyTree, count: int) -> PyTree:
    if "mean" not in pooled:
        return {name: _merge(pooled[name], batch[name], count) for name in pooled}
    delta = batch["mean"] - pooled["mean"]
    share = 1.0 / (count + 1)
    return {
        "mean": pooled["mean"] + delta * share,
        "var": pooled["var"] + (batch["var"] - pooled["var"]) * share + delta**2 * (count * share**2),
    }


def reestimate(
    moments_step: Callable[[Params, ModelState, Batch, Key], PyTree],
    params: Params,
    model_state: ModelState,
    batches: Iterable[tuple[Batch, Key]],
) -> ModelState:
    """`model_state` with batch statistics that belong to `params`: exact pooled moments over `batches`.

    Averaged weights need this: the running statistics of any one snapshot are those of another network.
    A model without batch statistics is returned as it is.

    Reference: Izmailov et al. 2018, section 3.2 (a pass over the data after averaging).
    Deviation: pooled moments with the variance between batches included; the authors' code takes the plain mean of
    the batches' variances.
    """
    if not model_state.get("batch_stats"):
        return model_state
    pooled = pooled_moments(moments_step(params, model_state, batch, key) for batch, key in batches)
    return {**model_state, "batch_stats": _replaced(model_state["batch_stats"], pooled)}


def _replaced(old: PyTree, new: PyTree) -> PyTree:
    """`old` with the leaves that `new` has; frozen layers leave no moments and keep their statistics."""
    if not isinstance(old, dict):
        return jnp.asarray(new, jnp.asarray(old).dtype)
    return {name: _replaced(part, new[name]) if name in new else part for name, part in old.items()}


def _same_shapes(a: PyTree, b: PyTree) -> None:
    shapes_a, shapes_b = ({jax.tree_util.keystr(p): np.shape(x) for p, x in _leaves(t)} for t in (a, b))
    for path in sorted(set(shapes_a) | set(shapes_b)):
        if shapes_a.get(path) != shapes_b.get(path):
            raise ValueError(
                f"trees of different models cannot be averaged: {path} has shape {shapes_a.get(path)} in the first "
                f"and {shapes_b.get(path)} in another"
            )


def _leaves(tree: PyTree) -> list[tuple[tuple, Array]]:
    return jax.tree_util.tree_flatten_with_path(tree)[0]
