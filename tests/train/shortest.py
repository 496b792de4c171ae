"""Every config in its shortest form, and the process that trains it until something befalls it."""

import dataclasses
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import pytest

from cs231n_jax.config import Config
from cs231n_jax.data.text_config import TextConfig
from cs231n_jax.models import ModelConfig, Precision, registry
from cs231n_jax.train import loop, snapshots, state
from cs231n_jax.train.encoder import EncoderConfig
from cs231n_jax.train.initial import InitialConfig
from cs231n_jax.train.loop import Loop, Silent
from cs231n_jax.train.run import run
from cs231n_jax.train.signals import Interrupted
from experiments import overrides
from tests.descriptors import MODELS, ModelRow

STEPS = 6
_REVIEWS = {"num_classes": 2, "vocabulary": 101}
_PAIRS = {"num_classes": 176, "source_size": 114}
_QUESTIONS = {"num_classes": 16, "vocabulary": 43}


def row_of(name: str) -> ModelRow:
    """The descriptor that makes a model cheap: its own, or one of its family for images of the same kind."""
    variant = registry.VARIANTS[name]
    own = [row for row in MODELS if row.name == name]
    family = [
        row
        for row in MODELS
        if registry.VARIANTS[row.name].module is variant.module
        and registry.VARIANTS[row.name].input_shape == variant.input_shape
    ]
    return (own + family)[0]


def _examples(row: ModelRow) -> tuple[dict[str, Any], dict[str, Any]]:
    """48 examples of the kind that a model reads, three updates an epoch; what that makes of the model's options."""
    match row.reads:
        case ("token", "start"):
            return {"name": "python_docs", "window": row.input_shape[1], "limit": 48}, {"num_classes": 97}
        case ("token", "length"):
            return {"name": "sentiment_grammar:96", "limit": 48, "text": TextConfig(buckets="12,60")}, _REVIEWS
        case ("video",):
            return {"name": "moving_shapes:96", "limit": 48}, {"num_classes": 8}
        case ("image", "target"):
            return {"name": "scenes:24", "limit": 48}, {"num_classes": 25}
        case ("image", "token", _):
            return {"name": "scene_questions:24", "limit": 48}, _QUESTIONS
        case ("source", *_):
            return {"name": "translation_grammar:200", "limit": 48, "text": TextConfig(buckets="16,40")}, _PAIRS
        case _:
            return {"name": f"synthetic:{'x'.join(map(str, row.input_shape[1:]))}:10:48"}, {"num_classes": 10}


@contextmanager
def shortest(text: str, data: int = 1, dtype: Precision = Precision.FLOAT32) -> Iterator[Config]:
    """A config with its own optimizer, schedule and augmentation, on a narrow net and few tiny images.

    Its model can be made while the context lasts.

    Args:
        text: FILE[:ARGUMENT] of a config.
        data: devices that the batch is split over.
        dtype: what the model computes in.
    """
    config: Config = overrides.load(text)
    row = row_of(config.model.name)
    variant = registry.VARIANTS[row.name]
    fixed = {name: value for name, value in row.options.items() if name in variant.options}
    examples, fitting = _examples(row)
    options = {name: value for name, value in row.options.items() if name not in fixed} | fitting
    config.data = dataclasses.replace(
        config.data,
        **examples,
        eval_split="test",
        image_size=0,
        batch_size=16,
        eval_batch_size=16,
        augment_padding=min(config.data.augment_padding, 1),
    )
    config.encoder, config.initial = EncoderConfig(), InitialConfig()
    boundaries = config.schedule.boundaries
    config.schedule = dataclasses.replace(
        config.schedule,
        warmup="0" if config.schedule.warmup == "0" else "1",
        boundaries=tuple(f"{100 * (i + 1) // (len(boundaries) + 1)}%" for i in range(len(boundaries))),
        cycles=min(config.schedule.cycles, 2),
        period="2" if config.schedule.name == "staircase" else config.schedule.period,
    )
    config.train = dataclasses.replace(config.train, steps=str(STEPS), log_every="2", eval_every="3", save_every="1")
    config.snapshots.members = min(config.snapshots.members, 2)
    config.mesh.data = data
    with mock.patch.dict(registry.VARIANTS, {row.name: variant._replace(options={**variant.options, **fixed})}):
        config.model = ModelConfig(name=row.name, options=options, dtype=dtype)
        yield config


class Befalls(Silent):
    """A reporter that sends a signal to its own process after so many updates; 0: never."""

    def __init__(self, number: int, after: int):
        self._number, self._after = number, after

    def advance(self, done: int) -> None:
        """The signal, when its time has come."""
        if done == self._after:
            os.kill(os.getpid(), self._number)

    def line(self, text: str) -> None:
        """For whoever reads the test's output."""
        print(text, flush=True)


def killed(text: str, rough: Path, cache: Path) -> None:
    """Train in this process until it is killed after three updates."""
    _keep_programs(cache)
    with shortest(text) as config:
        run(config, rough, {}, Befalls(signal.SIGKILL, 3), time.time())


def interrupted(text: str, rough: Path, calm: Path, cache: Path) -> None:
    """Go on after the kill until an interrupt after four updates; damage what it saved; go on to the end.

    Then the same run once more, undisturbed, in `calm`.
    """
    _keep_programs(cache)
    with shortest(text) as config, _traced_once():
        assert snapshots.latest_good(rough) == 2
        with pytest.raises(Interrupted):
            run(config, rough, {}, Befalls(signal.SIGINT, 4), time.time())
        saved = snapshots.latest_good(rough)
        assert saved >= 4
        damage(rough, saved)
        assert snapshots.latest_good(rough) < saved
        for workdir in (rough, calm):
            run(config, workdir, {}, Befalls(0, 0), time.time())


@contextmanager
def _traced_once() -> Iterator[None]:
    """Runs of one config share their two programs and the shapes of their state: most of a short run is tracing."""

    def once(function: Callable[..., Any]) -> Callable[..., Any]:
        made: list[Any] = []

        def first(*arguments: Any) -> Any:
            if not made:
                made.append(function(*arguments))
            return made[0]

        return first

    with (
        mock.patch.object(Loop, "_lower", once(Loop._lower)),
        mock.patch.object(Loop, "_compile", once(Loop._compile)),
        mock.patch.object(loop, "make_eval_step", once(loop.make_eval_step)),
        mock.patch.object(state, "shapes", once(state.shapes)),
    ):
        yield


def _keep_programs(cache: Path) -> None:
    """Keep what is compiled."""
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def damage(workdir: Path, step: int) -> None:
    """Turn over one bit in the middle of the largest file of a snapshot."""
    path = max(snapshots.directory(workdir, step).rglob("*"), key=lambda p: p.stat().st_size if p.is_file() else -1)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
