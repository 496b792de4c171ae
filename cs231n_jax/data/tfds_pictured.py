"""Pictures with captions, and with questions and answers, of sets prepared by tensorflow-datasets."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from cs231n_jax.data import cache, encoded_pictures, pictured, tfds_source
from cs231n_jax.data.base import ArraySource, DataConfig, Part

CAPTIONS, QUESTIONS, ASKED_SEVERAL = "captions", ("qa", "question_answer"), ("question", "answers")  # in sets' words
TYPES = {  # of questions, by their words; the first that fits
    "count": r"how (many|much)\b",
    "yes or no": r"(is|are|was|were|do|does|did|can|has|have)\b",
    "colour": r".*\bcolou?rs?\b",
    "shape": r".*\bshapes?\b",
}


def open_split(config: DataConfig, part: Part, directory: Path, split: str) -> pictured.Pictured:
    """The captions or the questions of one split of a set.

    Captioned sets have `captions` with a `text` each (coco_captions, whose splits are Karpathy's, so that one trains on
    "train+restval"; flickr8k and others in its form), the others `qa` or `question_answer` with `question` and `answer`
    (clevr), or one `question` a record with the `answers` of several people, of which the commonest is learned. A
    picture that cannot be decoded is black and counted in `noticed`: its texts stay in training and in evaluation.

    Raises:
        ValueError: the pictures differ in size and data.image_size is 0; or as `pictured.captions` and `questions`.
    """
    training = tfds_source.locate(config, "train")[1]
    pictures = encoded_pictures.together(*(_pictures(config, directory, one) for one in (split, training)))
    texts = [_texts(directory, one) for one in (split, training)]
    if any(isinstance(text, str) for some in texts for each in some for text in each[:1]):
        return pictured.captions(config, part, split, pictures, *texts)
    asked = [(i, question) for i, some in enumerate(texts[0]) for question in some]
    return pictured.questions(config, part, split, pictures, asked, [each for some in texts[1] for each in some])


def reads(features: Collection[str]) -> bool:
    """Whether a set with these features is one of texts about pictures."""
    several = all(name in features for name in ASKED_SEVERAL)
    return "image" in features and (several or any(name in features for name in (CAPTIONS, *QUESTIONS)))


def kind_of(question: str) -> str:
    """The type of a question, found by its words: a key of `TYPES`, or other."""
    return next((kind for kind, words in TYPES.items() if re.match(words, question, re.IGNORECASE)), "other")


def _pictures(config: DataConfig, directory: Path, split: str) -> ArraySource:
    key = ["tfds pictures", tfds_source.VERSION, split, config.image_size, cache.stamp(directory.resolve().iterdir())]
    return cache.open_cached(config.name, split, key, lambda: _decode(config, directory, split))


def _decode(config: DataConfig, directory: Path, split: str) -> cache.Decoded:
    length, chunks = tfds_source.undecoded(directory, split)

    def encoded(first: int) -> Iterator[list[bytes]]:
        return ([record["image"] for record in chunk] for chunk in chunks(first))

    return encoded_pictures.decoded(config.name, split, length, encoded, config.image_size)


def _texts(directory: Path, split: str) -> list[list[Any]]:
    """By picture its captions, or what is asked about it."""
    _, chunks = tfds_source.undecoded(directory, split)
    return [_said(record) for chunk in chunks(0) for record in chunk]


def _said(record: dict[str, Any]) -> list[Any]:
    if CAPTIONS in record:
        return [text.decode() for text in record[CAPTIONS]["text"]]
    if all(name in record for name in ASKED_SEVERAL):
        question, people = record["question"].decode(), tuple(answer.decode() for answer in record["answers"])
        commonest, _ = max(Counter(people).items(), key=lambda pair: pair[1], default=("", 0))  # the first of equals
        return [pictured.Asked(question, commonest, kind_of(question), people)]
    pairs = next(record[name] for name in QUESTIONS if name in record)
    both = ([text.decode() for text in pairs[name]] for name in ("question", "answer"))
    return [pictured.Asked(question, answer, kind_of(question)) for question, answer in zip(*both)]
