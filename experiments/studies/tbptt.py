"""What truncating backpropagation through time costs and saves: loss, seconds and memory against the window."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax import optim
from cs231n_jax.config import Config
from cs231n_jax.data.text import ROW
from cs231n_jax.train import feed, state
from cs231n_jax.train.assemble import Assembly, assemble
from cs231n_jax.train.evaluate import device_batches, evaluate, make_eval_step
from cs231n_jax.train.step import make_train_step
from cs231n_jax.typing import Params
from experiments.configs import char_lm
from experiments.studies import Result, seeds
from experiments.studies.drawing import canvas, save

# window -> rate of Adam
RATES = {1: 5e-3, 4: 2e-2, 16: 4e-2, 64: 4e-2, 256: 4e-2, ROW: 4e-2}


class Setting(NamedTuple):
    """What is trained, and in which windows."""

    rates: Mapping[int, float] = RATES
    rows: int = 8  # of 1,024 characters, of each stream
    streams: int = 32
    hidden: int = 64
    seeds: int = 3

    @property
    def characters(self) -> int:
        """What each run sees."""
        return self.rows * ROW * self.streams


QUICK = Setting({ROW: 1e-2}, rows=1, streams=2, hidden=8, seeds=2)


def tbptt(workdir: Path, quick: bool) -> Result:
    """Is full backpropagation through time "super slow"? Loss, time and memory against the length of the window.

    The character language model `char_lm` (an LSTM of 64 units) on 32 streams of Python's language reference, each cut
    into windows whose gradients go no further back than the window's first character, while the state is carried on
    from window to window and begins from zeros every 1,024 characters. A window of 1,024 is therefore full
    backpropagation. Every run sees the same 262,144 characters once, in the order of the text, by the step and the loop
    of `experiments.train` (`train.steps_per_call`), with Adam at the rate that suits the window (neither half nor
    double of it was better for the first seed), and gradients clipped to a norm of 1.

    "loss" is in nats a character on the held-out tenth of the text. "µs" is the processor's time for a character, of
    all threads, "µs by the clock" what passed, to which other programs may have added; neither has compiling in it.
    "MB held" are the temporaries of the compiled program, from the compiler's own account. ± are standard errors over
    three seeds. The text differs between versions of Python.

    Reference: Williams, Peng 1990, "An efficient gradient-based algorithm for on-line training of recurrent network
    trajectories" (here h = h' = the window); cs231n, lecture "Recurrent neural networks".
    """
    setting = QUICK if quick else Setting()
    programs = {window: Program(setting, window) for window in setting.rates}
    evaluated = _loss(next(iter(programs.values())).assembly)
    found: dict[int, list[Run]] = {window: [] for window in programs}
    for seed in range(setting.seeds):  # outside, so that what else the machine does falls on all windows alike
        for window, program in programs.items():
            found[window].append(program.run(seed, setting.rates[window], evaluated))
    rows = [_row(setting, programs[window], window, runs) for window, runs in found.items()]
    numbers = {f"window {row['window']}: {key}": float(row[key]) for row in rows for key in list(row)[1:]}
    return Result(_figure(workdir, rows), numbers, _sentence(setting, rows), rows)


class Run(NamedTuple):
    """What one run gave."""

    loss: float  # nats a character of the held-out text
    seconds: float  # for all its updates, by the clock
    processor: float  # likewise, of all threads


class Program:
    """All updates of a run in the loop that `experiments.train` makes of them, for one window.

    One compilation serves all seeds and rates, since nothing in an update is random.
    """

    def __init__(self, setting: Setting, window: int):
        self.updates = setting.rows * ROW // window
        self.assembly = at = assemble(config_of(setting, window, self.updates))
        self._feed = feed.make_feed(at)

        def run(now: state.TrainState, given: Any, rate: Any) -> state.TrainState:
            return self._feed.apply(make_train_step(at.task, optimizer(rate), 0), now, given)

        shapes = state.shapes(at.task, optimizer(1.0), at.batch_shapes, at.mesh)
        self._run = jax.jit(run, donate_argnums=0).lower(shapes, self._feed.shapes[0], jnp.float32(0)).compile()
        memory: Any = self._run.memory_analysis()
        self.held = memory.temp_size_in_bytes  # by the compiler's own account

    def run(self, seed: int, rate: float, evaluated: Callable[[Params], float]) -> Run:
        """Train from the seed's start at a rate; `evaluated`: parameters -> loss."""
        at = self.assembly
        begin = state.create(at.task, optimizer(rate), seed, at.batch_shapes, at.mesh)
        given = jax.block_until_ready((begin, self._feed.take(0, self.updates), jnp.float32(rate)))
        start = time.perf_counter(), time.process_time()
        now = jax.block_until_ready(self._run(*given))
        seconds, processor = time.perf_counter() - start[0], time.process_time() - start[1]
        return Run(evaluated(now.params), seconds, processor)


