"""What positive inputs do to the gradients of a unit's weights, and to the path that gradient descent takes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax import optim
from cs231n_jax.ops import activations
from experiments.studies import Result
from experiments.studies.drawing import canvas, save

SUBTRACTED = {"positive": 0.0, "zero-centred": 0.5}  # from inputs in 0 … 1
DIMENSION, EXAMPLES = 100, 10_000  # of the sign test
BATCHES = (1, 4, 16, 64, 256)
SAMPLES, STEPS = BATCHES[-1], 600  # of the regression
RATES = tuple(2.0 ** (k / 2) for k in range(-6, 10))  # 1/8 to 22.6
ARRIVED = 0.01  # of the first distance to the solution


class Way(NamedTuple):
    """The fastest way to the solution."""

    rate: float
    updates: float  # infinite where no rate was enough
    ratio: float  # length of the path / distance
    points: np.ndarray  # [updates + 1, d]


def zigzag(workdir: Path, quick: bool) -> Result:
    """All-positive inputs give gradients of one sign: does gradient descent zigzag, and does a batch mend it?

    Left: the gradient of the weights of a sigmoid unit with 100 inputs from U(0, 1), or from the same less ½, and
    random labels, averaged over batches of 10,000 examples: the share of its numbers with the sign of the majority.
    Middle and right: least squares on 256 such examples without noise, from w = 0 to a known w* with as many positive
    as negative numbers (2 weights in the middle, 10 on the right), each at the one of 16 rates that needs the fewest
    updates to a hundredth of the distance. 256 examples an update are all of them. A path of which every step has one
    sign is at least ‖w*₊‖ + ‖w*₋‖ long. Errors are standard errors over the seeds.
    """
    seeds = 3 if quick else 10
    rows = []
    with jax.enable_x64(True):
        for inputs in SUBTRACTED:
            rows += [_row(inputs, batch, seeds) for batch in BATCHES]
    figure, (left, middle, right) = canvas(1, 3)
    for inputs in SUBTRACTED:
        left.semilogx(BATCHES, _column(rows, inputs, "majority (%)"), "o-", base=2, label=inputs)
    left.set(title="numbers of a gradient with one sign", xlabel="examples in a batch", ylabel="majority (%)")
    left.set_ylim(45, 105)
    left.legend()
    _draw_plane(middle)
    _draw_lengths(right, rows, seeds)
    save(figure, path := workdir / "zigzag.png")
    numbers = {f"{row['inputs']}, {row['batch']}: {key}": row[key] for row in rows for key in list(row)[2:]}
    single, whole = ([row for row in rows if row["batch"] == batch] for batch in (1, SAMPLES))
    sentence = (
        f"With positive inputs {single[0]['gradients of one sign (%)']:.0f} % of the gradients of single examples have "
        f"one sign (zero-centred: {single[1]['gradients of one sign (%)']:.0f} %, the majority has "
        f"{single[1]['majority (%)']:.0f} % of the numbers), and the path is "
        f"{_both(single, 'path / line')} times the straight line; a batch of {SAMPLES} mixes the signs and shortens it "
        f"to {_both(whole, 'path / line')}, yet it does not mend the cause, which the lecture calls mitigated: still "
        f"{whole[0]['majority (%)']:.0f} % of its numbers have one sign, and it needs "
        f"{whole[0]['updates']:.0f} updates where zero-centred inputs need {whole[1]['updates']:.0f}."
    )
    return Result(path, numbers, sentence, rows)


def _row(inputs: str, batch: int, seeds: int) -> dict[str, Any]:
    majority, same = sign_shares(inputs, batch)
    ways = [fastest(inputs, 10, batch, seed) for seed in range(seeds)]
    row = {"inputs": inputs, "batch": batch, "majority (%)": 100 * majority, "gradients of one sign (%)": 100 * same}
    for label, values in {"path / line": [w.ratio for w in ways], "updates": [w.updates for w in ways]}.items():
        row |= {label: float(np.mean(values)), f"± {label}": float(np.std(values, ddof=1) / np.sqrt(seeds))}
    return row


def _column(rows: Sequence[Mapping[str, Any]], inputs: str, key: str) -> list[float]:
    return [row[key] for row in rows if row["inputs"] == inputs]


def _both(rows: Sequence[Mapping[str, Any]], key: str) -> str:
    """'9.0 ± 0.30 (zero-centred: 4.9 ± 0.40)'."""
    positive, centred = (f"{row[key]:.1f} ± {row[f'± {key}']:.2f}" for row in rows)
    return f"{positive} (zero-centred: {centred})"


def _draw_plane(axis: Any) -> None:
    for color, inputs in zip(("C0", "C1"), SUBTRACTED):
        for batch, style in ((1, "o-"), (SAMPLES, "s:")):
            with jax.enable_x64(True):
                way = fastest(inputs, 2, batch, seed=1)
            label = f"{inputs}, {batch} an update: {way.ratio:.1f}"
            axis.plot(*way.points.T, style, color=color, markersize=3, linewidth=1, label=label)
    axis.plot(*problem("positive", 2, seed=1)[1], "k*", markersize=10, label="w*")
    axis.set(title="2 weights: path / straight line", xlabel="w₁", ylabel="w₂")
    axis.legend(fontsize=8)


def _draw_lengths(axis: Any, rows: Sequence[Mapping[str, Any]], seeds: int) -> None:
    for color, inputs in zip(("C0", "C1"), SUBTRACTED):
        for key, style in {"updates": "s:", "path / line": "o-"}.items():
            means, bars = _column(rows, inputs, key), _column(rows, inputs, f"± {key}")
            axis.errorbar(BATCHES, means, yerr=bars, fmt=style, color=color, capsize=3, label=f"{inputs}: {key}")
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set(title=f"10 weights, {seeds} seeds", xlabel="examples an update")
    axis.legend(fontsize=8)


def problem(inputs: str, dimension: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Examples [SAMPLES, dimension] and the solution w* [dimension], whose signs alternate."""
    random = np.random.default_rng(seed)
    x = random.random((SAMPLES, dimension)) - SUBTRACTED[inputs]
    return x, random.uniform(0.5, 1.5, dimension) * np.where(np.arange(dimension) % 2, -1.0, 1.0)


