"""Ways of predicting with a network that was trained under noise: one pass without it, or an average over many.

Training draws masks, paths, crops and flips; at test time they are averaged out. `exact` replaces each draw by its
expectation inside the layers (one pass; the borders of fractional pooling, which have none, by fixed ones), `mc`
averages the probabilities of passes that draw, `tta` those of moved images. Every way returns probabilities, and is
scored alike.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from cs231n_jax.config import nearest
from cs231n_jax.metrics import scores
from cs231n_jax.ops import views
from cs231n_jax.tasks.base import Task
from cs231n_jax.train import ensemble, record, sharding, snapshots
from cs231n_jax.train.assemble import Assembly, assemble_here
from cs231n_jax.train.ensemble import Row
from cs231n_jax.train.evaluate import outputs
from cs231n_jax.train.state import stream_key
from cs231n_jax.typing import Array, Batch, Key, ModelState, Params

COLUMNS = ("", "accuracy", "loss", "wrong", "accuracy − exact", "loss − exact")
TOGETHER = 8  # passes or views that go through the network at once
MOST = 100_000


class Kind(NamedTuple):
    """A row of the table of ways."""

    views: Callable[[Array, int], Array] | None = None  # (images [N, ...], number) -> [V, N, ...]; None: as they are
    noisy: bool = False  # as many passes with noise on as the number says
    number: str = ""  # what the number after the name counts; "": there is none
    default: int | None = None  # the number where none is given; None: it must be given


def _ten_crop(images: Array, size: int) -> Array:
    return views.ten_crop(images, size or 7 * min(images.shape[1:3]) // 8)


KINDS: dict[str, Kind] = {
    "exact": Kind(),
    "mc": Kind(noisy=True, number="passes with noise on"),
    "tta:flip": Kind(lambda images, _: views.flips(images)),
    "tta:shifts": Kind(views.shifts, number="pixels", default=1),  # nine views
    "tta:ten_crop": Kind(_ten_crop, number="pixels a side of a crop", default=0),  # 0: 7/8 of the side, as 224 of 256
}
ALLOWED = "exact, mc:K, tta:flip, tta:shifts[:pixels], tta:ten_crop[:size]"


class Way(NamedTuple):
    """A row of the table with its number: "mc:32", "tta:flip"."""

    name: str
    kind: Kind
    number: int = 0


EXACT = Way("exact", KINDS["exact"])


def parse(text: str) -> Way:
    """The way that `text` names: exact, mc:K, tta:flip, tta:shifts[:pixels] or tta:ten_crop[:size].

    Raises:
        ValueError: there is no such way, or its number is missing, out of range or not one.
    """
    name = next((name for name in KINDS if text == name or text.startswith(f"{name}:")), None)
    if name is None:
        raise ValueError(f"{text or repr(text)} is no way to predict{nearest(text, KINDS)}: give {ALLOWED}")
    kind, given = KINDS[name], text[len(name) + 1 :]
    if not kind.number and text != name:
        raise ValueError(f"{text}: {name} takes no number, so write {name}")
    if text == name and (kind.default is not None or not kind.number):
        return Way(name, kind, kind.default or 0)
    if not (given.isascii() and given.isdecimal() and 1 <= int(given) <= MOST):
        raise ValueError(f"{text}: {name} wants the number of {kind.number}, 1 to {MOST:,}, as in {name}:8")
    return Way(text, kind, int(given))


def log_probabilities(
    task: Task,
    way: Way,
    params: Params,
    model_state: ModelState,
    batch: Batch,
    *,
    key: Key | None = None,
    together: int = TOGETHER,
) -> Array:
    """Logarithms of the class probabilities [N, K], averaged over the way's passes or views.

    log p = log(1/V Σ_v softmax(logits_v)), v over the passes or views; batch norm uses its running statistics in all
    of them. Pass i of `mc` draws from key i of split(key, K), whatever `together` is.
    Scores that were trained by a hinge loss go through the softmax too.

    Args:
        task: gives logits [N, K].
        way: from `parse`.
        params: of the model.
        model_state: of the model.
        batch: with "image" [N, H, W, C]; images are moved before they are standardised, and what comes in is 0.
        key: PRNG key, for `mc` only.
        together: passes or views that go through the network at once: memory against speed, same numbers to rounding.

    Returns:
        float32 (or float64) [N, K].

    Raises:
        ValueError: the images are too small for the views, or the model does not take their size.

    Reference: Gal, Ghahramani 2016, "Dropout as a Bayesian Approximation", equation 6 (mc); Krizhevsky et al. 2012,
    section 4.1 (averages over views).
    """

    def predict(images: Array, key: Key | None) -> Array:
        moved = {**batch, "image": images}
        return jax.nn.log_softmax(task.predict(params, model_state, moved, key=key, noise=key is not None))

    images, kind = batch["image"], way.kind
    if kind.noisy:
        if key is None:
            raise ValueError(f"{way.name} draws random numbers but key is None: pass key=jax.random.key(...)")
        keys = jax.random.split(key, way.number)
        logs = jax.lax.map(lambda key: predict(images, key), keys, batch_size=together)
    elif kind.views:
        logs = jax.lax.map(lambda view: predict(view, None), kind.views(images, way.number), batch_size=together)
    else:
        return predict(images, None)
    return jax.nn.logsumexp(logs, axis=0) - math.log(len(logs))


def draws(task: Task, params: Params, model_state: ModelState, batch: Batch) -> bool:
    """Whether the task's predictions depend on the key where noise is on; nothing is computed.

    Args:
        task: what is asked.
        params: arrays or jax.ShapeDtypeStructs, as the two below.
        model_state: of the model.
        batch: one batch.
    """

    def predict(key: Key, params: Params, model_state: ModelState, batch: Batch) -> Any:
        return task.predict(params, model_state, batch, key=key, noise=True)

    key = jax.eval_shape(lambda: jax.random.key(0))
    program = jax.make_jaxpr(predict)(key, params, model_state, batch).jaxpr
    needed = {id(variable) for variable in program.outvars}
    for equation in reversed(program.eqns):
        if any(id(variable) in needed for variable in equation.outvars):
            needed |= {id(variable) for variable in equation.invars}
    return id(program.invars[0]) in needed


def compare(
    assembly: Assembly,
    weights: tuple[Params, ModelState],
    ways: Sequence[Way],
    together: int = TOGETHER,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Row]:
    """The table of some ways for one network on the evaluation split; the first row is always `exact`.

    Args:
        assembly: the run of the network, or one like it.
        weights: parameters and state.
        ways: from `parse`.
        together: as for `log_probabilities`.
        should_stop: looked at before every batch.

    Returns:
        one row a way: name, accuracy, loss (nats, of the averaged probabilities), wrong, total; and the differences
        from the first row, accuracy_gap and loss_gap, with their standard errors, paired over the examples:
        accuracy_gap_error and loss_gap_error.

    Raises:
        ValueError: a way does not fit the model; the message says which and why.
        Interrupted: `should_stop` said so.
    """
    ways = list(dict.fromkeys((EXACT, *ways)))
    for way in ways:
        _check(assembly, way, weights)
    labels, weights = ensemble.labels_of(assembly), sharding.put_state(weights, assembly.mesh)
    rows: list[Row] = []
    scored: list[tuple[np.ndarray, np.ndarray]] = []
    for way in ways:
        p = np.exp(_over_split(assembly, way, weights, together, should_stop))
        scored.append((np.argmax(p, axis=-1) == labels, scores.nats(p, labels)))
        gaps = [scores.paired_difference(mine, exact) for mine, exact in zip(scored[-1], scored[0])]
        named = {"accuracy_gap": gaps[0][0], "accuracy_gap_error": gaps[0][1]}
        named |= {"loss_gap": gaps[1][0], "loss_gap_error": gaps[1][1]}
        rows.append({"name": way.name, **ensemble.score(p, labels), **named})
    return rows


def cells(rows: list[Row]) -> list[tuple[str, ...]]:
    """The rows as text, one tuple of `COLUMNS` each."""
    gaps = [
        (
            f"{r['accuracy_gap']:+.2%} ± {r['accuracy_gap_error']:.2%}",
            f"{r['loss_gap']:+.4f} ± {r['loss_gap_error']:.4f}",
        )
        for r in rows[1:]
    ]
    return [(*text, *gap) for text, gap in zip(ensemble.cells(rows), [("", ""), *gaps])]


def compare_snapshot(
    workdir: Path,
    ways: Sequence[Way],
    step: str = "latest",
    together: int = TOGETHER,
    warn: Callable[[str], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[int, list[Row]]:
    """`compare` for one snapshot of a run; args and raises as `evaluate.evaluate_snapshot`, returns (step, rows)."""
    assembly = assemble_here(record.stored_config(workdir), should_stop)
    found = snapshots.resolve(workdir, step, warn)
    _, params, model_state = snapshots.load(workdir, found)
    return found, compare(assembly, (params, model_state), ways, together, should_stop)


def _check(assembly: Assembly, way: Way, weights: tuple[Params, ModelState]) -> None:
    model, task, batch = assembly.config.model.name, assembly.task, assembly.batch_shapes
    if "image" not in batch:
        raise ValueError(f"{way.name} is for models of images, and {model} has none: leave --marginalise out")
    if way.kind.noisy and not draws(task, *weights, batch):
        raise ValueError(
            f"{way.name}: model {model} has no noise to average over (it has no random regularizer, or all its rates "
            "are 0), so leave mc out, or train it with one, such as --config.model.options.drop_rate=0.3"
        )
    key = jax.random.key(0) if way.kind.noisy else None
    try:
        jax.eval_shape(lambda *given: log_probabilities(task, way, *given, key=key), *weights, batch)
    except ValueError as error:
        raise ValueError(f"{way.name} does not fit model {model}: {error}") from error


def _over_split(
    assembly: Assembly, way: Way, weights: tuple[Params, ModelState], together: int, should_stop: Callable[[], bool]
) -> np.ndarray:
    """`log_probabilities` of the whole evaluation split, float64 [N, K]; each batch has its own key."""
    task, seed, mesh = assembly.task, assembly.config.seed, assembly.mesh

    def of_batch(params: Params, model_state: ModelState, batch: Batch, index: Array) -> tuple[Array, Array]:
        key = stream_key(seed, "marginalise", index) if way.kind.noisy else None
        whole = sharding.whole(params, mesh)
        return log_probabilities(task, way, whole, model_state, batch, key=key, together=together), batch["mask"]

    compiled = jax.jit(of_batch)
    return outputs(assembly, lambda batch, index: compiled(*weights, batch, np.int32(index)), should_stop)
