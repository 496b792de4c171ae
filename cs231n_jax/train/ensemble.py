"""Member snapshots side by side: each alone, their predictions averaged, their weights averaged.

Members are read and evaluated one after another, so that memory holds one of them, one batch, and sums. Several can
go through the network together, as one batched program: faster on a GPU or TPU, far slower on a CPU.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax.metrics import scores
from cs231n_jax.train import average, record, sharding, snapshots
from cs231n_jax.train.assemble import Assembly
from cs231n_jax.train.evaluate import outputs
from cs231n_jax.train.members import Member, load
from cs231n_jax.train.signals import Interrupted
from cs231n_jax.train.state import stream_key
from cs231n_jax.typing import Batch, Key, ModelState, Params

Row = dict[str, Any]  # name, accuracy in [0, 1], loss in nats, wrong and total examples; where asked, calibration
COLUMNS = ("", "accuracy", "loss", "wrong", "calibration error")

Stop = Callable[[], bool]
Weights = tuple[Params, ModelState]


class Comparison(NamedTuple):
    """What `compare` found."""

    rows: list[Row]
    pairs: list[dict[str, Any]]  # a, b: two members; disagreement, error_correlation
    sizes: list[dict[str, Any]]  # members: the newest so many; accuracy of their averaged predictions, standard_error
    weights: Weights  # the average of the weights, with statistics of its own


def columns(rows: list[Row]) -> tuple[str, ...]:
    """The columns that these rows fill."""
    return COLUMNS if "calibration_error" in rows[0] else COLUMNS[:-1]


def cells(rows: list[Row]) -> list[tuple[str, ...]]:
    """The rows as text, one tuple of `columns` each."""
    return [
        (
            r["name"],
            f"{r['accuracy']:.2%}",
            f"{r['loss']:.4f}",
            f"{r['wrong']} of {r['total']}",
            *([f"{r['calibration_error']:.4f}"] if "calibration_error" in r else []),
        )
        for r in rows
    ]


def compare(
    assembly: Assembly,
    members: Sequence[Member],
    should_stop: Stop = lambda: False,
    *,
    thorough: bool = False,
    together: int = 1,
) -> Comparison:
    """The table of some members.

    Args:
        assembly: a run that they belong to, or one like theirs.
        members: the snapshots to compare, oldest first.
        should_stop: looked at between batches.
        thorough: with calibration, the average of logits, the average of weights with the last member's statistics,
            each run's moving average of the weights where it kept one, and the tables of pairs and sizes.
        together: members that go through the network at once, and are held in memory; the numbers are the same up to
            rounding.

    Returns:
        rows: one a member, then "average of predictions" (mean of the softmax outputs) and "average of weights"
        (uniform, batch statistics re-estimated on the training data), with what `thorough` adds among them. The
        average of logits is, normalised, the geometric mean of the probabilities.

    Raises:
        DamagedSnapshotError: a member does not match its manifest.
        Interrupted: `should_stop` said so.
    """
    evaluator = Evaluator(assembly, should_stop)
    labels = labels_of(assembly)
    rows: list[Row] = []

    def add(name: str, probabilities: np.ndarray) -> None:
        rows.append({"name": name, **score(probabilities, labels, thorough)})

    choices, sizes, total, logs = [], [], np.zeros(()), np.zeros(())
    several = len({member.workdir for member in members}) > 1
    for member, log_p in zip(reversed(members), evaluator.of_each(members[::-1], together)):
        p = np.exp(log_p)
        add(f"{member.workdir.name} at step {member.step}" if several else f"snapshot at step {member.step}", p)
        choices.append(np.argmax(p, axis=-1).astype(np.int32))
        total, logs = total + p, logs + log_p
        sizes.append(_size(len(choices), total, labels))
    rows.reverse()
    choices.reverse()
    add("average of predictions", total / len(members))
    if thorough:
        add("average of logits", _normalised(logs / len(members)))
    statistics = load(members[-1])[1]
    weights = average.mean(load(member)[0] for member in members)
    if thorough and statistics.get("batch_stats"):
        add("average of weights, old statistics", np.exp(evaluator.log_probabilities(weights, statistics)))
    own = evaluator.reestimated(weights, statistics)
    add("average of weights", np.exp(evaluator.log_probabilities(weights, own)))
    if not thorough:
        return Comparison(rows, [], [], (weights, own))
    for member in _newest(members):
        if (moving := snapshots.load_average(*member)) is not None:
            name = f"moving average of weights, {member.workdir.name} at step {member.step}"
            own_of_moving = evaluator.reestimated(moving, load(member)[1])
            add(name, np.exp(evaluator.log_probabilities(moving, own_of_moving)))
    return Comparison(rows, _pairs(rows, choices, labels), sizes, (weights, own))


def _newest(members: Sequence[Member]) -> list[Member]:
    """The last member of each run."""
    return list({member.workdir: member for member in members}.values())


def _pairs(rows: list[Row], choices: list[np.ndarray], labels: np.ndarray) -> list[dict[str, Any]]:
    return [
        {
            "a": rows[i]["name"],
            "b": rows[j]["name"],
            "disagreement": scores.disagreement(choices[i], choices[j]),
            "error_correlation": scores.error_correlation(choices[i], choices[j], labels),
        }
        for i in range(len(choices))
        for j in range(i + 1, len(choices))
    ]


def _size(members: int, total: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    accuracy = scores.accuracy(total, labels)
    error = scores.standard_error(accuracy, len(labels))
    return {"members": members, "accuracy": accuracy, "standard_error": error}


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
            weights = [load(member) for member in members[first : first + together]]
            if len(weights) == 1:
                yield self.log_probabilities(*weights[0])
            else:
                yield from self._outputs(self._predict_all, weights)

    def log_probabilities(self, params: Params, model_state: ModelState) -> np.ndarray:
        """Logarithms of the softmax outputs for the whole evaluation split, float64 [N, K]."""
        return self._outputs(self._predict, (params, model_state))

    def _outputs(self, predict: Callable[[Any, Batch], Any], weights: Any) -> np.ndarray:
        weights = sharding.put_state(weights, self._assembly.mesh)

        def of_batch(batch: Batch, number: int) -> Any:
            del number
            _check(self._should_stop)
            return predict(weights, batch)

        return outputs(self._assembly, of_batch)

    def reestimated(self, params: Params, model_state: ModelState) -> ModelState:
        """`model_state` with the statistics that belong to `params`."""
        params, model_state = sharding.put_state((params, model_state), self._assembly.mesh)
        batches = _training_batches(self._assembly, self._should_stop)
        return average.reestimate(self._moments, params, model_state, batches)


def _normalised(logs: np.ndarray) -> np.ndarray:
    p = np.exp(logs - np.max(logs, axis=-1, keepdims=True))
    return p / np.sum(p, axis=-1, keepdims=True)


def labels_of(assembly: Assembly) -> np.ndarray:
    """The labels of the evaluation split [N], of text its N characters."""
    source: Any = assembly.eval_source
    labels, counted = assembly.task.labels(source[np.arange(len(source))])
    return labels[counted > 0]


def score(probabilities: np.ndarray, labels: np.ndarray, thorough: bool = False) -> Row:
    """A row but for its name, from probabilities [N, K] and labels [N]."""
    wrong = int(np.sum(np.argmax(probabilities, axis=-1) != labels))
    row: Row = {
        "accuracy": 1 - wrong / len(labels),
        "loss": scores.negative_log_likelihood(probabilities, labels),
        "wrong": wrong,
        "total": len(labels),
    }
    return {**row, "calibration_error": scores.calibration_error(probabilities, labels)} if thorough else row


def _training_batches(assembly: Assembly, should_stop: Stop) -> Iterator[tuple[Batch, Key]]:
    """One epoch of training batches, augmented as in training, with the keys of their own stream."""
    for step in range(assembly.pipeline.steps_per_epoch):
        _check(should_stop)
        batch = sharding.put_batch(assembly.pipeline.batch(step), assembly.mesh)
        yield batch, stream_key(assembly.config.seed, "reestimate", jnp.int32(step))


def _check(should_stop: Stop) -> None:
    if should_stop():
        raise Interrupted("interrupted while comparing the members: the same command starts the comparison again")


def save_average(members: Sequence[Member], weights: Weights, workdir: Path) -> Path:
    """Make an averaged model a run directory of its own, that every program can load, with its provenance.

    Args:
        members: what was averaged.
        weights: parameters and state, from `compare`.
        workdir: a new or empty directory.

    Returns:
        the snapshot's directory.

    Raises:
        WorkdirError: the directory cannot be written, or holds something.
    """
    with record.locked(workdir):
        record.claim(workdir, record.stored_config(members[0].workdir), {})
        if snapshots.steps(workdir):
            raise record.WorkdirError(f"workdir {workdir} holds snapshots already: pass an empty or a new directory")
        origin = [
            {"workdir": str(m.workdir.resolve()), "step": m.step, "sha256": snapshots.digest(*m)} for m in members
        ]
        step = max(member.step for member in members)
        return snapshots.save_weights(workdir, step, *weights, {"averaged": origin})
