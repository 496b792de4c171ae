"""One convolutional net trained on images that fit in memory, the same for several seeds."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax import optim
from cs231n_jax.models import functional
from cs231n_jax.ops.losses import softmax_cross_entropy
from experiments.studies.dense_runs import Data, Plan, order

MOMENTUM = 0.9
Weights = tuple[Any, Any]  # (params, model_state)


class Run(NamedTuple):
    """A trained net."""

    weights: Weights
    loss: np.ndarray  # [updates]: of the main scores on each batch, nats
    measured: np.ndarray  # [updates, ...]: what was asked of each gradient


def losses(model: Any, weights: Weights, images: Any, labels: Any) -> tuple[dict[str, Any], Any]:
    """The mean cross-entropy of every head by its name, in training without noise; and the new model state."""
    params, model_state = weights
    scores, new = functional.apply(model, params, model_state, images, train=True, noise=False, method="features")
    return {head: softmax_cross_entropy(scores[head], labels).mean() for head in ("logits", *model.auxiliary)}, new


def weighted(model: Any, by_head: dict[str, Any]) -> Any:
    """The training loss: the main one and those of auxiliary heads with their weights."""
    return by_head["logits"] + sum(weight * by_head[head] for head, weight in model.auxiliary.items())


def trainer(
    model: Any, data: Data, plan: Plan, rate: float, measure: Callable[[Any], Any] = lambda gradient: ()
) -> Callable[[int], Run]:
    """A function that trains from a seed, compiled once for all of them: momentum 0.9, half a cosine.

    Args:
        model: made by `models.create`.
        data: images and labels.
        plan: epochs and batches; its checks are not used.
        rate: at the start.
        measure: gradient of the training loss by the parameters -> an array that is kept for every update.

    Returns:
        seed, of the parameters and of the order of the images -> the trained net.
    """
    images, labels = (jnp.asarray(data[f"train_{part}"]) for part in "xy")
    updates = len(data["train_y"]) // plan.batch * plan.epochs
    optimizer = optim.momentum(optim.schedules.cosine(rate, updates), momentum=MOMENTUM)

    @jax.jit
    def update(weights: Weights, opt_state: Any, picked: Any) -> Any:
        def loss(params: Any) -> Any:
            by_head, new = losses(model, (params, weights[1]), images[picked], labels[picked])
            return weighted(model, by_head), (by_head["logits"], new)

        grads, (main, new) = jax.grad(loss, has_aux=True)(weights[0])
        moves, opt_state = optimizer.update(grads, opt_state, weights[0])
        return (optim.apply_updates(weights[0], moves), new), opt_state, (main, measure(grads))

    def train(seed: int) -> Run:
        weights = functional.init(model, seed, images[:1])
        opt_state, kept = optimizer.init(weights[0]), []
        for picked in order(seed, len(data["train_y"]), plan.batch, plan.epochs):
            weights, opt_state, found = update(weights, opt_state, picked)
            kept.append(found)
        curve, measured = zip(*jax.device_get(kept))
        return Run(weights, np.array(curve), np.array(measured))

    return train


def error_of(model: Any, data: Data) -> Callable[[Weights], float]:
    """A function that gives the share of the test images that a model has wrong, compiled once for all weights."""
    images, labels = jnp.asarray(data["test_x"]), jnp.asarray(data["test_y"])

    @jax.jit
    def wrong(params: Any, model_state: Any) -> Any:
        logits, _ = functional.apply(model, params, model_state, images)
        return (logits.argmax(-1) != labels).mean()

    return lambda weights: float(wrong(*weights))
