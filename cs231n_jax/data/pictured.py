"""Texts about pictures: captions, of which a picture has several, and questions with their answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from cs231n_jax.data import vocabulary
from cs231n_jax.data.base import DataConfig, Info, Part, PixelStatistics, fingerprint
from cs231n_jax.data.sentences import Sentences, padded, width_of

ABSENT = -1  # the label of an answer that training does not have


class Pictures(NamedTuple):
    """Pictures of one size and those of the training split, of which the statistics are taken."""

    images: np.ndarray  # uint8 [I, H, W, C]
    training: np.ndarray
    noticed: Mapping[str, int] = MappingProxyType({})  # as of `ArraySource`
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None  # of the training pictures, where known


class Asked(NamedTuple):
    """A question about a picture, its answer, its type, such as "count", and what people answered, if several did."""

    text: str
    answer: str  # of several the commonest, of equally common ones the first
    type: str = "all"
    people: tuple[str, ...] = ()


class Pictured(Sentences):
    """Texts beside the picture that each is about; a picture is kept once, however many texts it has.

    Args:
        arrays: {key: array [N, …]}, without the pictures.
        info: their description, "image" among the shapes.
        texts: by array of tokens, the N texts.
        images: uint8 [I, H, W, C], or features of them (`features.Kept`).
        owner: of each text the number of its picture, int64 [N].
        types: of each text, such as "count"; of captions none.
        noticed: as of `ArraySource`.
        people: of each question what all who were asked answered; () where there is one answer each.
    """

    def __init__(
        self,
        arrays: dict[str, np.ndarray],
        info: Info,
        texts: dict[str, tuple[str, ...]],
        images: Any,
        owner: np.ndarray,
        types: tuple[str, ...] = (),
        noticed: Mapping[str, int] = MappingProxyType({}),
        people: tuple[tuple[str, ...], ...] = (),
    ):
        super().__init__(arrays, info, texts, {what: count for what, count in noticed.items() if count})
        self.images, self.owner, self.types, self.people = images, owner, types, people

    def __getitem__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        return {"image": self.images[self.owner[indices]], **super().__getitem__(indices)}


def captions(
    config: DataConfig,
    part: Part,
    split: str,
    pictures: Pictures,
    texts: Sequence[Sequence[str]],
    training: Sequence[Sequence[str]],
) -> Pictured:
    """One example a caption: {"image": uint8 [n, H, W, C], "target": int32 [n, T], "target_length": int32 [n]}.

    A target begins with <bos> and ends with <eos>. An empty caption is <bos> and <eos> alone. Training is without the
    captions that are longer than `data.text.longest`, of which evaluation keeps the beginnings, and without those
    behind the first `data.text.captions` of a picture. A picture that nobody has described is in no example. `noticed`
    counts all of these, and the words that are not in the vocabulary.

    Args:
        config: `text` says how.
        part: "train" or "eval".
        split: the split's own name.
        pictures: the I pictures of the split.
        texts: for each the captions.
        training: the captions of the training split, which the vocabulary is made of.

    Raises:
        ValueError: no picture has a caption, or a training caption is longer than the last declared length.
    """
    if not any(texts) or not any(training):
        raise ValueError(
            f"no picture of {config.name} {split if not any(texts) else 'train'} has a caption; give them some, or "
            "take another split"
        )
    words = vocabulary.build([text for some in training for text in some], config.text)
    begin, end = words.specials[vocabulary.BEGIN], words.specials[vocabulary.END]

    def encoded(some: Sequence[Sequence[str]]) -> list[list[int]]:
        return [[begin, *words.encode(text), end] for captions in some for text in captions]

    limit = config.text.longest or np.inf
    kept = [row for row in encoded(training) if len(row) <= limit]
    if not kept:
        raise ValueError(
            f"no caption of {config.name} has at most {config.text.longest} tokens; raise data.text.longest"
        )
    width = width_of(config.text, kept)
    rows, owners = encoded(texts), np.repeat(np.arange(len(texts)), [len(some) for some in texts])
    most = (config.text.captions if part == "train" else 0) or np.inf
    first = [number < most for some in texts for number in range(len(some))]
    chosen = [i for i, row in enumerate(rows) if first[i] and (part == "eval" or len(row) <= limit)]
    arrays = padded("target", "target_length", [rows[i][:width] for i in chosen], width)
    every = [text for some in texts for text in some]
    noticed = {
        "pictures without a caption left out": sum(not some for some in texts),
        f"captions behind the first {most} of a picture left out": len(rows) - sum(first),
        f"captions of more than {limit} tokens left out": sum(first) - len(chosen),
        f"captions of more than {width} tokens cut": sum(len(rows[i]) > width for i in chosen),
        "empty captions": sum(len(rows[i]) == 2 for i in chosen),
        "unknown words in captions": sum(rows[i].count(words.specials[vocabulary.UNKNOWN]) for i in chosen),
    }
    info = _info(config, split, arrays, pictures, (), {"target": words}, {"target": "target_length"})
    kept_texts = {"target": tuple(every[i] for i in chosen)}
    noticed = {**pictures.noticed, **noticed}
    return Pictured(arrays, info, kept_texts, pictures.images, owners[chosen], noticed=noticed)


def questions(
    config: DataConfig,
    part: Part,
    split: str,
    pictures: Pictures,
    asked: Sequence[tuple[int, Asked]],
    training: Sequence[Asked],
) -> Pictured:
    """One example a question: {"image", "token": int32 [n, T], "length": int32 [n], "label": int32 [n]}.

    The classes are the answers of the training split, the frequent first, of `data.text.answers` so many. Training is
    without the questions whose answer is not among them; in evaluation they stay, with the label −1, and nobody can get
    them right: `noticed` counts both. A question without any token gets the unknown one; of a longer one than T
    the beginning is kept.

    Args:
        config: `text` says how.
        part: "train" or "eval".
        split: the split's own name.
        pictures: the pictures of the split.
        asked: for each question the number of its picture, and what is asked; where several people answered, the label
            is their commonest answer.
        training: those of the training split.

    Raises:
        ValueError: a training question is longer than the last declared length.
    """
    words = vocabulary.build([question.text for question in training], config.text)
    unknown, longest = [words.specials[vocabulary.UNKNOWN]], config.text.longest
    counts = Counter(question.answer for question in training)
    classes = tuple(sorted(counts, key=lambda answer: (-counts[answer], answer)))[: config.text.answers or None]
    numbers = {answer: number for number, answer in enumerate(classes)}

    def every_word(some: Sequence[Asked]) -> list[list[int]]:
        return [words.encode(question.text) for question in some]

    def encoded(some: Sequence[Asked]) -> list[list[int]]:
        return [(row or unknown)[: longest or None] for row in every_word(some)]

    width = width_of(config.text, encoded(training))
    limit = min(width, longest or width)
    chosen = [(i, question) for i, question in asked if part == "eval" or question.answer in numbers]
    rows, whole = (some([question for _, question in chosen]) for some in (encoded, every_word))
    labels = np.array([numbers.get(question.answer, ABSENT) for _, question in chosen], np.int32)
    arrays = {**padded("token", "length", [row[:width] for row in rows], width), "label": labels}
    absent = sum(question.answer not in numbers for _, question in asked)
    noticed = {
        f"questions whose answer is not one of the {len(classes)} of training"
        f"{' left out' if part == 'train' else ', counted as wrong'}": absent,
        f"questions of more than {limit} tokens cut": sum(len(row) > limit for row in whole),
        "empty questions": sum(not row for row in whole),
        "empty answers": sum(not question.answer for _, question in chosen),
        "unknown words in questions": sum(row.count(*unknown) for row in whole),
    }
    return Pictured(
        arrays,
        _info(config, split, arrays, pictures, classes, {"token": words}, {"token": "length"}),
        {"token": tuple(question.text for _, question in chosen), "label": tuple(q.answer for _, q in chosen)},
        pictures.images,
        np.array([i for i, _ in chosen], np.int64),
        tuple(question.type for _, question in chosen),
        {**pictures.noticed, **noticed},
        tuple(q.people or (q.answer,) for _, q in chosen) if any(q.people for _, q in chosen) else (),
    )


def _info(
    config: DataConfig,
    split: str,
    arrays: dict[str, np.ndarray],
    pictures: Pictures,
    classes: tuple[str, ...],
    words: dict[str, vocabulary.Vocabulary],
    ragged: dict[str, str],
) -> Info:
    mean, std = pictures.statistics or _statistics(pictures.training)
    tokens = next(iter(words))
    everything = {**arrays, "image": pictures.images}
    return Info(
        name=config.name,
        split=split,
        shapes={name: array.shape[1:] for name, array in everything.items()},
        num_classes=len(classes) or words[tokens].size,
        classes=classes,
        fingerprint=fingerprint(everything, [*classes, *(vocabulary.fingerprint(one) for one in words.values())]),
        mean=mean,
        std=std,
        ragged=ragged,
        buckets=config.text.lengths() or arrays[tokens].shape[1:],
        vocabularies=words,
    )


def _statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    statistics = PixelStatistics()
    statistics.add(images)
    return statistics.result()
