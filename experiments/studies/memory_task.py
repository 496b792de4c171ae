"""Over how many steps a vanilla RNN, an LSTM and a GRU learn to remember two numbers."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cs231n_jax import optim
from experiments.studies import Result, adding, seeds
from experiments.studies.drawing import canvas, save

RATES = {"RNN": (1e-3, 3e-3), "LSTM": (1e-2,), "GRU": (1e-2,)}  # of Adam; the slowest learner is given two
SOLVED = adding.CONSTANT / 10


class Setting(NamedTuple):
    """What all cells have in common."""

    hidden: int = 32
    updates: int = 1500
    lengths: tuple[int, ...] = (10, 20, 50, 100, 200, 400)
    seeds: int = 3
    cells: tuple[str, ...] = tuple(RATES)


def memory_task(workdir: Path, quick: bool) -> Result:
    """To what length do a vanilla RNN, an LSTM and a GRU solve the adding problem, with equal size and training?

    The adding problem: a number from U(0, 1) at every step, one in each half of the sequence is marked, and after the
    last step the sum of those two is asked for. The answer 1 has a mean squared error of 1/6, the variance of the sum
    (Le, Jaitly, Hinton 2015 give 0.1767 for it). A run has solved it when the mean of 100 batches in a row, none of
    which was seen before, is below a tenth of that.

    All nets have one layer of 32 units and a linear answer from its last output, orthogonal hidden weights, input
    weights from N(0, 1/2) and, in the LSTM, a forget bias of 1. They get 1,500 updates of Adam on batches of 20, with
    gradients clipped to a norm of 1; training ends earlier when all seeds are at half of what "solved" needs. The rate
    is 1e-2 for LSTM and GRU; the RNN has the better of 1e-3 and 3e-3. A cell that fails in all runs at two lengths is
    not tried at longer ones. "updates" is when a run has solved the problem, "error" the mean squared error of the last
    100 batches; ± are standard errors over three seeds.

    Reference: Hochreiter, Schmidhuber 1997, "Long short-term memory", section 5.4; Le, Jaitly, Hinton 2015, "A simple
    way to initialize recurrent networks of rectified linear units"; Arjovsky, Shah, Bengio 2016, "Unitary evolution
    recurrent neural networks".
    """
    setting = Setting(hidden=8, updates=200, lengths=(4,), seeds=2, cells=("RNN", "LSTM")) if quick else Setting()
    rows = [row for cell in setting.cells for row in _climb(cell, setting)]
    numbers = {f"{row['cell']}, {row['steps']} steps: {key}": row[key] for row in rows for key in list(row)[3:]}
    numbers = {key: float(value) for key, value in numbers.items() if math.isfinite(value)}
    return Result(_figure(workdir, setting, rows), numbers, _sentence(setting, rows), rows)


def _climb(cell: str, setting: Setting) -> list[dict[str, Any]]:
    """The rows of one cell, up to the second length at which nothing is solved."""
    rows: list[dict[str, Any]] = []
    for length in setting.lengths:
        if [row["solved"] for row in rows[-2:]] != [0, 0]:
            rows.append(_row(cell, length, setting))
    return rows


def _row(cell: str, length: int, setting: Setting) -> dict[str, Any]:
    """Train at the cell's rates; the numbers of the best one."""

    def make(rate: Any) -> optim.GradientTransformation:
        return optim.chain(optim.clip_by_global_norm(1.0), optim.adam(rate))

    rates, count = RATES[cell], setting.seeds
    plan = adding.Plan(length, setting.updates, enough=SOLVED / 2)
    net = adding.Net(cell, setting.hidden)
    found = adding.train([adding.Run(net, seed, rate) for rate in rates for seed in range(count)], plan, make)
    means = found.loss.reshape(len(rates), count, -1, adding.EVERY).mean(-1)
    solved = (means < SOLVED).any(-1)
    best = min(range(len(rates)), key=lambda i: (-int(solved[i].sum()), float(means[i, :, -1].mean())))
    when = adding.EVERY * (1.0 + (means[best] < SOLVED).argmax(-1))[solved[best]]
    last = means[best, :, -1]
    return {
        "cell": cell,
        "steps": length,
        "rate": rates[best],
        "solved": int(solved[best].sum()),
        "updates": float(when.mean()) if when.size else math.nan,
        "± updates": seeds.error(when),
        "error": float(last.mean()),
        "± error": seeds.error(last),
    }


def _figure(workdir: Path, setting: Setting, rows: list[dict[str, Any]]) -> Path:
    figure, (left, right) = canvas(1, 2, width=5.5)
    for cell in setting.cells:
        own = [row for row in rows if row["cell"] == cell]
        for axis, key in ((left, "error"), (right, "updates")):
            steps, means, bars = ([row[name] for row in own] for name in ("steps", key, f"± {key}"))
            axis.errorbar(steps, means, yerr=np.nan_to_num(bars), fmt="o-", capsize=3, label=cell)
    left.axhline(adding.CONSTANT, color="gray", linestyle=":", label="the answer 1")
    left.axhline(SOLVED, color="gray", linestyle="--", label="solved")
    left.set(yscale="log", ylabel="mean squared error at the end")
    right.set(ylim=(0, setting.updates), ylabel="updates until solved (runs that did)")
    for axis in (left, right):
        axis.set(xscale="log", xlabel="steps", title=f"adding problem, {setting.seeds} seeds")
        axis.set_xticks(setting.lengths, [str(length) for length in setting.lengths])
        axis.minorticks_off()
    left.legend(fontsize="small")
    return save(figure, workdir / "memory_task.png")


def longest(rows: list[dict[str, Any]], cell: str, count: int) -> int:
    """The last length before the first that not all runs of a cell solved; 0 where that is the first."""
    reached = 0
    for row in rows:
        if row["cell"] == cell and row["solved"] < count:
            return reached
        reached = row["steps"] if row["cell"] == cell else reached
    return reached


def _sentence(setting: Setting, rows: list[dict[str, Any]]) -> str:
    far = {cell: longest(rows, cell, setting.seeds) for cell in setting.cells}
    told = []
    for cell, length in far.items():
        beyond = next((row for row in rows if row["cell"] == cell and row["steps"] > length), None)
        more = "nothing longer was tried"
        if beyond is not None:
            more = f"at {beyond['steps']} steps {beyond['solved']} do, and the mean error is {beyond['error']:.3f}"
        told.append(f"{cell} up to {length} steps ({more})")
    further = min(length for cell, length in far.items() if cell != "RNN") > far["RNN"]
    verdict = "agrees with" if further else "does not bear out"
    return (
        f"Within {setting.updates:,} updates all {setting.seeds} runs solve the adding problem with the "
        f"{', with the '.join(told)}; guessing 1 errs by {adding.CONSTANT:.3f}: that gates carry what a vanilla RNN "
        f"loses {verdict} the lecture, whose remedy for vanishing gradients is another architecture."
    )


STUDIES = {"memory_task": memory_task}
