"""The typed tree that describes a run completely, to and from JSON."""

# No `from __future__ import annotations` here: flag overrides read the types of the fields.
import dataclasses
import difflib
import enum
from collections.abc import Mapping
from typing import Any

from cs231n_jax.data import DataConfig
from cs231n_jax.models import ModelConfig
from cs231n_jax.optim import OptimizerConfig, ScheduleConfig
from cs231n_jax.optim.schedules import duration
from cs231n_jax.tasks.base import TaskConfig
from cs231n_jax.train.encoder import EncoderConfig
from cs231n_jax.train.initial import InitialConfig
from cs231n_jax.train.sharding import MeshConfig
from cs231n_jax.train.snapshots import SnapshotConfig


@dataclasses.dataclass(kw_only=True, slots=True)
class TrainConfig:
    """How long, and how often what. Durations are strings: "500" updates, "10ep" epochs, "90%" of the run."""

    steps: str = "10ep"
    log_every: str = "1ep"  # a line of training metrics
    eval_every: str = "1ep"  # "0": at the end alone
    save_every: str = "1ep"  # a resume snapshot; "0": at the end alone
    max_dropped: int = 0  # updates not finite dropped in a row before the run stops; above 0: "dropped" is logged
    accumulate: int = 1  # micro-batches that a batch is worked through in, one after the other, to save memory
    ema_decay: float = 0.0  # above 0: a moving average of the parameters is kept, for experiments.ensemble
    steps_per_call: int = 1  # more: the training set lies on the device, and so many updates are one compiled call

    def validate(self) -> None:
        """Refuse what is no duration."""
        for name in ("steps", "log_every", "eval_every", "save_every"):
            try:
                duration(getattr(self, name), total_steps=1, steps_per_epoch=1)
            except ValueError as error:
                raise ValueError(f"train.{name}: {error}") from None
        if not 0 <= self.max_dropped < 2**31:
            raise ValueError(f"train.max_dropped={self.max_dropped} must be ≥ 0 and below 2³¹")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"train.ema_decay={self.ema_decay} must lie in [0, 1); the lecture has 0.995")
        for name in ("accumulate", "steps_per_call"):
            if getattr(self, name) < 1:
                raise ValueError(f"train.{name}={getattr(self, name)} must be ≥ 1")


@dataclasses.dataclass(kw_only=True, slots=True)
class Config:
    """One run. The JSON form of this tree alone re-creates it."""

    seed: int = 0
    task: TaskConfig = dataclasses.field(default_factory=TaskConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    encoder: EncoderConfig = dataclasses.field(default_factory=EncoderConfig)
    initial: InitialConfig = dataclasses.field(default_factory=InitialConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = dataclasses.field(default_factory=ScheduleConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    snapshots: SnapshotConfig = dataclasses.field(default_factory=SnapshotConfig)
    mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)

    def validate(self) -> None:
        """Refuse a tree that cannot run; raises ValueError with the first reason."""
        for field in dataclasses.fields(self):
            part = getattr(self, field.name)
            if dataclasses.is_dataclass(part):
                part.validate()  # type: ignore[union-attr]
        members, cycles = self.snapshots.members, self.schedule.cycles
        if self.schedule.name == "snapshot_cosine" and members and (members, self.snapshots.after) != (cycles, "0"):
            raise ValueError(
                f"snapshots.members={members} after {self.snapshots.after!r}, but schedule.cycles={cycles}: members "
                "are the ends of the cycles, so set both to the same number, and snapshots.after to '0'"
            )


def to_json(config: Any) -> Any:
    """A config (or any part of one) as plain JSON values."""
    if dataclasses.is_dataclass(config):
        return {f.name: to_json(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        return {key: to_json(value) for key, value in config.items()}
    if isinstance(config, enum.Enum):
        return config.value
    if isinstance(config, tuple | list):
        return [to_json(value) for value in config]
    return config


def from_json(values: Mapping[str, Any], kind: type = Config, path: str = "config") -> Any:
    """A config from its JSON form; fields that are absent take their defaults.

    Raises:
        ValueError: an unknown field (the nearest right one is named) or a value of the wrong type.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{path}={values!r} must be an object with the fields of a {kind.__name__}")
    fields = {f.name: f for f in dataclasses.fields(kind)}
    given = {}
    for name, value in values.items():
        if name not in fields:
            raise ValueError(f"{path}.{name} does not exist{nearest(name, fields)}; {path} has {', '.join(fields)}")
        given[name] = _typed(value, fields[name].type, f"{path}.{name}")
    return kind(**given)


def nearest(given: str, allowed: Any) -> str:
    """' (did you mean ...?)', or nothing."""
    near = difflib.get_close_matches(given, list(allowed), n=1, cutoff=0.5)
    return f" (did you mean {near[0]}?)" if near else ""


def _typed(value: Any, kind: Any, path: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return from_json(value, kind, path)  # type: ignore[arg-type]
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        try:
            return kind(value)
        except ValueError:
            raise ValueError(f"{path}={value!r} is none of {', '.join(repr(m.value) for m in kind)}") from None
    if isinstance(value, list):
        return tuple(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, type) and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
        raise ValueError(f"{path}={value!r} is a {type(value).__name__}, it must be a {kind.__name__}")
    return value


def differences(a: Any, b: Any, path: str = "") -> list[str]:
    """Where two JSON trees differ, as 'path: a → b', first to last."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = [*a, *(k for k in b if k not in a)]
        missing = "(absent)"
        return [d for k in keys for d in differences(a.get(k, missing), b.get(k, missing), f"{path}.{k}".lstrip("."))]
    return [] if a == b else [f"{path}: {a!r} → {b!r}"]
