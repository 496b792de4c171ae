"""Many trainings of fully connected nets at once: the runs are one more axis of every array."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax import optim
from cs231n_jax.data import DataConfig, open_source
from cs231n_jax.ops.losses import softmax_cross_entropy

# (params, model_state, images, train) -> (logits, new model_state)
Apply = Callable[[Any, Any, Any, bool], tuple[Any, Any]]
Data = dict[str, np.ndarray]  # train_x [N, H, W, C], train_y [N], test_x, test_y


class Plan(NamedTuple):
    """How long, and how often the errors are taken."""

    epochs: int
    batch: int = 64
    checks: int = 1  # an epoch


class History(NamedTuple):
    """What the runs gave; the first axis is theirs."""

    loss: np.ndarray  # [runs, updates]: training loss of each batch, nats
    train_error: np.ndarray  # [runs, checks]: share of all training images, in inference
    test_error: np.ndarray  # [runs, checks]
    params: Any  # [runs, ...]: at the end


def real_images(name: str, limit: int, tests: int) -> Data | None:
    """The first images of a set that is prepared here, pixels 0 … 255; None where it is not.

    Args:
        name: of the data, such as "cifar10".
        limit: training images.
        tests: test images.
    """
    try:
        parts = [open_source(DataConfig(name=name, limit=limit), part) for part in ("train", "eval")]
    except FileNotFoundError:
        return None
    train, test = (part[np.arange(count)] for part, count in zip(parts, (limit, tests)))
    return {
        "train_x": np.asarray(train["image"], np.float32),
        "train_y": np.asarray(train["label"], np.int32),
        "test_x": np.asarray(test["image"], np.float32),
        "test_y": np.asarray(test["label"], np.int32),
    }


def standardized(data: Data) -> Data:
    """Images with the mean 0 and the standard deviation 1 over all pixels of the training images."""
    mean, std = data["train_x"].mean(), data["train_x"].std()
    return {key: (value - mean) / std if key.endswith("_x") else value for key, value in data.items()}


def train(
    apply: Apply,
    starts: Sequence[tuple[Any, Any]],
    make: Callable[[Any], optim.GradientTransformation],
    rates: Sequence[float],
    seeds: Sequence[int],
    data: Data,
    plan: Plan,
) -> History:
    """Train one net from several starts, each at a rate and with an order of the images of its own.

    Args:
        apply: the net.
        starts: (params, model_state) of each run.
        make: learning rate -> optimizer.
        rates: of each run.
        seeds: of each run, for the order of the images.
        data: images and labels.
        plan: epochs and batches.

    Returns:
        losses, errors and the final parameters.
    """
    arrays = {key: jnp.asarray(value) for key, value in data.items()}
    size = len(data["train_y"]) // plan.batch
    orders = np.stack([order(seed, len(data["train_y"]), plan.batch, plan.epochs) for seed in seeds], axis=1)
    checks = {round(size * k / plan.checks) for k in range(1, plan.epochs * plan.checks + 1)}
    params, model_state = (jax.tree.map(lambda *leaf: jnp.stack(leaf), *part) for part in zip(*starts))
    opt_state = jax.vmap(lambda p: make(jnp.float32(0)).init(p))(params)

    def update(state: Any, rate: Any, picked: Any) -> Any:
        params, model_state, opt_state = state
        images, labels = arrays["train_x"][picked], arrays["train_y"][picked]

        def loss(params: Any) -> Any:
            logits, new = apply(params, model_state, images, True)
            return softmax_cross_entropy(logits, labels).mean(), new

        (value, model_state), grads = jax.value_and_grad(loss, has_aux=True)(params)
        updates, opt_state = make(rate).update(grads, opt_state, params)
        return (optim.apply_updates(params, updates), model_state, opt_state), value

    def errors(state: Any) -> Any:
        found = [apply(state[0], state[1], arrays[f"{part}_x"], False)[0] for part in ("train", "test")]
        return [(z.argmax(-1) != arrays[f"{part}_y"]).mean() for z, part in zip(found, ("train", "test"))]

    jitted_update, jitted_errors = jax.jit(jax.vmap(update), donate_argnums=0), jax.jit(jax.vmap(errors))
    state, column = (params, model_state, opt_state), jnp.asarray(rates, jnp.float32)
    losses, found = [], []
    for done, picked in enumerate(orders, 1):
        state, loss = jitted_update(state, column, picked)
        losses.append(loss)
        if done in checks:
            found.append(jitted_errors(state))
    train_error, test_error = (np.stack(part, axis=1) for part in zip(*jax.device_get(found)))
    return History(np.stack(jax.device_get(losses), axis=1), train_error, test_error, state[0])


def order(seed: int, size: int, batch: int, epochs: int) -> np.ndarray:
    """The images of every batch [updates, batch]; what does not fill a batch is left out of an epoch."""
    random = np.random.default_rng(seed)
    orders = [random.permutation(size)[: size // batch * batch].reshape(-1, batch) for _ in range(epochs)]
    return np.concatenate(orders).astype(np.int32)
