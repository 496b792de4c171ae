"""The page of pictures that `experiments.decode --page` writes: what a captioner says of each, and where it looks."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax.config import Config
from cs231n_jax.data import open_source
from cs231n_jax.data.vocabulary import UNKNOWN, Vocabulary
from cs231n_jax.decode.beam import Hypotheses
from cs231n_jax.models import backbones
from cs231n_jax.report.descriptions import Alternative, Described, Look, page
from cs231n_jax.tasks import captioning
from cs231n_jax.tasks.base import Task
from cs231n_jax.tasks.captioning import Captioning
from cs231n_jax.tasks.generation import Inputs
from cs231n_jax.train import generate, generate_many, own_pictures, record, snapshots
from cs231n_jax.train.assemble import assemble_here
from cs231n_jax.train.generate_many import Settings
from cs231n_jax.train.signals import Interrupted
from cs231n_jax.typing import Array, Batch, ModelState, Params


class Page(NamedTuple):
    """What a page shows, and where it is written."""

    path: Path
    images: int = 20  # the first so many

    def validate(self) -> None:
        """Refuse a place that no page can have; raises ValueError."""
        if self.images < 1:
            raise ValueError(f"a page of {self.images} images shows nothing: give at least 1")
        if self.path.is_dir():
            raise ValueError(f"{self.path} is a folder: name the page, for example {self.path / 'page.html'}")


def of_split(
    workdir: Path,
    split: str,
    settings: Settings,
    where: Page,
    step: str = "latest",
    should_stop: Callable[[], bool] = lambda: False,
    warn: Callable[[str], None] | None = None,
) -> Path:
    """Write the page of the first images of a split; returns its path.

    Of a run that reads the features of an encoder it shows the pictures that these were computed from.

    Args:
        workdir: the run directory.
        split: of the run's data, such as "test".
        settings: how to search.
        where: the file, which is replaced whole or not at all, and how many images.
        step: a step, or "latest" for the newest whole snapshot.
        should_stop: looked at before each batch, and while features are computed.
        warn: told of each damaged snapshot that was passed.

    Raises:
        ValueError: the run writes no captions, there is no such split, or settings or the file are out of range.
        FileNotFoundError: there is no run or no such snapshot.
        DamagedSnapshotError: the snapshot asked for is damaged.
        Interrupted: `should_stop` said so; nothing is written.
    """
    config = record.stored_config(workdir)
    assembly = generate_many.assembled(config, split, should_stop)
    task = _captioning(assembly.task, config)
    inputs, source = captioning.inputs(assembly.eval_source), assembly.eval_source
    if config.encoder.model:
        source = open_source(assembly.config.data, "eval")
    first = np.arange(min(where.images, len(inputs.prompts)))
    about = f"the first {len(first)} of {len(inputs.prompts)} images of {config.data.name} {split}"
    pictures = captioning.inputs(source).take(first, 1)["image"]
    return _write(workdir, task, inputs, pictures, about, settings, where, step, should_stop, warn)


def of_files(
    workdir: Path,
    paths: Sequence[str],
    settings: Settings,
    where: Page,
    step: str = "latest",
    should_stop: Callable[[], bool] = lambda: False,
    warn: Callable[[str], None] | None = None,
) -> Path:
    """Write the page of the first of some files with an image each; else as `of_split`."""
    config = record.stored_config(workdir)
    task = _captioning(assemble_here(config, should_stop).task, config)
    if not paths:
        raise ValueError("there is nothing to describe: give at least one file with an image")
    first = paths[: max(where.images, 1)]
    if config.encoder.model:
        pictures, inputs = own_pictures.looked_at(config, first, should_stop)
    else:
        inputs = generate_many.read(task.generation(), first)
        pictures = inputs.take(np.arange(len(first)), 1)["image"]
    about = f"the first {len(inputs.prompts)} of {len(paths)} files"
    return _write(workdir, task, inputs, pictures, about, settings, where, step, should_stop, warn)


def _captioning(task: Task, config: Config) -> Captioning:
    if not isinstance(task, Captioning):
        raise ValueError(
            f"a run of the task {config.task.name} does not describe pictures, which is what a page shows: leave out "
            "the page, or give a run of the task captioning"
        )
    return task


def _write(
    workdir: Path,
    task: Captioning,
    inputs: Inputs,
    pictures: np.ndarray,
    about: str,
    settings: Settings,
    where: Page,
    step: str,
    should_stop: Callable[[], bool],
    warn: Callable[[str], None] | None,
) -> Path:
    """Describe the first inputs, as many as there are pictures, and write the page of them."""
    settings.validate()
    where.validate()
    found = snapshots.resolve(workdir, step, warn)
    weights = jax.device_put(generate.weights(workdir, found, settings.average))
    inputs = inputs._replace(lengths=inputs.lengths[: len(pictures)])
    program, described = _search(task, settings), []
    for which, _, batch in generate_many.batches(inputs, (), min(settings.batch_size, len(pictures))):
        if should_stop():
            raise Interrupted(f"interrupted before {where.path} was written")
        grid = backbones.grid(task.model.backbone, task.model.stage, batch["image"].shape)
        rows = jax.device_get(program(weights, batch))
        for row, number in enumerate(map(int, which)):
            hypotheses, alpha = jax.tree.map(lambda x, row=row: x[row], rows)
            references = inputs.references[number] if inputs.references else ()
            told = (references,) if isinstance(references, str) else tuple(references)
            looks = () if alpha is None else _looks(task.target, hypotheses, alpha.reshape(-1, *grid))
            found_texts = _alternatives(task, hypotheses)
            described.append(Described(inputs.prompts[number], pictures[number], found_texts, told, looks))
    averaged = ", moving average" if settings.average else ""
    text = (
        f"Snapshot {found}{averaged}, {about}, beam {settings.beam}, at most {settings.length} tokens. A score is the "
        "log-probability in nats over ((5 + tokens) / 6)^0.6; texts that were cut come last."
    )
    where.path.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(where.path, page(f"Captions of {workdir.resolve().name}", text, described))
    return where.path


def _search(task: Captioning, settings: Settings) -> Callable[[Any, Any], tuple[Hypotheses, Array | None]]:
    """The compiled function (weights, batch) -> the hypotheses, and where the first of each row looked, [N, S, L]."""
    how = task.generation()

    def found(weights: tuple[Params, ModelState], batch: Batch) -> tuple[Hypotheses, Array | None]:
        at = how.start(*weights, batch)
        hypotheses = generate_many.hypotheses(at, how, settings)
        if "alignment" not in task.model.stages:
            return hypotheses, None
        target = jnp.concatenate([at.prompt, hypotheses.tokens[:, 0]], 1)
        return hypotheses, task.alignment(*weights, {**batch, "target": target})

    return jax.jit(found)


def _alternatives(task: Captioning, found: Hypotheses) -> list[Alternative]:
    """Of one row."""
    return [
        Alternative(task.write("", tokens[:length]), float(score), float(log_prob), bool(ended))
        for tokens, length, score, log_prob, ended in zip(*found)
        if score > -np.inf  # else a place that the search had nothing for
    ]


def _looks(words: Vocabulary, found: Hypotheses, alpha: np.ndarray) -> list[Look]:
    """Where the first of one row looked for each of its words; the mark at its end is none."""
    marks = {number for name, number in words.specials.items() if name != UNKNOWN}
    tokens = found.tokens[0, : found.lengths[0]]
    return [Look(words.decode([token]), place) for token, place in zip(tokens, alpha) if int(token) not in marks]
