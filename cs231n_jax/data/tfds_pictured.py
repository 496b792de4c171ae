"""Pictures with captions, and with questions and answers, of sets prepared by tensorflow-datasets."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cs231n_jax.data import cache, pictured, tfds_source
from cs231n_jax.data.base import ArraySource, DataConfig, Part
from cs231n_jax.data.files import fit

CAPTIONS, QUESTIONS = "captions", ("qa", "question_answer")  # what sets call them
FORM = ("whole", "damaged")  # of a picture in the cache
TYPES = {  # of questions, by their words; the first that fits
    "count": r"how (many|much)\b",
    "yes or no": r"(is|are|was|were|do|does|did|can|has|have)\b",
    "colour": r".*\bcolou?rs?\b",
    "shape": r".*\bshapes?\b",
}


def open_split(config: DataConfig, part: Part, directory: Path, split: str) -> pictured.Pictured:
    """The captions or the questions of one split of a set.

    Captioned sets have `captions` with a `text` each (coco_captions; flickr8k and others in its form), the others `qa`
    or `question_answer` with `question` and `answer` (clevr). A picture that cannot be decoded is black and counted in
    `noticed`: its texts stay in training and in evaluation.

    Raises:
        ValueError: the pictures differ in size and data.image_size is 0; or as `pictured.captions` and `questions`.
    """
    training = tfds_source.locate(config, "train")[1]
    both = [_pictures(config, directory, one) for one in (split, training)]
    damaged = int(np.sum(both[0].arrays["label"]))
    noticed = {"pictures that cannot be decoded, black": damaged}
    pictures = pictured.Pictures(both[0].arrays["image"], both[1].arrays["image"], noticed)
    texts = [_texts(directory, one) for one in (split, training)]
    if texts[0] and isinstance(texts[0][0][0], str):
        return pictured.captions(config, part, split, pictures, *texts)
    asked = [(i, question) for i, some in enumerate(texts[0]) for question in some]
    return pictured.questions(config, part, split, pictures, asked, [each for some in texts[1] for each in some])


def kind_of(question: str) -> str:
    """The type of a question, found by its words: a key of `TYPES`, or other."""
    return next((kind for kind, words in TYPES.items() if re.match(words, question, re.IGNORECASE)), "other")


def _pictures(config: DataConfig, directory: Path, split: str) -> ArraySource:
    key = ["tfds pictures", tfds_source.VERSION, split, config.image_size, cache.stamp(directory.resolve().iterdir())]
    return cache.open_cached(config.name, split, key, lambda: _decode(config, directory, split))


def _decode(config: DataConfig, directory: Path, split: str) -> cache.Decoded:
    length, chunks = tfds_source.undecoded(directory, split)
    shape: tuple[int, ...] = ()

    def decoded() -> Iterator[dict[str, np.ndarray]]:
        nonlocal shape
        for chunk in chunks:
            images = [_image(record["image"], config.image_size) for record in chunk]
            shapes = {image.shape for image in images if image is not None} | ({shape} if shape else set())
            if len(shapes) > 1:
                raise ValueError(
                    f"the images of {config.name} differ in size; set data.image_size to the size they should get"
                )
            if not shapes:
                raise ValueError(f"none of the first {len(images)} pictures of {config.name} {split} can be decoded")
            (shape,) = shapes
            damaged = np.array([image is None for image in images], np.int32)
            yield {
                "image": np.stack([np.zeros(shape, np.uint8) if image is None else image for image in images]),
                "label": damaged,
            }

    return cache.Decoded(length, FORM, decoded())


def _image(encoded: bytes, side: int) -> np.ndarray | None:
    """uint8 [H, W, 3], or None where the bytes are no picture."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(encoded)) as picture:
            return fit(np.asarray(picture.convert("RGB")), side)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def _texts(directory: Path, split: str) -> list[list[Any]]:
    """By picture its captions, or what is asked about it."""
    _, chunks = tfds_source.undecoded(directory, split)
    return [_said(record) for chunk in chunks for record in chunk]


def _said(record: dict[str, Any]) -> list[Any]:
    if CAPTIONS in record:
        return [text.decode() for text in record[CAPTIONS]["text"]]
    pairs = next(record[name] for name in QUESTIONS if name in record)
    both = ([text.decode() for text in pairs[name]] for name in ("question", "answer"))
    return [pictured.Asked(question, answer, kind_of(question)) for question, answer in zip(*both)]
