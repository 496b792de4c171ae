"""The member snapshots of a run side by side: each alone, their predictions averaged, their weights averaged."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax.train import average, record, sharding, snapshots
from cs231n_jax.train.assemble import Assembly, assemble
from cs231n_jax.train.evaluate import device_batches
from cs231n_jax.train.signals import Interrupted
from cs231n_jax.train.state import stream_key
from cs231n_jax.typing import Batch, Key, ModelState, Params

Row = dict[str, Any]  # name, accuracy in [0, 1], loss in nats, wrong and total examples
COLUMNS = ("", "accuracy", "loss", "wrong")


def cells(rows: list[Row]) -> list[tuple[str, ...]]:
    """The rows as text, one tuple of COLUMNS each."""
    return [(r["name"], f"{r['accuracy']:.2%}", f"{r['loss']:.4f}", f"{r['wrong']} of {r['total']}") for r in rows]


def compare_run(workdir: Path, last: int, should_stop: Callable[[], bool] = lambda: False) -> list[Row]:
    """`compare` over the newest `last` members of a run directory (0: all).

    Raises:
        FileNotFoundError: there is no run, or no member.
        ValueError: it has fewer members than asked for.
    """
    assembly = assemble(record.stored_config(workdir))
    steps = snapshots.members(workdir)
    if not steps:
        raise FileNotFoundError(f"{workdir} has no member snapshots: train with --config.snapshots.members=5")
    if last > len(steps):
        raise ValueError(f"--last={last} but {workdir} has {len(steps)} member snapshots, at steps {steps}")
    return compare(assembly, workdir, steps[-last:], should_stop)


def compare(
    assembly: Assembly, workdir: Path, steps: list[int], should_stop: Callable[[], bool] = lambda: False
) -> list[Row]:
    """The table of a run's members.

    Args:
        assembly: the run.
        workdir: its directory.
        steps: the member snapshots to compare, oldest first.
        should_stop: looked at between batches.

    Returns:
        one row a member, then "average of predictions" (mean of the softmax outputs), then "average of weights"
        (uniform, batch statistics re-estimated on the training data).

    Raises:
        DamagedSnapshotError: a member does not match its manifest.
        Interrupted: `should_stop` said so.
    """

    @jax.jit
    def predict(params: Params, model_state: ModelState, batch: Batch) -> tuple[jax.Array, jax.Array]:
        logits = assembly.task.predict(sharding.whole(params, assembly.mesh), model_state, batch)
        return jax.nn.softmax(logits), batch["mask"]

    def probabilities(params: Params, model_state: ModelState) -> np.ndarray:
        return _predict_all(assembly, predict, params, model_state, should_stop)

    labels = _labels(assembly)
    rows, total, members = [], np.zeros(()), []
    for step in steps:
        _, params, model_state = _member(workdir, step)
        p = probabilities(params, model_state)
        rows.append({"name": f"snapshot at step {step}", **_score(p, labels)})
        total = total + p
        members.append((params, model_state))
    rows.append({"name": "average of predictions", **_score(total / len(steps), labels)})
    weights = average.mean([params for params, _ in members])
    moments_step = average.make_moments_step(assembly.task)
    moments_step = jax.jit(moments_step, out_shardings=sharding.replicated(assembly.mesh))
    weights = sharding.put_state(weights, assembly.mesh)
    model_state = average.reestimate(moments_step, weights, members[-1][1], _training_batches(assembly, should_stop))
    rows.append({"name": "average of weights", **_score(probabilities(weights, model_state), labels)})
    return rows


def _member(workdir: Path, step: int) -> tuple[dict[str, Any], Params, ModelState]:
    try:
        return snapshots.load(workdir, step)
    except snapshots.DamagedSnapshotError as error:
        raise snapshots.DamagedSnapshotError(
            f"{error}; put a copy of it back, or delete this member: the comparison is then made without it"
        ) from error


def _predict_all(
    assembly: Assembly,
    predict: Callable[[Params, ModelState, Batch], tuple[jax.Array, jax.Array]],
    params: Params,
    model_state: ModelState,
    should_stop: Callable[[], bool],
) -> np.ndarray:
    """Softmax outputs for the whole evaluation split, float64 [N, K]."""
    params, model_state = sharding.put_state((params, model_state), assembly.mesh)
    outputs = []
    for batch in device_batches(assembly):
        _check(should_stop)
        p, mask = sharding.to_host(predict(params, model_state, batch))
        outputs.append(p.astype(np.float64)[mask > 0])
    return np.concatenate(outputs)


def _labels(assembly: Assembly) -> np.ndarray:
    source = assembly.eval_source
    return source[np.arange(len(source))]["label"]


def _score(probabilities: np.ndarray, labels: np.ndarray) -> Row:
    wrong = int(np.sum(np.argmax(probabilities, axis=-1) != labels))
    of_label = np.maximum(probabilities[np.arange(len(labels)), labels], np.finfo(np.float64).tiny)
    return {
        "accuracy": 1 - wrong / len(labels),
        "loss": float(-np.mean(np.log(of_label))),
        "wrong": wrong,
        "total": len(labels),
    }


def _training_batches(assembly: Assembly, should_stop: Callable[[], bool]) -> Iterator[tuple[Batch, Key]]:
    """One epoch of training batches, augmented as in training, with the keys of their own stream."""
    for step in range(assembly.pipeline.steps_per_epoch):
        _check(should_stop)
        batch = sharding.put_batch(assembly.pipeline.batch(step), assembly.mesh)
        yield batch, stream_key(assembly.config.seed, "reestimate", jnp.int32(step))


def _check(should_stop: Callable[[], bool]) -> None:
    if should_stop():
        raise Interrupted("interrupted while comparing the members: the same command starts the comparison again")
