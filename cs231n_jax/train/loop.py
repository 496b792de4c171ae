"""The one training loop: from where the run directory stands to the end of the run."""

import math
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax import optim
from cs231n_jax.train import processes, sharding, snapshots
from cs231n_jax.train.assemble import Assembly, frozen_stages
from cs231n_jax.train.evaluate import device_batches, evaluate, make_eval_step
from cs231n_jax.train.feed import Feed, make_feed
from cs231n_jax.train.profile import Profile
from cs231n_jax.train.record import Lines, WorkdirError
from cs231n_jax.train.signals import Interrupted, StopRequest
from cs231n_jax.train.state import TrainState, zeros
from cs231n_jax.train.step import make_train_step


class DivergedError(Exception):
    """The loss, a gradient or a parameter stopped being finite; nothing that is not finite was saved."""


class Reporter(Protocol):
    """What the loop tells a person."""

    def start(self, done: int, total: int) -> None:
        """Training begins, or continues after `done` updates."""

    def advance(self, done: int) -> None:
        """`done` updates are complete."""

    def line(self, text: str) -> None:
        """Something worth reading."""


class Silent(Reporter):
    """Tells nobody."""


class Loop:
    """One run between its start and its end: the compiled step, the files, and what is due when."""

    def __init__(
        self,
        assembly: Assembly,
        workdir: Path,
        reporter: Reporter,
        stop: StopRequest,
        started: float,
        profile: tuple[int, int] = (0, 0),
    ):
        """`started`: time.time() at the start of the process; `profile`: trace the updates after a up to b."""
        self.assembly, self.workdir, self.reporter, self.stop, self.started = assembly, workdir, reporter, stop, started
        self.config = assembly.config
        self.metrics = Lines(workdir / "metrics.jsonl", processes.is_main())
        self.timing = Lines(workdir / "timing.jsonl", processes.is_main())
        self.clock = _Clock()
        self._alone = jax.process_count() == 1
        self._votes = 0  # processes that have been asked to stop, as the last finished update counted them
        self._members = frozenset(assembly.member_steps())
        self._replicated = sharding.replicated(assembly.mesh)
        eval_step = make_eval_step(assembly.task, assembly.mesh)
        self._eval_step = jax.jit(eval_step, out_shardings=self._replicated)
        self._profile = Profile(workdir / "profile" / f"process{jax.process_index()}", *profile)

    def run(self, until: int = 0) -> TrainState:
        """Train to the end, or for a replay until so many updates, and return the state there.

        Raises:
            Interrupted: a signal came, or the time allowed is nearly over; the state is saved.
            DivergedError: gradients stopped being finite.
        """
        start, pending_eval = self._start()
        done, total = max(start, 0), until or self.assembly.total_steps
        feed = make_feed(self.assembly)
        with ThreadPoolExecutor(1) as beside:  # the state is made while the step compiles
            compiled = beside.submit(self._compile, self._lower(feed)) if done < total else None
            state = self._state(start)
            if pending_eval:
                state = self._boundary(state, done, only_eval=True)
            step_functions = compiled.result() if compiled else []
        self.reporter.start(done, total)
        if not step_functions:
            return state
        try:
            return self._updates(state, step_functions, feed, done, total)
        finally:
            self._profile.close()

    def _updates(
        self, state: TrainState, step_functions: list[jax.stages.Compiled], feed: Feed, done: int, total: int
    ) -> TrainState:
        votes = [self._vote(yes) for yes in (0, 1)]
        previous: jax.Array | None = None
        while done < total:
            began = time.monotonic()
            count = min(feed.most, self._until_due(done, total))
            self._profile.before(done, count)
            with self.clock("data"):
                given = feed.take(done, count)
            state, tick = step_functions[feed.which(done)](state, given, votes[bool(self.stop)])
            if previous is None:
                self._first_update(tick, done + count)
            else:
                previous.block_until_ready()  # at most two calls in flight: signals and the bar stay honest
                self._votes = 0 if self._alone else int(previous)
            self._profile.after(done + count, tick)
            previous = tick
            done += count
            self.reporter.advance(done)
            state = self._boundary(state, done)
            self.stop.allow(time.monotonic() - began)
        return state

    def _start(self) -> tuple[int, bool]:
        """The step to go on from, −1 for the beginning, and whether an evaluation at that step was cut off."""
        found = processes.on_main(self._look_back) or (0, False)
        return processes.agree(found[0]), bool(processes.agree(found[1]))

    def _look_back(self) -> tuple[int, bool]:
        """Find the newest whole snapshot, and cut the files back to it."""
        snapshots.clean(self.workdir)
        step = snapshots.latest_good(self.workdir, warn=self.reporter.line)
        self.timing.cut(math.inf)
        if step is None:
            self.metrics.cut(-1)
            if snapshots.steps(self.workdir):
                self.reporter.line("no snapshot is whole: starting from the beginning")
            return -1, False
        self.reporter.line(f"continuing from the snapshot at step {step}")
        content = snapshots.manifest(self.workdir, step)
        pending = content.get("pending") == "eval"
        self.metrics.cut(step, redo="eval" if pending else "")
        if self.metrics.digest() != content.get("metrics", self.metrics.digest()):
            raise WorkdirError(
                f"{self.metrics.path} is not what it was at the snapshot at step {step}: lines up to there are missing "
                "or changed, so put a whole copy of it back, or start in another --workdir"
            )
        return step, pending

    def _state(self, step: int) -> TrainState:
        """The state of a snapshot, or the first one, on the devices."""
        if step < 0:
            return self.assembly.new_state()
        return sharding.put_state(snapshots.restore(self.workdir, step, self.assembly.state_shapes), self.assembly.mesh)

    def _lower(self, feed: Feed) -> list[jax.stages.Lowered]:
        """The train step for each declared shape, traced; another shape would be an error."""
        train, shapes = self.config.train, self.assembly.state_shapes
        step = make_train_step(
            self.assembly.task,
            self.assembly.optimizer,
            self.config.seed,
            train.max_dropped,
            accumulate=train.accumulate,
            mesh=self.assembly.mesh,
            frozen=frozen_stages(self.config),
        )

        def with_tick(state: TrainState, given: Any, votes: jax.Array) -> tuple[TrainState, jax.Array]:
            return feed.apply(step, state, given), jnp.sum(votes)  # not donated: something to wait for

        with self.clock("trace"):
            lies = jax.tree.map(lambda x: x.sharding, shapes)
            jitted = jax.jit(with_tick, donate_argnums=0, out_shardings=(lies, self._replicated))
            votes = sharding.with_shardings(self._vote(0), sharding.batch_sharding(self.assembly.mesh))
            return [jitted.lower(shapes, given, votes) for given in feed.shapes]

    def _vote(self, yes: int) -> jax.Array:
        """Whether this process was asked to stop, on each of its devices; a step adds up the votes of all."""
        mine = self.assembly.mesh.size // jax.process_count()
        return sharding.put_batch({"vote": np.full(mine, yes, np.int32)}, self.assembly.mesh)["vote"]

    @property
    def _stopping(self) -> bool:
        """Whether to stop here: one process decides for itself, several stop where a finished step counted a vote."""
        return bool(self.stop) if self._alone else self._votes > 0

    def _until_due(self, done: int, total: int) -> int:
        """Updates to the next one after which something is due."""
        train = self.config.train
        every = [self.assembly.every(text) for text in (train.log_every, train.eval_every, train.save_every)]
        ends = [done + e - done % e for e in every if e]
        return min([total, *ends, *(m for m in self._members if m > done)]) - done

    def _compile(self, lowered: list[jax.stages.Lowered]) -> list[jax.stages.Compiled]:
        with self.clock("compile"):
            return [one.compile() for one in lowered]

    def _first_update(self, tick: jax.Array, step: int) -> None:
        tick.block_until_ready()
        seconds = time.time() - self.started
        self.timing.append({"step": step, "process_start_to_first_update": round(seconds, 3)})

    def _boundary(self, state: TrainState, done: int, only_eval: bool = False) -> TrainState:
        """What is due after `done` updates, always in this order: log, evaluate, save."""
        train, total = self.config.train, self.assembly.total_steps
        member = done in self._members
        log, evaluates = self.assembly.due(done, train.log_every), self.assembly.due(done, train.eval_every)
        saves = self.assembly.due(done, train.save_every) or member
        if not (log or evaluates or saves or self._stopping):
            return state
        self._refuse_divergence(state, done)
        if log and not only_eval:
            state = self._log(state, done)
        if evaluates and not self._evaluate(state, done):
            self._save(state, done, snapshots.Kind.RESUME, {"pending": "eval"})
            raise self._interrupted(done)
        if saves or self._stopping:
            kind = snapshots.Kind.MEMBER if member else snapshots.Kind.RESUME
            self._save(state, done, kind)
        if self._stopping and done < total:
            raise self._interrupted(done)
        return state

    def _refuse_divergence(self, state: TrainState, done: int) -> None:
        dropped = int(state.dropped)
        if dropped > self.config.train.max_dropped:
            raise DivergedError(
                f"the loss, a gradient, a parameter or a slot was not finite at update {done - dropped + 1}; "
                f"{self._advice()}"
            )

    def _advice(self) -> str:
        good = snapshots.latest_good(self.workdir)
        kept = f"the snapshot at step {good} is kept" if good is not None else "no snapshot was due yet"
        rate = self.config.optimizer.learning_rate
        return f"{kept}; lower optimizer.learning_rate={rate} or set optimizer.clip_norm, in a new workdir"

    def _log(self, state: TrainState, done: int) -> TrainState:
        numbers = self.assembly.task.summarize(jax.device_get(state.metrics))
        numbers |= {k: float(v) for k, v in jax.device_get(optim.measurements(state.opt_state)).items()}
        if self.config.train.max_dropped:
            numbers["dropped"] = int(state.dropped_total)
        epoch = done / self.assembly.pipeline.steps_per_epoch
        self.metrics.append({"step": done, "epoch": epoch, "split": "train", **numbers})
        self.timing.append({"step": done, **self.clock.take()})
        self.reporter.line(f"step {done} (epoch {epoch:.2f}) train {_show(numbers)}")
        return state._replace(metrics=sharding.put_state(zeros(self.assembly.state_shapes.metrics), self.assembly.mesh))

    def _evaluate(self, state: TrainState, done: int) -> bool:
        """Evaluate and write a line; False if a signal cut it off."""
        with self.clock("evaluate"):
            metrics = evaluate(
                self._eval_step, state.params, state.model_state, device_batches(self.assembly), self._cut_short
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

    def _cut_short(self) -> bool:
        return processes.anyone(bool(self.stop))

    def _save(self, state: TrainState, done: int, kind: snapshots.Kind, extra: dict[str, Any] | None = None) -> None:
        with self.clock("save"):
            self.metrics.sync()
            snapshots.save(self.workdir, state, kind, {"metrics": self.metrics.digest(), **(extra or {})})
            processes.on_main(lambda: snapshots.prune(self.workdir, self.config.snapshots.keep))

    def _interrupted(self, done: int) -> Interrupted:
        reason = self.stop.received or "another process was asked to stop"
        return Interrupted(f"{reason}: saved step {done} of {self.assembly.total_steps}")


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
