"""Text from a snapshot: a pure function of the snapshot and the settings, made in pieces between which it can stop."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from cs231n_jax.decode import beam, filters, sampling
from cs231n_jax.tasks import generation
from cs231n_jax.tasks.generation import Generation
from cs231n_jax.train import own_pictures, record, snapshots
from cs231n_jax.train.assemble import assemble_here
from cs231n_jax.train.signals import Interrupted
from cs231n_jax.train.state import stream_key
from cs231n_jax.typing import Array, ModelState, Params, PyTree

PIECE = 64  # steps between two looks at the signals


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is generated, by drawing (beam = 0) or by a search.

    Args:
        prompt: what the task makes of it: the beginning of a text, a sentence to be translated.
        samples: how many texts; with a beam its so many best.
        length: the most tokens of each.
        temperature: as for `filters.temperature`, and so on; not for a beam.
        top_k: 0 leaves it out.
        top_p: 1 leaves it out.
        seed: of the draws.
        beam: width of the search; 0: samples are drawn.
        average: generate with the moving average of the parameters.
    """

    prompt: str
    samples: int = 1
    length: int = 400
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    beam: int = 0
    average: bool = False

    def validate(self) -> None:
        """Refuse what is out of range or does not go together; raises ValueError."""
        for name in ("samples", "length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.beam < 0:
            raise ValueError(f"beam is {self.beam}; it must be at least 1, or 0 to draw samples")
        filters.standard(self.temperature, self.top_k, self.top_p)
        drawn = (self.temperature, self.top_k, self.top_p, self.seed)
        if self.beam and drawn != (1.0, 0, 1.0, 0):
            raise ValueError("a beam search draws nothing: leave out temperature, top_k, top_p and seed, or the beam")
        if self.beam and self.samples > self.beam:
            raise ValueError(f"samples is {self.samples}, but a beam of {self.beam} finds no more than {self.beam}")


class Text(NamedTuple):
    """One generated text."""

    text: str
    tokens: int
    log_prob: float  # in nats, of all tokens, under the model without filters
    ended: bool  # by the stop token


class _Decoder(NamedTuple):
    """Sampling and search in one form."""

    begin: Callable[[generation.Start], Any]
    extend: Callable[[generation.Start, Any, Array], Any]  # up to a step
    rows: Callable[[Any], tuple[Array, ...]]  # tokens [M, S], lengths, log-probabilities and ended [M]


def generate_snapshot(
    workdir: Path,
    settings: Settings,
    step: str = "latest",
    should_stop: Callable[[], bool] = lambda: False,
    warn: Callable[[str], None] | None = None,
) -> tuple[Path, list[Text]]:
    """Generate with one snapshot of a run, and write it into `samples/` of the run directory.

    Args:
        workdir: the run directory.
        settings: what to generate.
        step: a step, or "latest" for the newest whole snapshot.
        should_stop: looked at every 64 tokens, and while features are computed.
        warn: told of each damaged snapshot that was passed.

    Returns:
        (the file, the texts, of a search best first).

    Raises:
        ValueError: the run does not generate, or cannot with this prompt or these settings.
        FileNotFoundError: there is no run or no such snapshot.
        DamagedSnapshotError: the snapshot asked for is damaged.
        Interrupted: `should_stop` said so; what there is is in a file whose name says that it is not all.
    """
    settings.validate()
    config = record.stored_config(workdir)
    how = generation.of(assemble_here(config, should_stop).task)
    if config.encoder.model:
        batch = own_pictures.looked_at(config, [settings.prompt], should_stop)[1].take(np.zeros(1, np.int64), 1)
    else:
        batch = how.read(settings.prompt)
    found = snapshots.resolve(workdir, step, warn)
    tokens, lengths, log_probs, ended, done = _decode(
        how, batch, weights(workdir, found, settings.average), settings, should_stop
    )
    texts = [
        Text(how.write(settings.prompt, row[:length]), int(length), float(log_prob), bool(end))
        for row, length, log_prob, end in zip(tokens, lengths, log_probs, ended)
        if log_prob > -np.inf  # else a place that a search had nothing for
    ][: settings.samples]
    path = _write(workdir, found, settings, texts, done)
    if not done:
        raise Interrupted(f"interrupted after {max(lengths)} of at most {settings.length} tokens, which are in {path}")
    return path, texts


def describe(text: Text) -> str:
    """Such as "400 tokens, -1.2345 nats a token"."""
    mean = text.log_prob / max(text.tokens, 1)
    return f"{text.tokens} tokens, {mean:.4f} nats a token{', ended' if text.ended else ''}"


def weights(workdir: Path, step: int, average: bool) -> tuple[Params, ModelState]:
    """Parameters and state of a snapshot, or their moving average; ValueError where it holds none."""
    _, params, model_state = snapshots.load(workdir, step)
    if average:
        params = snapshots.load_average(workdir, step)
        if params is None:
            raise ValueError(
                f"the snapshot at step {step} in {workdir} holds no moving average of the parameters: train with "
                "--config.train.ema_decay=0.999, or generate without the average"
            )
    return params, model_state


def _decode(
    how: Generation, batch: dict[str, np.ndarray], trained: PyTree, settings: Settings, should_stop: Callable[[], bool]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, bool]:
    """The decoder's rows on the host, and whether they are all there is."""
    decoder = _search(how, settings) if settings.beam else _sampling(how, settings)
    count = 1 if settings.beam else settings.samples
    rows = {name: np.repeat(array, count, 0) for name, array in batch.items()}
    given = jax.device_put((*trained, rows))
    extend = jax.jit(lambda given, state, until: decoder.extend(how.start(*given), state, until))
    state = jax.jit(lambda given: decoder.begin(how.start(*given)))(given)
    while not (done := bool(state.done())) and not should_stop():
        state = extend(given, state, state.t + PIECE)
    return *jax.device_get(decoder.rows(state)), done


def _sampling(how: Generation, settings: Settings) -> _Decoder:
    allowed = filters.standard(settings.temperature, settings.top_k, settings.top_p)
    key = stream_key(settings.seed, "generate", 0)
    return _Decoder(
        begin=lambda at: sampling.begin(at.step, at.carry, at.prompt, settings.length, at.lengths, how.stop),
        extend=lambda at, state, until: sampling.extend(at.step, state, until, key, allowed=allowed, stop=how.stop),
        rows=lambda state: (state.tokens, state.lengths, state.log_probs, state.ended),
    )


def _search(how: Generation, settings: Settings) -> _Decoder:
    def rows(state: beam.Beams) -> tuple[Array, ...]:
        found = beam.best(state)
        return found.tokens[0], found.lengths[0], found.log_probs[0], found.ended[0]

    return _Decoder(
        begin=lambda at: beam.begin(at.step, at.carry, at.prompt, settings.length, settings.beam, at.lengths, how.stop),
        extend=lambda at, state, until: beam.extend(at.step, state, until, stop=how.stop),
        rows=jax.jit(rows),
    )


def _write(workdir: Path, step: int, settings: Settings, texts: list[Text], done: bool) -> Path:
    """The file of these settings, whole or not at all; what is not all has a name of its own."""
    header = {"snapshot": step, "sha256": snapshots.digest(workdir, step), **dataclasses.asdict(settings)}
    name = f"step_{step:08d}_{hashlib.sha256(json.dumps(header).encode()).hexdigest()[:12]}"
    folder = workdir / "samples"
    folder.mkdir(exist_ok=True)
    final, partial = folder / f"{name}.txt", folder / f"{name}.partial.txt"
    head = "".join(f"# {key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in header.items())
    body = "".join(f"\n# {i}: {describe(text)}\n{text.text}\n" for i, text in enumerate(texts, 1))
    record.write_text(final if done else partial, head + body)
    if done:
        partial.unlink(missing_ok=True)
    return final if done else partial
