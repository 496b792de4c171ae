"""Averages of weights, of batch statistics and of predictions, as pure functions."""

from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax.tasks.base import Task
from cs231n_jax.typing import Array, Batch, Key, ModelState, Params, PyTree


def mean(trees: Iterable[PyTree]) -> PyTree:
    """The elementwise mean of k trees of arrays, gathered in float64, in the dtype of the first.

    m_n = m_{n−1} + (x_n − m_{n−1}) / n

    The mean of k copies of finite numbers is the tree itself, bit by bit (−0 becomes 0), in every dtype up to float64.
    Another order gives the same up to the rounding of k steps in float64, which may turn the last bit of a narrower
    dtype; means of equal groups round each group's mean, too. The trees may come from a generator: beside the mean in
    float64, one at a time is held.

    Reference: Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima" (uniform weights).

    Raises:
        ValueError: there is no tree, or structures or shapes differ; the message names the first path.
    """
    first, average, count = None, None, 0
    for tree in trees:
        count += 1
        if first is None:
            first = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)
            average = jax.tree.map(lambda leaf: np.array(leaf, np.float64), tree)
        else:
            _same_shapes(first, tree)
            jax.tree.map(lambda m, x, count=count: _move(m, x, count), average, tree)
        del tree  # before the next one is made
    if not count:
        raise ValueError("the mean of no trees does not exist: pass at least one")
    return jax.tree.map(lambda m, like: m.astype(like.dtype), average, first)


def _move(average: np.ndarray, new: Array, count: int) -> None:
    """The running mean of float64 numbers, in place."""
    step = np.asarray(new, np.float64) - average
    step /= count
    average += step


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


def pooled_moments(moments: Iterable[tuple[int, PyTree]]) -> PyTree:
    """Mean and variance over the union of batches from those of each batch, in float64.

    Of n examples so far and a batch of b, with w = b / (n + b) and δ = mean_b − mean:

    mean ← mean + w·δ,  var ← var + w·(var_b − var) + w·(1 − w)·δ²

    This is exact, unlike a moving average of the batches, whatever the sizes, and nothing cancels.

    Args:
        moments: (examples in the batch, tree) of each batch; the leaves come in pairs {"mean": [C], "var": [C]}.

    Returns:
        the same tree for the union, float64.

    Reference: Chan, Golub, LeVeque 1983, "Algorithms for Computing the Sample Variance", equation 2.1.

    Raises:
        ValueError: there is no batch.
    """
    pooled, examples = None, 0
    for size, moment in moments:
        batch = jax.tree.map(lambda x: np.asarray(x, np.float64), jax.device_get(moment))
        examples += size
        pooled = batch if pooled is None else _merge(pooled, batch, size / examples)
    if pooled is None:
        raise ValueError("batch statistics cannot be estimated from no batches: pass at least one")
    return pooled


def _merge(pooled: PyTree, batch: PyTree, share: float) -> PyTree:
    if "mean" not in pooled:
        return {name: _merge(pooled[name], batch[name], share) for name in pooled}
    delta = batch["mean"] - pooled["mean"]
    return {
        "mean": pooled["mean"] + delta * share,
        "var": pooled["var"] + (batch["var"] - pooled["var"]) * share + delta**2 * (share * (1 - share)),
    }


def reestimate(
    moments_step: Callable[[Params, ModelState, Batch, Key], PyTree],
    params: Params,
    model_state: ModelState,
    batches: Iterable[tuple[Batch, Key]],
) -> ModelState:
    """`model_state` with batch statistics that belong to `params`: exact pooled moments over `batches`.

    Averaged weights need this: the running statistics of any one snapshot are those of another network.
    Batches count by their numbers of examples. A model without batch statistics is returned as it is.

    Reference: Izmailov et al. 2018, section 3.2 (a pass over the data after averaging).
    Deviation: pooled moments with the variance between batches included; the authors' code takes the plain mean of
    the batches' variances.
    """
    if not model_state.get("batch_stats"):
        return model_state
    pooled = pooled_moments((_examples(batch), moments_step(params, model_state, batch, key)) for batch, key in batches)
    return {**model_state, "batch_stats": _replaced(model_state["batch_stats"], pooled)}


def _examples(batch: Batch) -> int:
    """The length of the leading axis, which all arrays of a batch share."""
    return len(next(iter(batch.values())))


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
