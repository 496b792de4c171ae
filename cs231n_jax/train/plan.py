"""What a config would do: sizes and durations, from shapes alone; nothing is trained and no parameter is drawn."""

import math
from typing import NamedTuple

import jax
import numpy as np

from cs231n_jax.data.buckets import waste
from cs231n_jax.models.base import stage_of
from cs231n_jax.train.assemble import Assembly, frozen_stages
from cs231n_jax.typing import PyTree


class Plan(NamedTuple):
    """The numbers of a run before it begins; sizes in bytes."""

    total_steps: int
    steps_per_epoch: int
    train_examples: int
    eval_examples: int
    parameters: int
    frozen_parameters: int  # of these, in stages that never move
    parameter_bytes: int
    state_bytes: int  # batch statistics and other non-trained variables
    optimizer_bytes: int
    batch_bytes: int
    device_bytes: int  # of parameters, state and slots, on each device
    member_steps: list[int]
    devices: dict[str, int]


def plan(assembly: Assembly) -> Plan:
    """Sizes and durations of an assembled run."""
    state, frozen = assembly.state_shapes, frozen_stages(assembly.config)
    return Plan(
        total_steps=assembly.total_steps,
        steps_per_epoch=assembly.pipeline.steps_per_epoch,
        train_examples=len(assembly.train_source),
        eval_examples=len(assembly.eval_source),
        parameters=_count(state.params),
        frozen_parameters=_count({name: part for name, part in state.params.items() if stage_of(name) in frozen}),
        parameter_bytes=size(state.params),
        state_bytes=size(state.model_state),
        optimizer_bytes=size(state.opt_state),
        batch_bytes=size(assembly.batch_shapes),
        device_bytes=size_on_a_device((state.params, state.model_state, state.opt_state)),
        member_steps=assembly.member_steps(),
        devices=dict(assembly.mesh.shape),
    )


def padding(assembly: Assembly) -> tuple[float, float] | None:
    """Share of padding among the places of the first epoch's sequences: in its batches, and at one length for all.

    None where the data has no sequences of different lengths.
    """
    pipeline, info = assembly.pipeline, assembly.train_source.info
    if not info.ragged:
        return None
    updates = [
        (pipeline.indices(step), info.buckets[pipeline.bucket(step)]) for step in range(pipeline.steps_per_epoch)
    ]
    examples = assembly.train_source[np.concatenate([indices for indices, _ in updates])]
    tokens = np.stack([examples[name] for name in info.ragged.values()], 1)
    padded = np.repeat([length for _, length in updates], [len(indices) for indices, _ in updates])
    each = len(info.ragged)
    return waste(tokens, each * padded), waste(tokens, np.full(tokens.shape, info.buckets[-1]))


def size(tree: PyTree) -> int:
    """Bytes of all leaves (arrays or jax.ShapeDtypeStructs)."""
    return sum(int(np.prod(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def size_on_a_device(tree: PyTree) -> int:
    """Bytes that one device holds of jax.ShapeDtypeStructs with shardings."""
    leaves = jax.tree.leaves(tree)
    return sum(math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in leaves)


def _count(tree: PyTree) -> int:
    return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(tree))


def rows(plan: Plan) -> list[tuple[str, str]]:
    """The plan as text."""
    epochs = plan.total_steps / plan.steps_per_epoch
    numbers = {
        "updates": f"{plan.total_steps:,} ({epochs:.4g} epochs of {plan.steps_per_epoch:,})",
        "examples": f"{plan.train_examples:,} to train on, {plan.eval_examples:,} to evaluate",
        "parameters": f"{plan.parameters:,}",
        "of these frozen": f"{plan.frozen_parameters:,}",
        "parameter bytes": f"{plan.parameter_bytes:,}",
        "model state bytes": f"{plan.state_bytes:,}",
        "optimizer bytes": f"{plan.optimizer_bytes:,}",
        "bytes of a batch": f"{plan.batch_bytes:,}",
        "bytes on each device": f"{plan.device_bytes:,} of parameters, model state and optimizer",
        "member snapshots after": ", ".join(map(str, plan.member_steps)) or "none",
        "devices": " × ".join(f"{name} {count}" for name, count in plan.devices.items()),
    }
    return list(numbers.items())