def fastest(inputs: str, dimension: int, batch: int, seed: int) -> Way:
    """Of all rates the one with which gradient descent on ½·mean((x·w − x·w*)²) needs the fewest updates."""
    x, solution = problem(inputs, dimension, seed)
    random = np.random.default_rng([seed, batch])
    draw = random.permuted if batch == SAMPLES else lambda rows, axis: random.integers(0, SAMPLES, rows.shape)
    picked = draw(np.tile(np.arange(SAMPLES)[:batch], (STEPS, 1)), axis=1).astype(np.int32)
    points = np.asarray(_walk(x, solution, picked, np.array(RATES)))
    with np.errstate(over="ignore", invalid="ignore"):  # too high a rate
        left = np.linalg.norm(points - solution, axis=-1) / np.linalg.norm(solution)
    needed = np.where((left <= ARRIVED).any(axis=1), (left <= ARRIVED).argmax(axis=1), np.inf)
    best = int(np.argmin(needed))
    path = points[best][: int(min(needed[best], STEPS)) + 1]
    length = np.linalg.norm(np.diff(path, axis=0), axis=1).sum()
    return Way(RATES[best], float(needed[best]), float(length / np.linalg.norm(solution)), path)


@jax.jit
def _walk(x: Any, solution: Any, picked: Any, rates: Any) -> Any:
    """The points of a run at each rate [rates, steps + 1, d]."""

    def one(rate: Any) -> Any:
        optimizer = optim.sgd(rate)

        def update(carry: Any, batch: Any) -> Any:
            w, state = carry
            rows = x[batch]
            gradient = jax.grad(lambda w: 0.5 * jnp.square(rows @ w - rows @ solution).mean())(w)
            updates, state = optimizer.update(gradient, state, w)
            w = optim.apply_updates(w, updates)
            return (w, state), w

        start = jnp.zeros_like(solution)
        _, path = jax.lax.scan(update, (start, optimizer.init(start)), picked)
        return jnp.concatenate([start[None], path])

    return jax.vmap(one)(rates)


def sign_shares(inputs: str, batch: int) -> tuple[float, float]:
    """The share of a gradient's numbers with the majority's sign, averaged, and the share of gradients of one sign."""
    random = np.random.default_rng(0)
    x = random.random((EXAMPLES, DIMENSION)) - SUBTRACTED[inputs]
    labels = random.integers(0, 2, EXAMPLES).astype(float)
    w = jnp.asarray(random.standard_normal(DIMENSION) / np.sqrt(DIMENSION))

    def loss(w: Any, x: Any, label: Any) -> Any:
        p = activations.sigmoid(x @ w)
        return -(label * jnp.log(p) + (1 - label) * jnp.log(1 - p))

    gradients = np.asarray(jax.vmap(jax.grad(loss), (None, 0, 0))(w, x, labels))
    gradients = gradients[: EXAMPLES // batch * batch].reshape(-1, batch, DIMENSION).mean(axis=1)
    positive = (gradients > 0).mean(axis=1)
    majority = np.maximum(positive, 1 - positive)
    return float(majority.mean()), float((majority == 1).mean())


STUDIES = {"zigzag": zigzag}
