"""Member snapshots side by side: each alone, their predictions averaged, their weights averaged.

Memory holds one member and one batch while predictions are averaged, and sums of outputs; while weights are averaged
one member and their mean in float64.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from cs231n_jax.metrics import scores
from cs231n_jax.train import average, record, snapshots
from cs231n_jax.train.assemble import Assembly
from cs231n_jax.train.evaluator import Evaluator, Stop, Weights
from cs231n_jax.train.members import Member, load, names, newest_first, run_names

Row = dict[str, Any]  # name, accuracy in [0, 1], loss in nats, wrong and total examples; where asked, calibration
COLUMNS = ("", "accuracy", "loss", "wrong", "calibration error")
Scored = Callable[[str, np.ndarray], Row]  # of a name and probabilities [N, K]


class Comparison(NamedTuple):
    """What `compare` found."""

    rows: list[Row]
    pairs: list[dict[str, Any]]  # a, b: two members; disagreement, error_correlation, NaN where one has no errors
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
            _shown(r["loss"], ".4f"),
            f"{r['wrong']} of {r['total']}",
            *([_shown(r["calibration_error"], ".4f")] if "calibration_error" in r else []),
        )
        for r in rows
    ]


def pair_cells(pairs: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """The pairs as text: two names, disagreement and correlation of errors."""
    return [(p["a"], p["b"], f"{p['disagreement']:.2%}", _shown(p["error_correlation"], ".3f")) for p in pairs]


def _shown(value: float | None, form: str) -> str:
    """A number as text; a dash for one that there is not, which a file holds as null."""
    return "–" if value is None or math.isnan(value) else format(value, form)


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
        thorough: with calibration, the average of logits, the average of weights with the batch statistics of the
            last member, each run's moving average of the weights where it kept one, and the tables of pairs and sizes.
        together: members that go through the network at once, and are held in memory; the numbers are the same up to
            rounding.

    Returns:
        rows: one a member, then "average of predictions" (mean of the softmax outputs) and "average of weights"
        (uniform, batch statistics re-estimated on the training data), with what `thorough` adds among them. The
        average of logits is, normalised, the geometric mean of the probabilities.

    Raises:
        DamagedSnapshotError: a member does not match its manifest.
        ValueError: the outputs of a member are not numbers; the message names it.
        Interrupted: `should_stop` said so.
    """
    evaluator = Evaluator(assembly, should_stop)
    labels = labels_of(assembly)

    def scored(name: str, probabilities: np.ndarray) -> Row:
        return {"name": name, **score(probabilities, labels, thorough)}

    called = names(members)
    order, sizes, total, logs = newest_first(members), [], np.zeros(()), np.zeros(())
    single: dict[int, tuple[Row, np.ndarray]] = {}
    for i, log_p in zip(order, evaluator.of_each([members[i] for i in order], together)):
        _refuse_nan(called[i], log_p)
        p = np.exp(log_p)
        single[i] = scored(called[i], p), np.argmax(p, axis=-1).astype(np.int32)
        total, logs = total + p, logs + log_p
        sizes.append(_size(len(single), total, labels))
    rows, choices = map(list, zip(*(single[i] for i in range(len(members)))))
    rows.append(scored("average of predictions", total / len(members)))
    if thorough:
        rows.append(scored("average of logits", _normalised(logs / len(members))))
    of_weights, weights = _average_of_weights(evaluator, members, scored, thorough)
    if not thorough:
        return Comparison(rows + of_weights, [], [], weights)
    moving = _moving_averages(evaluator, members, scored)
    return Comparison(rows + of_weights + moving, _pairs(called, choices, labels), sizes, weights)


def _average_of_weights(
    evaluator: Evaluator, members: Sequence[Member], scored: Scored, thorough: bool
) -> tuple[list[Row], Weights]:
    """The average of the weights with statistics of its own; where thorough, before it with the last member's."""
    rows, statistics = [], load(members[-1])[1]
    weights = average.mean(load(member)[0] for member in members)
    if thorough and statistics.get("batch_stats"):
        name = "average of weights, statistics of the last member"
        rows.append(scored(name, np.exp(evaluator.log_probabilities(weights, statistics))))
    own = evaluator.reestimated(weights, statistics)
    rows.append(scored("average of weights", np.exp(evaluator.log_probabilities(weights, own))))
    return rows, (weights, own)


def _moving_averages(evaluator: Evaluator, members: Sequence[Member], scored: Scored) -> list[Row]:
    """Of the last member of each run, where the run kept one."""
    rows, called = [], run_names(members)
    for member in {member.workdir: member for member in members}.values():
        if (moving := snapshots.load_average(*member)) is not None:
            decay = record.stored_config(member.workdir).train.ema_decay
            name = f"moving average of weights, decay {decay:g}, {called[member.workdir]} at step {member.step}"
            own = evaluator.reestimated(moving, load(member)[1])
            rows.append(scored(name, np.exp(evaluator.log_probabilities(moving, own))))
    return rows


def _refuse_nan(name: str, log_p: np.ndarray) -> None:
    if bad := int(np.sum(np.isnan(log_p).any(axis=-1))):
        raise ValueError(
            f"the outputs of {name} are not numbers (NaN) for {bad} of {len(log_p)} examples: choose the members "
            "without it (experiments.ensemble --snapshots or --last)"
        )


def _pairs(called: list[str], choices: list[np.ndarray], labels: np.ndarray) -> list[dict[str, Any]]:
    return [
        {
            "a": called[i],
            "b": called[j],
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


def _normalised(logs: np.ndarray) -> np.ndarray:
    p = np.exp(logs - np.max(logs, axis=-1, keepdims=True))
    return p / np.sum(p, axis=-1, keepdims=True)


def labels_of(assembly: Assembly) -> np.ndarray:
    """The labels of the evaluation split [N], of text its N characters."""
    source: Any = assembly.eval_source
    labels, counted = assembly.task.labels(source[np.arange(len(source))])
    return labels[counted > 0]


def score(probabilities: np.ndarray, labels: np.ndarray, thorough: bool = False) -> Row:
    """A row but for its name, from probabilities [N, K] and labels [N]; an example with a NaN counts as wrong."""
    right = (np.argmax(probabilities, axis=-1) == labels) & ~np.isnan(probabilities).any(axis=-1)
    wrong = int(np.sum(~right))
    row: Row = {
        "accuracy": 1 - wrong / len(labels),
        "loss": scores.negative_log_likelihood(probabilities, labels),
        "wrong": wrong,
        "total": len(labels),
    }
    return {**row, "calibration_error": scores.calibration_error(probabilities, labels)} if thorough else row
