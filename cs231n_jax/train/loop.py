"""The one training loop: from where the run directory stands to the end of the run."""

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np

from cs231n_jax import optim
from cs231n_jax.tasks.base import Metrics
from cs231n_jax.train import sharding, snapshots
from cs231n_jax.train.assemble import Assembly
from cs231n_jax.train.evaluate import device_batches, evaluate, make_eval_step
from cs231n_jax.train.record import Lines, WorkdirError
from cs231n_jax.train.signals import Interrupted, StopRequest
from cs231n_jax.train.state import TrainState
from cs231n_jax.train.step import make_train_step
from cs231n_jax.typing import Batch


class DivergedError(Exception):
    """The loss, a gradient or a parameter stopped being finite; nothing that is not finite was saved."""


class Reporter(Protocol):
    """What the loop tells a person."""

    def start(self, done: int, total: int) -> None:
        """Training begins, or continues after `done` updates."""
        ...

    def advance(self, done: int) -> None:
        """`done` updates are complete."""
        ...

    def line(self, text: str) -> None:
        """Something worth reading."""
        ...


class Loop:
    """One run between its start and its end: the compiled step, the files, and what is due when."""

    def __init__(self, assembly: Assembly, workdir: Path, reporter: Reporter, stop: StopRequest, started: float):
        """`started`: time.time() at the start of the process."""
        self.assembly, self.workdir, self.reporter, self.stop, self.started = assembly, workdir, reporter, stop, started
        self.config = assembly.config
        self.metrics, self.timing = Lines(workdir / "metrics.jsonl"), Lines(workdir / "timing.jsonl")
        self.clock = _Clock()
        self._members = frozenset(assembly.member_steps())
        self._eval_step = jax.jit(make_eval_step(assembly.task))

    def run(self, until: int = 0) -> TrainState:
        """Train to the end, or for a replay until so many updates, and return the state there.

        Raises:
            Interrupted: a signal came; the state is saved.
            DivergedError: gradients stopped being finite.
        """
        state, pending_eval = self._start()
        done, total = int(state.step), until or self.assembly.total_steps
        state = sharding.put_state(state, self.assembly.mesh)
        zero = jax.tree.map(np.zeros_like, jax.device_get(state.metrics))
        if pending_eval:
            state = self._boundary(state, done, zero, only_eval=True)
        step_function: Callable[[TrainState, Batch], tuple[TrainState, jax.Array]] | None = None
        previous = state.step
        self.reporter.start(done, total)
        while done < total:
            with self.clock("data"):
                batch = sharding.put_batch(self.assembly.pipeline.batch(done), self.assembly.mesh)
            if step_function is None:
                step_function = self._compile(state, batch)
                state, previous = step_function(state, batch)
                self._first_update(previous, done + 1)
            else:
                state, tick = step_function(state, batch)
                previous.block_until_ready()  # at most two updates in flight: signals and the bar stay honest
                previous = tick
            done += 1
            self.reporter.advance(done)
            state = self._boundary(state, done, zero)
        return state

    def _start(self) -> tuple[TrainState, bool]:
        """The state to go on from, and whether an evaluation at that step was cut off."""
        snapshots.clean(self.workdir)
        step = snapshots.latest_good(self.workdir, warn=self.reporter.line)
        self.timing.cut(math.inf)
        if step is None:
            self.metrics.cut(-1)
            if snapshots.steps(self.workdir):
                self.reporter.line("no snapshot is whole: starting from the beginning")
            return self.assembly.new_state(), False
        self.reporter.line(f"continuing from the snapshot at step {step}")
        content = snapshots.manifest(self.workdir, step)
        pending = content.get("pending") == "eval"
        self.metrics.cut(step, redo="eval" if pending else "")
        if self.metrics.digest() != content.get("metrics", self.metrics.digest()):
            raise WorkdirError(
                f"{self.metrics.path} is not what it was at the snapshot at step {step}: lines up to there are missing "
                "or changed, so put a whole copy of it back, or start in another --workdir"
            )
        return snapshots.restore(self.workdir, step, self.assembly.state_shapes()), pending

    def _compile(self, state: TrainState, batch: Batch) -> Callable[[TrainState, Batch], Any]:
        """The train step, compiled once for the one shape there is; another shape would be an error."""
        step = make_train_step(
            self.assembly.task, self.assembly.optimizer, self.config.seed, self.config.train.max_dropped
        )

        def with_tick(state: TrainState, batch: Batch) -> tuple[TrainState, jax.Array]:
            state = step(state, batch)
            return state, state.step  # a copy that is not donated, to wait for

        with self.clock("compile"):
            return jax.jit(with_tick, donate_argnums=0).lower(state, batch).compile()

    def _first_update(self, tick: jax.Array, step: int) -> None:
        tick.block_until_ready()
        seconds = time.time() - self.started
        self.timing.append({"step": step, "process_start_to_first_update": round(seconds, 3)})

    def _boundary(self, state: TrainState, done: int, zero: Metrics, only_eval: bool = False) -> TrainState:
        """What is due after `done` updates, always in this order: log, evaluate, save."""
        train, total = self.config.train, self.assembly.total_steps
        member = done in self._members
        log, evaluates = self.assembly.due(done, train.log_every), self.assembly.due(done, train.eval_every)
        saves = self.assembly.due(done, train.save_every) or member
        if not (log or evaluates or saves or self.stop):
            return state
        self._refuse_divergence(state, done)
        if log and not only_eval:
            state = self._log(state, done, zero)
        if evaluates and not self._evaluate(state, done):
            self._save(state, done, snapshots.Kind.RESUME, {"pending": "eval"})
            raise self._interrupted(done)
        if saves or self.stop:
            kind = snapshots.Kind.MEMBER if member else snapshots.Kind.RESUME
            self._save(state, done, kind)
        if self.stop and done < total:
            raise self._interrupted(done)
        return state

    def _refuse_divergence(self, state: TrainState, done: int) -> None:
        dropped = int(state.dropped)
        if dropped > self.config.train.max_dropped:
            raise DivergedError(
                f"the loss, a gradient or a parameter was not finite at update {done - dropped + 1}; {self._advice()}"
            )

    def _advice(self) -> str:
        good = snapshots.latest_good(self.workdir)
        kept = f"the snapshot at step {good} is kept" if good is not None else "no snapshot was due yet"
        rate = self.config.optimizer.learning_rate
        return f"{kept}; lower optimizer.learning_rate={rate} or set optimizer.clip_norm, in a new workdir"

    def _log(self, state: TrainState, done: int, zero: Metrics) -> TrainState:
        numbers = self.assembly.task.summarize(jax.device_get(state.metrics))
        numbers |= {k: float(v) for k, v in jax.device_get(optim.measurements(state.opt_state)).items()}
        if self.config.train.max_dropped:
            numbers["dropped"] = int(state.dropped_total)
        epoch = done / self.assembly.pipeline.steps_per_epoch
        self.metrics.append({"step": done, "epoch": epoch, "split": "train", **numbers})
        self.timing.append({"step": done, **self.clock.take()})
        self.reporter.line(f"step {done} (epoch {epoch:.2f}) train {_show(numbers)}")
        return state._replace(metrics=sharding.put_state(zero, self.assembly.mesh))

    def _evaluate(self, state: TrainState, done: int) -> bool:
        """Evaluate and write a line; False if a signal cut it off."""
        with self.clock("evaluate"):
            metrics = evaluate(
                self._eval_step, state.params, state.model_state, device_batches(self.assembly), lambda: bool(self.stop)
            )
        if metrics is None:
            return False
        numbers = self.assembly.task.summarize(metrics)
        if not all(math.isfinite(value) for value in numbers.values()):
            shown = _show(numbers)
            raise DivergedError(f"the evaluation after {done} updates is not finite ({shown}); {self._advice()}")
        epoch = done / self.assembly.pipeline.steps_per_epoch
        self.metrics.append({"step": done, "epoch": epoch, "split": "eval", **numbers})
        self.reporter.line(f"step {done} (epoch {epoch:.2f}) eval  {_show(numbers)}")
        return True

    def _save(self, state: TrainState, done: int, kind: snapshots.Kind, extra: dict[str, Any] | None = None) -> None:
        with self.clock("save"):
            self.metrics.sync()
            snapshots.save(self.workdir, state, kind, {"metrics": self.metrics.digest(), **(extra or {})})
            snapshots.prune(self.workdir, self.config.snapshots.keep)

    def _interrupted(self, done: int) -> Interrupted:
        return Interrupted(f"{self.stop.received}: saved step {done} of {self.assembly.total_steps}")


class _Clock:
    """Seconds by purpose since the last look."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def __call__(self, purpose: str) -> ExitStack:
        """A context whose duration is added to `purpose`."""
        start, stack = time.perf_counter(), ExitStack()
        stack.callback(lambda: self._add(purpose, time.perf_counter() - start))
        return stack

    def _add(self, purpose: str, seconds: float) -> None:
        self._seconds[purpose] = self._seconds.get(purpose, 0.0) + seconds

    def take(self) -> dict[str, float]:
        """All seconds since the last call, and those spent on each purpose."""
        now = time.perf_counter()
        taken = {"seconds": now - self._since, **self._seconds}
        self._seconds, self._since = {}, now
        return {name: round(value, 4) for name, value in taken.items()}


def _show(numbers: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())
