"""From a config to the objects of a run: data, task, optimizer, schedule, steps."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from cs231n_jax.config import Config
from cs231n_jax.data import Pipeline, Source, open_source, progress
from cs231n_jax.data.buckets import crop
from cs231n_jax.models import Precision
from cs231n_jax.models.base import stage_of
from cs231n_jax.optim import OTHERS, GradientTransformation, chain, freeze, partition, track_ema
from cs231n_jax.optim.schedules import duration
from cs231n_jax.tasks import registry
from cs231n_jax.tasks.base import Task
from cs231n_jax.train import encoder, initial, sharding, state
from cs231n_jax.train.signals import Interrupted
from cs231n_jax.train.snapshots import SnapshotConfig
from cs231n_jax.typing import Schedule

MOST_STEPS = 99_999_999  # the eight digits in a snapshot's name


@dataclass(frozen=True)
class Assembly:
    """A config made concrete; every part a pure function of it."""

    config: Config
    train_source: Source
    eval_source: Source
    pipeline: Pipeline
    task: Task
    schedule: Schedule
    optimizer: GradientTransformation
    mesh: Mesh
    total_steps: int

    def every(self, text: str) -> int:
        """A duration of the config in updates: 0 for "0", else at least 1."""
        return _updates(text, self.total_steps, self.pipeline.steps_per_epoch)

    def due(self, step: int, text: str) -> bool:
        """Whether something done every `text` updates, and at the end, is due after `step` updates."""
        every = self.every(text)
        return step == self.total_steps or bool(every and step % every == 0)

    def member_steps(self) -> list[int]:
        """The steps of the members that the run leaves."""
        return member_steps(self.config.snapshots, self.total_steps, self.pipeline.steps_per_epoch)

    @property
    def eval_batch_size(self) -> int:
        """The config's evaluation batch, rounded up so that it divides over the devices; padding is masked."""
        devices = self.mesh.size
        return -(-self.config.data.evaluation_batch_size // devices) * devices

    @property
    def batch_shapes(self) -> dict[str, Any]:
        """The shapes of a training batch over all processes, with shardings, for abstract runs: of the longest one."""
        return self.bucket_shapes[-1]

    @cached_property
    def bucket_shapes(self) -> tuple[dict[str, Any], ...]:
        """Of a training batch of each declared length; of the only one where none is declared."""
        info, size, where = self.train_source.info, self.config.data.batch_size, sharding.batch_sharding(self.mesh)
        whole = self.train_source[np.zeros(1, np.int64)]
        examples = [crop(whole, info, length) for length in info.buckets] or [whole]
        return tuple(
            {n: jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype, sharding=where) for n, x in batch.items()}
            for batch in ({**example, **self.pipeline.draws(0)} for example in examples)
        )

    def new_state(self) -> state.TrainState:
        """The state before the first update, on its devices."""
        shared = (self.task, self.optimizer, self.config.seed, self.batch_shapes, self.mesh, self.state_shapes)
        return state.create(*shared, partial(initial.replaced, self.config.initial))

    @cached_property
    def state_shapes(self) -> state.TrainState:
        """What `new_state` would give, as jax.ShapeDtypeStructs with shardings."""
        return state.shapes(self.task, self.optimizer, self.batch_shapes, self.mesh)

    def fingerprints(self) -> dict[str, Any]:
        """SHA-256 of the data, by split."""
        return {s.info.split: s.info.fingerprint for s in (self.train_source, self.eval_source)}


def _updates(text: str, total_steps: int, steps_per_epoch: int) -> int:
    """A duration in updates: 0 for "0", else at least 1."""
    steps = duration(text, total_steps=total_steps, steps_per_epoch=steps_per_epoch)
    return steps or int(duration(text, total_steps=10**9, steps_per_epoch=10**9) > 0)


def member_steps(config: SnapshotConfig, total_steps: int, steps_per_epoch: int) -> list[int]:
    """The ends of M equal cycles of ⌈(T − after) / M⌉ updates each; the last one ends with the run."""
    return _ends(_updates(config.after, total_steps, steps_per_epoch), total_steps, config.members)


def _ends(after: int, total_steps: int, members: int) -> list[int]:
    cycle = math.ceil((total_steps - after) / members) if members else 0
    return sorted({min(after + cycle * i, total_steps) for i in range(1, members + 1)})


def _check_members(config: SnapshotConfig, total_steps: int, steps_per_epoch: int) -> None:
    after = duration(config.after, total_steps=total_steps, steps_per_epoch=steps_per_epoch)
    if config.members and (after >= total_steps or len(_ends(after, total_steps, config.members)) != config.members):
        raise ValueError(
            f"snapshots.members={config.members} equal cycles after snapshots.after={config.after!r} do not fit "
            f"{total_steps} updates: take fewer, or begin earlier"
        )


