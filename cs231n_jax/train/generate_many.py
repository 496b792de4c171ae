"""Texts for all inputs of a split, or for a list of a user's own, by beam search in batches, scored by the task."""

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np

from cs231n_jax.config import Config
from cs231n_jax.data import buckets
from cs231n_jax.decode import beam_search
from cs231n_jax.decode.beam import Hypotheses
from cs231n_jax.tasks import generation
from cs231n_jax.tasks.generation import Generation, Inputs, Scored, Start
from cs231n_jax.train import encoder, generate, own_pictures, record, snapshots
from cs231n_jax.train.assemble import Assembly, assemble_here
from cs231n_jax.train.signals import Interrupted
from cs231n_jax.typing import Array, Batch, ModelState, Params


@dataclasses.dataclass(frozen=True)
class Settings:
    """How texts are searched for.

    Args:
        beam: width of the search; 1 is greedy decoding.
        length: the most tokens of each text.
        batch_size: inputs at once.
        average: with the moving average of the parameters.
    """

    beam: int = 5
    length: int = 100
    batch_size: int = 64
    average: bool = False

    def validate(self) -> None:
        """Refuse what is out of range; raises ValueError."""
        for name in ("beam", "length", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")


class Generated(NamedTuple):
    """What was generated."""

    texts: list[str]  # in the order of the inputs
    scores: dict[str, Scored]  # of a split whose texts have references
    path: Path  # a text a line; beside it NAME.json with the settings, scores and numbers
    numbers: dict[str, Any]


def generate_split(
    workdir: Path,
    split: str,
    settings: Settings,
    step: str = "latest",
    should_stop: Callable[[], bool] = lambda: False,
    warn: Callable[[str], None] | None = None,
) -> Generated:
    """A text for each input of a split, in the order of the data set, and their scores; files in `samples/`.

    Args:
        workdir: the run directory.
        split: of the run's data, such as "test".
        settings: how to search.
        step: a step, or "latest" for the newest whole snapshot.
        should_stop: looked at after each batch, and while features are computed.
        warn: told of each damaged snapshot that was passed.

    Raises:
        ValueError: the run does not generate, there is no such split, or settings are out of range.
        FileNotFoundError: there is no run or no such snapshot.
        DamagedSnapshotError: the snapshot asked for is damaged.
        Interrupted: `should_stop` said so; what there is is in a file whose name says that it is not all.
    """
    config = record.stored_config(workdir)
    assembly = assembled(config, split, should_stop)
    how = generation.of(assembly.task)
    if how.inputs is None:
        raise ValueError(f"the task {config.task.name} continues texts and has no inputs in a split: give a prompt")
    given = how.inputs(assembly.eval_source)
    noticed = dict(getattr(assembly.eval_source, "noticed", {}))
    return _generate(workdir, config, how, given, {"split": split}, settings, step, should_stop, warn, noticed)


def generate_texts(
    workdir: Path,
    prompts: Sequence[str],
    settings: Settings,
    step: str = "latest",
    should_stop: Callable[[], bool] = lambda: False,
    warn: Callable[[str], None] | None = None,
) -> Generated:
    """A text for each prompt, such as the translation of each sentence; else as `generate_split`."""
    config = record.stored_config(workdir)
    how = generation.of(assemble_here(config, should_stop).task)
    if not prompts:
        raise ValueError("there is nothing to generate from: give at least one line")
    marks = {"prompts": len(prompts), "prompts_sha256": hashlib.sha256("\n".join(prompts).encode()).hexdigest()}
    behind = config.encoder.model
    inputs = own_pictures.looked_at(config, prompts, should_stop)[1] if behind else read(how, prompts)
    return _generate(workdir, config, how, inputs, marks, settings, step, should_stop, warn)


def assembled(config: Config, split: str, should_stop: Callable[[], bool] = encoder.never) -> Assembly:
    """The run with this split to be evaluated on, its examples in the order of the data set."""
    declared = config.data.text.lengths()
    text = dataclasses.replace(config.data.text, buckets=str(declared[-1]) if declared else "")
    data = dataclasses.replace(config.data, eval_split=split, text=text)
    return assemble_here(dataclasses.replace(config, data=data), should_stop)


def search(how: Generation, settings: Settings) -> Callable[[Any, Any], tuple[Array, Array, Array]]:
    """The compiled function (weights, batch) -> tokens [N, S], lengths [N] and log-probabilities [N] of the best."""

    def best(weights: tuple[Params, ModelState], batch: Batch) -> tuple[Array, Array, Array]:
        found = hypotheses(how.start(*weights, batch), how, settings)
        return found.tokens[:, 0], found.lengths[:, 0], found.log_probs[:, 0]

    return jax.jit(best)


def hypotheses(at: Start, how: Generation, settings: Settings) -> Hypotheses:
    """All that a search finds from where decoding begins; to be called inside jit."""
    return beam_search(
        at.step, at.carry, at.prompt, settings.length, beam=settings.beam, stop=how.stop, prompt_lengths=at.lengths
    )


def read(how: Generation, prompts: Sequence[str]) -> Inputs:
    """Prompts as inputs: arrays that differ in their second axis are filled up with zeros."""
    rows = [how.read(prompt) for prompt in prompts]
    ragged = {name for name, array in rows[0].items() if array.ndim > 1}

    def fitted(name: str, array: np.ndarray, length: int) -> np.ndarray:
        more = max(length - array.shape[1], 0) if name in ragged else 0
        return np.pad(array, [(0, 0), (0, more), *[(0, 0)] * (array.ndim - 2)]) if more else array

    def take(which: np.ndarray, length: int) -> dict[str, np.ndarray]:
        return {name: np.concatenate([fitted(name, rows[i][name], length) for i in which]) for name in rows[0]}

    lengths = [max((row[name].shape[1] for name in ragged), default=1) for row in rows]
    return Inputs(take, np.array(lengths, np.int64), prompts)


def batches(
    inputs: Inputs, declared: Sequence[int], size: int
) -> Iterator[tuple[np.ndarray, int, dict[str, np.ndarray]]]:
    """The inputs from the shortest on: (which [n], length, arrays of `size` rows that are padded to this length).

    The length is the first declared one that holds the batch. Inputs that none holds make one more, and inputs of one
    length are padded to that. The last batch is filled up with copies of the longest.
    """
    longest = int(inputs.lengths.max())
    if longest > max(declared, default=0) or longest == inputs.lengths.min():
        declared = [*(length for length in declared if length < longest), longest]
    order = np.argsort(inputs.lengths, kind="stable")
    for start in range(0, len(order), size):
        which = order[start : start + size]
        length = declared[buckets.assign(inputs.lengths[which[-1:]], declared)[0]]
        filled = np.concatenate([which, np.repeat(which[-1:], size - len(which))])
        yield which, length, inputs.take(filled, length)


def _generate(
    workdir: Path,
    config: Config,
    how: Generation,
    inputs: Inputs,
    marks: dict[str, Any],
    settings: Settings,
    step: str,
    should_stop: Callable[[], bool],
    warn: Callable[[str], None] | None,
    noticed: Mapping[str, int] = MappingProxyType({}),
) -> Generated:
    settings.validate()
    found = snapshots.resolve(workdir, step, warn)
    weights = jax.device_put(generate.weights(workdir, found, settings.average))
    header = {"snapshot": found, "sha256": snapshots.digest(workdir, found), **marks, **dataclasses.asdict(settings)}
    program, started = search(how, settings), time.monotonic()
    texts: list[str | None] = [None] * len(inputs.prompts)
    padded, ended = 0, 0
    for which, width, batch in batches(inputs, config.data.text.lengths(), settings.batch_size):
        if should_stop():
            break
        tokens, lengths, _ = jax.device_get(program(weights, batch))
        for i, row, length in zip(map(int, which), tokens, lengths):
            texts[i] = " ".join(how.write(inputs.prompts[i], row[:length]).split())
            ended += bool(length and row[length - 1] == how.stop)
        padded += len(which) * width
    done = [text for text in texts if text is not None]
    numbers = {"texts": len(done), "ended": ended, "seconds": round(time.monotonic() - started, 1)}
    path = _files(workdir, header, [text or "" for text in texts], len(done) == len(texts))
    if len(done) < len(texts):
        raise Interrupted(f"interrupted after {len(done)} of {len(texts)} texts, which are in {path}")
    numbers["padding"] = round(buckets.waste(inputs.lengths, np.array([padded])), 4)
    scores = dict(how.score(done, inputs.references)) if how.score and inputs.references else {}
    shown = {name: score._asdict() for name, score in scores.items()}
    record.write_json(path.with_suffix(".json"), {**header, **numbers, "scores": shown, "noticed": dict(noticed)})
    return Generated(done, scores, path, {**numbers, **noticed})


def _files(workdir: Path, header: dict[str, Any], texts: list[str], done: bool) -> Path:
    """A text a line, whole or not at all; what is not all has a name of its own, and empty lines."""
    name = f"step_{header['snapshot']:08d}_{hashlib.sha256(json.dumps(header).encode()).hexdigest()[:12]}"
    folder = workdir / "samples"
    folder.mkdir(exist_ok=True)
    final, partial = folder / f"{name}.txt", folder / f"{name}.partial.txt"
    record.write_text(final if done else partial, "".join(f"{text}\n" for text in texts))
    if done:
        partial.unlink(missing_ok=True)
    return final if done else partial
