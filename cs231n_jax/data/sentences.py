"""Labelled texts and pairs of sentences as padded arrays of tokens, with the texts they were made from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from cs231n_jax.data import vocabulary
from cs231n_jax.data.base import ArraySource, DataConfig, Info, Part, fingerprint
from cs231n_jax.data.text_config import TextConfig

Pair = tuple[str, str]  # a sentence and its translation


class Sentences(ArraySource):
    """Arrays of tokens beside the texts of the same examples.

    Args:
        arrays: {key: array [N, …]}.
        info: their description.
        texts: by array of tokens, the N texts as they were before any cut.
        noticed: as of `ArraySource`.
    """

    def __init__(
        self,
        arrays: dict[str, np.ndarray],
        info: Info,
        texts: dict[str, tuple[str, ...]],
        noticed: dict[str, int] | None = None,
    ):
        super().__init__(arrays, info, noticed)
        self.texts = texts


def labelled(
    config: DataConfig,
    part: Part,
    split: str,
    texts: Sequence[str],
    labels: Sequence[int],
    classes: Sequence[str],
    training: Sequence[str],
) -> Sentences:
    """Texts with a label each: {"token": int32 [n, T], "length": int32 [n], "label": int32 [n]}.

    T is the last of the declared lengths or, without any, that of the longest training text. Of a text longer than
    `data.text.longest` (or than T, in evaluation) the last tokens are kept, since verdicts come at the end. A text
    without any token gets the unknown one.

    Args:
        config: `text` says how.
        part: "train" or "eval".
        split: the split's own name.
        texts: N of them.
        labels: N numbers of classes.
        classes: their names.
        training: the texts of the training split, which the vocabulary is made of.

    Raises:
        ValueError: a training text is longer than the last declared length.
    """
    if config.text.languages:
        raise ValueError(f"data.text.languages is for translations; leave it empty for {config.name}")
    words = vocabulary.build(training, config.text)
    unknown = [words.specials[vocabulary.UNKNOWN]]
    longest = config.text.longest

    def encoded(all_texts: Sequence[str]) -> list[list[int]]:
        return [(words.encode(text) or unknown)[-longest:] for text in all_texts]

    rows = encoded(texts)
    width = width_of(config.text, rows if part == "train" else encoded(training))
    arrays = {**padded("token", "length", [row[-width:] for row in rows], width), "label": np.array(labels, np.int32)}
    return _source(config, part, split, arrays, {"token": words}, tuple(classes), {"token": tuple(texts)})


def pairs(
    config: DataConfig,
    part: Part,
    split: str,
    examples: Sequence[Pair],
    training: Sequence[Pair],
    languages: tuple[str, str] = ("source", "target"),
) -> Sentences:
    """Sentences and translations: {"source", "target": int32 [n, T], "source_length", "target_length": int32 [n]}.

    A source ends with <eos>, a target begins with <bos> and ends with <eos>; both are padded to the T of `labelled`.
    Training is without the pairs that are longer than `data.text.longest`; in evaluation the beginnings of longer
    sentences are kept (`texts` has them whole).

    Args:
        config: `text` says how.
        part: "train" or "eval".
        split: the split's own name.
        examples: N pairs.
        training: those of the training split, which the two vocabularies are made of.
        languages: names of the two sides, in the order of the pairs; `data.text.languages` may turn them round.

    Raises:
        ValueError: data.text.languages are not these two, a training pair is longer than the last declared length, or
            none is short enough.
    """
    names = ("source", "target")
    if _turned(config, languages):
        examples, training = ([(b, a) for a, b in some] for some in (examples, training))
    words = [vocabulary.build(side, config.text) for side in zip(*training)]
    kept = [both for both in _encoded(training, words) if _length(both) <= (config.text.longest or np.inf)]
    if not kept:
        raise ValueError(f"no pair of {config.name} has at most {config.text.longest} tokens; raise data.text.longest")
    width = width_of(config.text, [max(both, key=len) for both in kept])
    limit = config.text.longest or width
    rows = _encoded(examples, words)
    chosen = [i for i, both in enumerate(rows) if part == "eval" or _length(both) <= limit]
    arrays: dict[str, np.ndarray] = {}
    for side, name in enumerate(names):
        arrays |= padded(name, f"{name}_length", [rows[i][side][:width] for i in chosen], width)
    texts = {name: tuple(examples[i][side] for i in chosen) for side, name in enumerate(names)}
    return _source(config, part, split, arrays, dict(zip(names, words)), (), texts)


def _turned(config: DataConfig, languages: tuple[str, str]) -> bool:
    """Whether the config wants the pairs the other way round."""
    wanted, (a, b) = config.text.languages, languages
    if wanted not in ("", f"{a}-{b}", f"{b}-{a}"):
        raise ValueError(f"data.text.languages is {wanted!r}, but {config.name} has {a}-{b} and {b}-{a}: choose one")
    return wanted == f"{b}-{a}"


def _encoded(examples: Sequence[Pair], words: Sequence[vocabulary.Vocabulary]) -> list[tuple[list[int], list[int]]]:
    (source, target), special = words, [one.specials for one in words]
    first, last = [special[1][vocabulary.BEGIN]], [one[vocabulary.END] for one in special]
    return [([*source.encode(a), last[0]], [*first, *target.encode(b), last[1]]) for a, b in examples]


def _length(both: tuple[list[int], list[int]]) -> int:
    return max(map(len, both))


def width_of(config: TextConfig, training: Sequence[Sequence[int]]) -> int:
    """What everything is padded to."""
    longest, declared = max(map(len, training)), config.lengths()
    if declared and longest > declared[-1]:
        raise ValueError(
            f"the longest training example has {longest} tokens, but data.text.buckets={config.buckets!r} ends with "
            f"{declared[-1]}: add a longer one, or set data.text.longest to {declared[-1]} or less"
        )
    return declared[-1] if declared else longest


def padded(name: str, length: str, rows: Sequence[Sequence[int]], width: int) -> dict[str, np.ndarray]:
    """{name: int32 [N, width], length: int32 [N]}; the padding is the number 0."""
    lengths = np.array([len(row) for row in rows], np.int32)
    tokens = np.zeros((len(rows), width), np.int32)
    tokens[np.arange(width) < lengths[:, None]] = [token for row in rows for token in row]
    return {name: tokens, length: lengths}


def _source(
    config: DataConfig,
    part: Part,
    split: str,
    arrays: dict[str, np.ndarray],
    words: dict[str, vocabulary.Vocabulary],
    classes: tuple[str, ...],
    texts: dict[str, tuple[str, ...]],
) -> Sentences:
    ragged = {name: "length" if name == "token" else f"{name}_length" for name in words}
    declared = config.text.lengths() or (next(iter(arrays.values())).shape[1],)
    marks = [*classes, *(vocabulary.fingerprint(one) for one in words.values())]
    info = Info(
        name=config.name,
        split=split,
        shapes={name: array.shape[1:] for name, array in arrays.items()},
        num_classes=len(classes) or words["target"].size,
        classes=classes,
        fingerprint=fingerprint(arrays, marks),
        mean=(),
        std=(),
        ragged=ragged,
        buckets=declared,
        vocabularies=words,
    )
    source = Sentences(arrays, info, texts)
    return source if part == "train" or len(declared) == 1 else _short_first(source)


def _short_first(source: Sentences) -> Sentences:
    """The same examples in the order of their lengths, so that evaluation pads little."""
    lengths = np.max([source.arrays[name] for name in source.info.ragged.values()], axis=0)
    order = np.argsort(lengths, kind="stable")
    texts = {name: tuple(some[i] for i in order) for name, some in source.texts.items()}
    arrays = {name: array[order] for name, array in source.arrays.items()}
    info = dataclasses.replace(source.info, fingerprint=fingerprint(arrays, [source.info.fingerprint]))
    return Sentences(arrays, info, texts)
