"""Many short trainings on scikit-learn's digits: one compiled update a model, the learning rate its argument."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax import models, optim
from cs231n_jax.data import DataConfig, open_source
from cs231n_jax.models import functional
from cs231n_jax.ops import augment
from cs231n_jax.ops.losses import softmax_cross_entropy
from experiments.studies.dense_runs import order

BATCH = 64
Make = Callable[[Callable[[Any], Any]], optim.GradientTransformation]  # schedule -> optimizer


class Curves(NamedTuple):
    """What some runs gave; the first axes are those of the rates and the seeds."""

    loss: np.ndarray  # [rates, seeds, updates]: training loss of each batch, nats
    test_loss: np.ndarray  # [rates, seeds]: at the end
    test_error: np.ndarray  # [rates, seeds]: at the end, share


@cache
def digits() -> dict[str, np.ndarray]:
    """The 898 training and 899 test images, standardised [N, 8, 8, 1], and their labels."""
    train, test = (open_source(DataConfig(name="digits"), part) for part in ("train", "eval"))
    train, test = train[np.arange(len(train))], test[np.arange(len(test))]
    mean, std = train["image"].mean(), train["image"].std()
    scale = lambda images: ((images - mean) / std).astype(np.float32)  # noqa: E731
    return {
        "train_x": scale(train["image"]),
        "train_y": train["label"],
        "test_x": scale(test["image"]),
        "test_y": test["label"],
    }


def enlarge(images: Any) -> Any:
    """8×8 -> 32×32, each pixel sixteen times: the size that LeNet-5 takes."""
    return jnp.repeat(jnp.repeat(images, 4, axis=1), 4, axis=2)


MODELS: dict[str, tuple[dict[str, Any], Callable[[Any], Any]]] = {
    "mlp": ({}, lambda images: images),
    "lenet5": ({}, enlarge),
    "resnet8": ({}, lambda images: images),
}


def train(
    name: str,
    make: Make,
    shape: Callable[[Any], Any],
    rates: Sequence[float],
    seeds: int,
    epochs: int,
    *,
    shift: int = 0,
) -> Curves:
    """Train a model once for every rate and seed.

    Args:
        name: of MODELS.
        make: the optimizer, given its schedule.
        shape: updates done -> share of the rate.
        rates: learning rates.
        seeds: each draws its own parameters and its own order of the images, the same for all rates.
        epochs: of 14 batches of 64.
        shift: each training image is moved by up to this many pixels, another way each time.

    Returns:
        the training losses and the results on the test images.
    """
    runs = [(rate, seed) for rate in rates for seed in range(seeds)]
    # On CPU a convolution over several members at once is slower than one after the other, a matrix product faster.
    together = name == "mlp"
    runner = _Runner(name, make, shape, shift, together)
    results = [runner.run(group, epochs) for group in ([runs] if together else [[run] for run in runs])]
    parts = [np.concatenate(part) for part in zip(*results)]
    return Curves(*(part.reshape(len(rates), seeds, *part.shape[1:]) for part in parts))


def batches(seed: int, epochs: int) -> np.ndarray:
    """The images of every batch [updates, BATCH]."""
    return order(seed, len(digits()["train_y"]), BATCH, epochs)


class _Runner:
    """The compiled functions of one model and optimizer, for one run or for several at once."""

    def __init__(self, name: str, make: Make, shape: Callable[[Any], Any], shift: int, together: bool):
        options, self._view = MODELS[name]
        self._model = models.create(name, num_classes=10, **options)
        self._make, self._shape, self._shift, self._together = make, shape, shift, together
        self._data = {key: jnp.asarray(value) for key, value in digits().items()}
        over_runs = jax.vmap if together else lambda function: function
        self._jitted_update = jax.jit(over_runs(self._update), donate_argnums=0)
        self._jitted_test = jax.jit(over_runs(self._test))

    def run(self, runs: Sequence[tuple[float, int]], epochs: int) -> tuple[np.ndarray, ...]:
        """(losses [runs, updates], test losses [runs], test errors [runs])."""
        pack = (lambda xs: jax.tree.map(lambda *x: jnp.stack(x), *xs)) if self._together else (lambda xs: xs[0])
        state = pack([self._start(seed) for _, seed in runs])
        rates = pack([jnp.float32(rate) for rate, _ in runs])
        picked = np.stack([batches(seed, epochs) for _, seed in runs], axis=1)
        losses = []
        keys = np.stack(
            [np.random.default_rng(~seed % 2**32).integers(0, 2**31, len(picked)) for _, seed in runs], axis=1
        )
        for batch, key in zip(picked, keys) if self._together else zip(picked[:, 0], keys[:, 0]):
            state, loss = self._jitted_update(state, rates, batch, key)
            losses.append(loss)
        curves = np.array(jax.device_get(losses)).reshape(len(losses), len(runs)).T
        return curves, *(np.asarray(x).reshape(len(runs)) for x in self._jitted_test(state))

    def _start(self, seed: int) -> Any:
        image = jax.eval_shape(self._view, self._data["train_x"][:1])
        params, model_state = functional.init(self._model, seed, image)
        return params, model_state, self._optimizer(jnp.float32(0)).init(params)

    def _optimizer(self, rate: Any) -> optim.GradientTransformation:
        return self._make(lambda count: rate * self._shape(count))

    def _update(self, state: Any, rate: Any, picked: Any, key: Any) -> Any:
        params, model_state, opt_state = state
        images, labels = self._data["train_x"][picked], self._data["train_y"][picked]
        if self._shift:
            black = self._data["train_x"].min()
            images = black + augment.random_crop(jax.random.key(key), images - black, padding=self._shift)
        images = self._view(images)

        def loss(params: Any) -> Any:
            logits, new = functional.apply(self._model, params, model_state, images, train=True, noise=False)
            return softmax_cross_entropy(logits, labels).mean(), new

        (value, model_state), grads = jax.value_and_grad(loss, has_aux=True)(params)
        updates, opt_state = self._optimizer(rate).update(grads, opt_state, params)
        return (optim.apply_updates(params, updates), model_state, opt_state), value

    def _test(self, state: Any) -> Any:
        logits, _ = functional.apply(self._model, state[0], state[1], self._view(self._data["test_x"]))
        labels = self._data["test_y"]
        return softmax_cross_entropy(logits, labels).mean(), (logits.argmax(-1) != labels).mean()
