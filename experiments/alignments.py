"""Where a translator with attention looks: python -m experiments.alignments --workdir=runs/a --split=test --png=FILE.

Draws the first sentences of a split: a row a word of the translation that a beam search finds, a column a word of the
source, the darker the more of the word's weight lies there. Prints the share of the weight that each word's darkest
place has, the mean over the words of each sentence.
Ctrl-C, SIGTERM and SIGUSR1 end it before the picture with code 75; nothing is kept.
"""

from experiments import program  # isort: skip  (first: it sets up the allocator)

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from cs231n_jax.config import Config
from cs231n_jax.data.vocabulary import Vocabulary
from cs231n_jax.tasks import generation
from cs231n_jax.tasks.translation import Translation
from cs231n_jax.train import encoder, generate, generate_many, record, snapshots
from cs231n_jax.train.signals import Interrupted, StopRequest
from experiments.overrides import UsageError
from experiments.studies import drawing

_WORKDIR = flags.DEFINE_string("workdir", None, "Run directory.", required=True)
_SNAPSHOT = flags.DEFINE_string("snapshot", "latest", "Which snapshot: a step, or latest.")
_SPLIT = flags.DEFINE_string("split", "test", "Of the run's data.")
_COUNT = flags.DEFINE_integer("count", 10, "How many sentences.", lower_bound=1)
_BEAM = flags.DEFINE_integer("beam", 5, "Width of the search.", lower_bound=1)
_LENGTH = flags.DEFINE_integer("length", 100, "The most tokens of a translation.", lower_bound=1)
_WORDS = flags.DEFINE_bool("source_words", True, "Show the source; false: count its places, where it may not be shown.")
_PNG = flags.DEFINE_string("png", None, "The picture to be written; default: alignments.png in the run directory.")

Alignment = tuple[list[str], list[str], np.ndarray]  # a source, its translation, the weights [target, source]


def main() -> None:
    """Draw, and print how sharply each translation looks."""
    workdir = Path(_WORKDIR.value)
    config = program.prepare(record.stored_config(workdir))
    with StopRequest() as stop:
        found = _found(workdir, config, lambda: bool(stop))
    found = found if _WORDS.value else numbered(found)
    path = draw(Path(_PNG.value) if _PNG.value else workdir / "alignments.png", found)
    for number, (_, target, alpha) in enumerate(found, 1):
        print(f"sentence {number}: {told(target, alpha)}")
    print(f"# {path}")


def _found(workdir: Path, config: Config, should_stop: Callable[[], bool]) -> list[Alignment]:
    assembly = generate_many.assembled(config, _SPLIT.value, should_stop)
    if not isinstance(assembly.task, Translation):
        raise UsageError(f"a run of the task {config.task.name} has no alignments: give one of a translation")
    step = snapshots.resolve(workdir, _SNAPSHOT.value, lambda text: print(text, file=sys.stderr))
    weights = generate.weights(workdir, step, average=False)
    examples = assembly.eval_source[np.arange(min(_COUNT.value, len(assembly.eval_source)))]
    settings = generate_many.Settings(_BEAM.value, _LENGTH.value)
    return aligned(assembly.task, weights, examples, settings, should_stop)


def aligned(
    task: Translation,
    weights: Any,
    examples: dict[str, np.ndarray],
    settings: generate_many.Settings,
    should_stop: Callable[[], bool] = encoder.never,
) -> list[Alignment]:
    """Of each example its source, its best translation, both as pieces of text, and the weights [target, source].

    Raises:
        Interrupted: `should_stop` said so before or after the search, or after the weights.
    """
    _heed(should_stop)
    how = generation.of(task)
    source, lengths = examples["source"], examples["source_length"]
    batch = {"source": source, "source_length": lengths}
    tokens, ends, _ = jax.device_get(generate_many.search(how, settings)(weights, batch))
    _heed(should_stop)
    begin = np.full((len(tokens), 1), task.target.specials["<bos>"], np.int32)
    batch |= {"target": np.concatenate([begin, tokens], 1)}
    alphas = jax.device_get(jax.jit(task.alignment)(*weights, batch))
    _heed(should_stop)
    rows = zip(source, lengths, tokens, ends, alphas)
    return [(pieces(task.source, s[:n]), pieces(task.target, y[:m]), alpha[:m, :n]) for s, n, y, m, alpha in rows]


def _heed(should_stop: Callable[[], bool]) -> None:
    if should_stop():
        raise Interrupted("interrupted before the picture, of which nothing is kept")


def told(target: list[str], alpha: np.ndarray) -> str:
    """The length of a translation, and where it has words the mean share of their weight in one place."""
    share = f", {np.mean(alpha.max(1)):.2f} of the weight in one place" if target else ""
    return f"{len(target)} tokens{share}"


def numbered(found: list[Alignment]) -> list[Alignment]:
    """The same with the places of the source, from 1, for its words."""
    return [([str(place) for place in range(1, len(source) + 1)], target, alpha) for source, target, alpha in found]


def pieces(words: Vocabulary, tokens: np.ndarray) -> list[str]:
    """What each token stands for."""
    special = {number: name for name, number in words.specials.items()}
    return [special.get(int(token)) or words.decode([token]).strip() for token in tokens]


def draw(path: Path, found: list[Alignment]) -> Path:
    """All sentences, two side by side; the place of an empty translation stays empty."""
    figure, axes = drawing.canvas(-(-len(found) // 2), 2, 4.6, 3.6)
    for axis, (source, target, alpha) in zip(axes, found):
        axis.grid(False)
        if not target:  # nothing to draw
            axis.set_axis_off()
            continue
        axis.imshow(alpha, cmap="Greys", vmin=0, vmax=1, aspect="auto")
        axis.set_xticks(range(len(source)), source, rotation=60, ha="right", fontsize=7)
        axis.set_yticks(range(len(target)), target, fontsize=7)
    for axis in axes[len(found) :]:
        axis.set_axis_off()
    return drawing.save(figure, path)


if __name__ == "__main__":
    program.run(main)