def assemble(config: Config, should_stop: Callable[[], bool] = encoder.never) -> Assembly:
    """Open the data and build everything that a run needs.

    Args:
        config: the run.
        should_stop: looked at while pictures are decoded and the features of an encoder are computed.

    Raises:
        ValueError: the config cannot run; the message says which field and why.
        FileNotFoundError: the data is not there.
        Interrupted: `should_stop` said so; pictures and features so far are kept.
    """
    config.validate()
    if config.model.dtype is Precision.FLOAT64 and jnp.zeros((), float).dtype != jnp.float64:
        raise ValueError("model.dtype=float64 needs 64-bit jax: jax.config.update('jax_enable_x64', True) comes first")
    eyes = encoder.build(config.encoder, config.data, should_stop)
    with progress.watched(lambda: _may_go_on(should_stop)):
        train_source, eval_source = (open_source(config.data, part) for part in ("train", "eval"))
    if eyes is None:
        return _assembled(config, train_source, eval_source)
    blank = _assembled(config, eyes.blank(train_source), eyes.blank(eval_source))
    blank.task.shapes(blank.batch_shapes)  # what is wrong with the rest of the config is told before hours of work
    return _assembled(config, eyes(train_source), eyes(eval_source, train_source))


def _may_go_on(should_stop: Callable[[], bool]) -> None:
    if should_stop():
        raise Interrupted("interrupted while pictures were decoded; those that are done are kept")


def _assembled(config: Config, train_source: Source, eval_source: Source) -> Assembly:
    """The parts of a run on these sources."""
    pipeline = Pipeline(
        train_source,
        config.data.batch_size,
        config.seed,
        alternating=config.data.alternating_flips,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    total_steps = duration(config.train.steps, total_steps=0, steps_per_epoch=pipeline.steps_per_epoch)
    if total_steps < 1:
        raise ValueError(f"train.steps={config.train.steps!r} is no update at all: give for example '10ep' or '500'")
    if total_steps > MOST_STEPS:
        raise ValueError(
            f"train.steps={config.train.steps!r} is {total_steps} updates; at most {MOST_STEPS} are counted"
        )
    if config.train.steps_per_call > 1 and len(train_source.info.buckets) > 1:
        raise ValueError(
            f"train.steps_per_call={config.train.steps_per_call} needs batches of one length, but data.text.buckets "
            f"declares {len(train_source.info.buckets)}: declare one, or set train.steps_per_call to 1"
        )
    mesh = sharding.make_mesh(config.mesh, config.data.batch_size)
    pieces = config.train.accumulate
    if config.data.batch_size % (pieces * mesh.size):
        raise ValueError(
            f"train.accumulate={pieces} does not cut data.batch_size={config.data.batch_size} evenly over {mesh.size} "
            f"devices: the batch must be a multiple of {pieces * mesh.size}"
        )
    _check_members(config.snapshots, total_steps, pipeline.steps_per_epoch)
    peaks = [factor * config.optimizer.learning_rate for factor in (1.0, *config.optimizer.rate_factors)]
    schedule, *groups = [config.schedule.build(peak, total_steps, pipeline.steps_per_epoch) for peak in peaks]
    starts = _starts(config, total_steps, pipeline.steps_per_epoch)
    assembly = Assembly(
        config=config,
        train_source=train_source,
        eval_source=eval_source,
        pipeline=pipeline,
        task=registry.build(config.task, config.model, config.data, train_source.info),
        schedule=schedule,
        optimizer=_optimizer(config, schedule, groups, starts),
        mesh=mesh,
        total_steps=total_steps,
    )
    if config.optimizer.rate_paths:  # a look at shapes, to find the path that matches nothing before a run begins
        jax.eval_shape(assembly.optimizer.init, assembly.task.shapes(assembly.batch_shapes)[0])
    return assembly


def assemble_here(config: Config, should_stop: Callable[[], bool] = encoder.never) -> Assembly:
    """`assemble` on the devices at hand, however many of what kind a run had: to look at its snapshots.

    fsdp stays where it divides their number; where the batch does not divide over them, one device is used.
    """
    devices = len(jax.devices())
    fsdp = config.mesh.fsdp if devices % config.mesh.fsdp == 0 else 1
    divides = config.data.batch_size % (devices * config.train.accumulate) == 0
    mesh = sharding.MeshConfig(data=devices // fsdp, fsdp=fsdp) if divides else sharding.MeshConfig(data=1)
    return assemble(replace(config, mesh=mesh, model=config.model.here()), should_stop)


def frozen_stages(config: Config) -> tuple[str, ...]:
    """The stages of the model whose parameters the optimizer leaves where they are."""
    return tuple(config.model.options.get("frozen", ()))


def _starts(config: Config, total_steps: int, steps_per_epoch: int) -> list[int]:
    """The updates that the groups of the optimizer begin at."""
    durations = {"total_steps": total_steps, "steps_per_epoch": steps_per_epoch}
    starts = [duration(text, **durations) for text in config.optimizer.rate_starts]
    if late := [start for start in starts if start >= total_steps]:
        raise ValueError(
            f"optimizer.rate_starts={config.optimizer.rate_starts}: a group that begins at update {late[0]} is never "
            f"trained in a run of {total_steps}; begin earlier, or freeze it"
        )
    return starts


def _optimizer(config: Config, schedule: Schedule, groups: list[Schedule], starts: list[int]) -> GradientTransformation:
    """The config's optimizer and, where asked for, a moving average of what it makes of the parameters.

    For the parameters of frozen stages there are no steps, no slots, no averages and no part in the norm.
    """
    optimizer, frozen = config.optimizer.build(schedule, groups, starts), frozen_stages(config)
    if decay := config.train.ema_decay:
        optimizer = chain(optimizer, track_ema(decay))
    if not frozen:
        return optimizer
    rest = {"trained": (OTHERS, optimizer)}
    return partition({"frozen": (lambda path: stage_of(path) in frozen, freeze()), **rest})
