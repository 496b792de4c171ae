"""Members through the network: their outputs over the test set, and batch statistics over the training set.

Members are read and evaluated one after another, so that memory holds one of them and one batch beside the outputs.
Several can go through the network together, as one batched program: faster on a GPU or TPU, far slower on a CPU.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax.train import average, sharding
from cs231n_jax.train.assemble import Assembly
from cs231n_jax.train.evaluate import outputs
from cs231n_jax.train.members import Member, load
from cs231n_jax.train.signals import Interrupted
from cs231n_jax.train.state import stream_key
from cs231n_jax.typing import Batch, Key, ModelState, Params

Stop = Callable[[], bool]
Weights = tuple[Params, ModelState]


class Evaluator:
    """The compiled programs that every member goes through: outputs of the test set, moments of the training set."""

    def __init__(self, assembly: Assembly, should_stop: Stop = lambda: False):
        """`assembly`: the run of the members, or one like it; `should_stop`: looked at between batches."""
        self._assembly, self._should_stop = assembly, should_stop
        mesh, task = assembly.mesh, assembly.task

        def predict(weights: Weights, batch: Batch) -> tuple[jax.Array, jax.Array]:
            logits = task.predict(sharding.whole(weights[0], mesh), weights[1], batch)
            return jax.nn.log_softmax(logits), task.labels(batch)[1]

        def predict_all(weights: list[Weights], batch: Batch) -> tuple[jax.Array, jax.Array]:
            stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *weights)
            return jax.vmap(lambda one: predict(one, batch)[0])(stacked), task.labels(batch)[1]

        self._predict, self._predict_all = jax.jit(predict), jax.jit(predict_all)
        self._moments = jax.jit(average.make_moments_step(task), out_shardings=sharding.replicated(mesh))

    def of_each(self, members: Sequence[Member], together: int = 1) -> Iterator[np.ndarray]:
        """`log_probabilities` of one member after another, of which `together` are loaded and computed at once."""
        for first in range(0, len(members), together):
            yield from self._of(members[first : first + together])

    def _of(self, members: Sequence[Member]) -> np.ndarray:
        """float64 [M, N, K]; what was loaded is gone when this returns."""
        if len(members) == 1:
            return self._outputs(self._predict, self._put(load(members[0])))[None]
        return self._outputs(self._predict_all, [self._put(load(member)) for member in members])

    def log_probabilities(self, params: Params, model_state: ModelState) -> np.ndarray:
        """Logarithms of the softmax outputs for the whole evaluation split, float64 [N, K]."""
        return self._outputs(self._predict, self._put((params, model_state)))

    def _put(self, weights: Weights) -> Weights:
        return sharding.put_state(weights, self._assembly.mesh)

    def _outputs(self, predict: Callable[[Any, Batch], Any], weights: Any) -> np.ndarray:
        def of_batch(batch: Batch, number: int) -> Any:
            del number
            _check(self._should_stop)
            return predict(weights, batch)

        return outputs(self._assembly, of_batch)

    def reestimated(self, params: Params, model_state: ModelState) -> ModelState:
        """`model_state` with the statistics that belong to `params`."""
        params, model_state = self._put((params, model_state))
        batches = _training_batches(self._assembly, self._should_stop)
        return average.reestimate(self._moments, params, model_state, batches)


def _training_batches(assembly: Assembly, should_stop: Stop) -> Iterator[tuple[Batch, Key]]:
    """One epoch of training batches, augmented as in training, with the keys of their own stream."""
    for step in range(assembly.pipeline.steps_per_epoch):
        _check(should_stop)
        batch = sharding.put_batch(assembly.pipeline.batch(step), assembly.mesh)
        yield batch, stream_key(assembly.config.seed, "reestimate", jnp.int32(step))


def _check(should_stop: Stop) -> None:
    if should_stop():
        raise Interrupted("interrupted while comparing the members, of which nothing is kept")