def optimizer(rate: Any) -> optim.GradientTransformation:
    """Adam on clipped gradients."""
    return optim.chain(optim.clip_by_global_norm(1.0), optim.adam(rate))


def config_of(setting: Setting, window: int, updates: int) -> Config:
    """The recipe `char_lm` with this window, on one device."""
    config = char_lm.get_config("lstm")
    config.model.options |= {"hidden": setting.hidden}
    config.data = dataclasses.replace(config.data, window=window, batch_size=setting.streams)
    config.train.steps_per_call = updates
    config.mesh.data = 1
    return config


def _loss(assembly: Assembly) -> Callable[[Params], float]:
    """Parameters -> the loss on the held-out text, the same for all windows."""
    step = jax.jit(make_eval_step(assembly.task, assembly.mesh))

    def evaluated(params: Params) -> float:
        metrics = evaluate(step, params, {}, device_batches(assembly))
        return assembly.task.summarize(metrics or {})["loss"]

    return evaluated


def _row(setting: Setting, program: Program, window: int, runs: list[Run]) -> dict[str, Any]:
    losses = np.array([run.loss for run in runs])
    micros = 1e6 * np.array([run.processor for run in runs]) / setting.characters
    clock = 1e6 * np.array([run.seconds for run in runs]) / setting.characters
    return {
        "window": window,
        "updates": program.updates,
        "rate": setting.rates[window],
        "loss": float(losses.mean()),
        "± loss": seeds.error(losses),
        "µs": float(micros.mean()),
        "± µs": seeds.error(micros),
        "µs by the clock": float(clock.mean()),
        "MB held": program.held / 1e6,
    }


def _figure(workdir: Path, rows: list[dict[str, Any]]) -> Path:
    figure, axes = canvas(1, 3, width=4)
    windows = [row["window"] for row in rows]
    labels = {"loss": "nats a character, held-out text", "µs": "processor's µs a character", "MB held": "MB held"}
    for axis, (key, label) in zip(axes, labels.items()):
        bars = [row.get(f"± {key}", 0.0) for row in rows]
        axis.errorbar(windows, [row[key] for row in rows], yerr=bars, fmt="o-", capsize=3)
        axis.set(xscale="log", xlabel="window", ylabel=label, title=f"{key}; the last is full backpropagation")
        axis.set_xticks(windows, [str(window) for window in windows])
        axis.minorticks_off()
    axes[1].set_ylim(bottom=0)
    axes[2].set_yscale("log")
    return save(figure, workdir / "tbptt.png")


def _sentence(setting: Setting, rows: list[dict[str, Any]]) -> str:
    full, best = rows[-1], min(rows, key=lambda row: row["loss"])
    cheapest = min(rows, key=lambda row: row["µs"])
    dear = full["µs"] > 1.5 * cheapest["µs"]
    slow = full["loss"] - best["loss"] > 2 * (full["± loss"] + best["± loss"])
    return (
        f"A character of full backpropagation over {full['window']:,} steps costs {full['µs']:.1f} ± "
        f"{full['± µs']:.1f} µs of processor time, where a window of 1 costs {rows[0]['µs']:.1f} and the cheapest, "
        f"{cheapest['window']}, {cheapest['µs']:.1f}: the computation is {'' if dear else 'not '}what is slow; but it "
        f"holds {full['MB held']:.0f} MB where a window of {best['window']} holds {best['MB held']:.1f}, and of "
        f"{setting.characters:,} characters it makes {full['updates']} updates and not {best['updates']:,}, so that "
        f"after them its loss is {full['loss']:.2f} ± {full['± loss']:.2f} nats a character and that of "
        f'the best window {best["loss"]:.2f} ± {best["± loss"]:.2f}: the lecture\'s "super slow" '
        f"{_verdict(slow, dear)} for the time that a character takes."
    )


def _verdict(slow: bool, dear: bool) -> str:
    if slow:
        return f"holds for learning, since every update waits for a whole sequence, {'and' if dear else 'not'}"
    return "does not hold for learning, but" if dear else "holds neither for learning nor"


STUDIES = {"tbptt": tbptt}
