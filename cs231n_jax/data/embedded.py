"""Made-up sentences, clips and scenes as data sets, none stored: an example is a function of (seed, split, number)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from cs231n_jax.data import (
    moving_shapes,
    pictured,
    scene_language,
    scenes,
    sentences,
    sentiment_grammar,
    translation_grammar,
)
from cs231n_jax.data.base import ArraySource, DataConfig, Info, Part, PixelStatistics, choose_split, fingerprint
from cs231n_jax.data.made_up import SHARES, Chance, size

SCENES = 2000


def open_sentiment(config: DataConfig, part: Part) -> sentences.Sentences:
    """Reviews of `sentiment_grammar`: "sentiment_grammar", "sentiment_grammar:EXAMPLES" or …:EXAMPLES:SEED."""
    split, reviews, training = _splits(config, part, sentiment_grammar.review, sentiment_grammar.EXAMPLES)
    texts, labels = [review.text for review in reviews], [review.label for review in reviews]
    training_texts = [review.text for review in training]
    return sentences.labelled(config, part, split, texts, labels, sentiment_grammar.CLASSES, training_texts)


def open_translation(config: DataConfig, part: Part) -> sentences.Sentences:
    """Pairs of `translation_grammar`: "translation_grammar", "translation_grammar:EXAMPLES" or …:EXAMPLES:SEED."""
    return sentences.pairs(config, part, *_splits(config, part, translation_grammar.pair, translation_grammar.EXAMPLES))


def open_video(config: DataConfig, part: Part) -> ArraySource:
    """Clips of `moving_shapes`: "moving_shapes", "moving_shapes:EXAMPLES" or "moving_shapes:EXAMPLES:SEED".

    Returns:
        A source of {"video": uint8 [B, T, H, W, 1], "label": int32 [B], "frame_label": int32 [B, T]}.
    """
    split, clips, training = _splits(config, part, moving_shapes.clip, moving_shapes.EXAMPLES)
    statistics = PixelStatistics()
    statistics.add(np.stack([clip.video for clip in training]))
    mean, std = statistics.result()
    arrays = {
        "video": np.stack([clip.video for clip in clips]),
        "label": np.array([clip.label for clip in clips], np.int32),
        "frame_label": np.stack([clip.frame_label for clip in clips]),
    }
    info = Info(
        name=config.name,
        split=split,
        shapes={name: array.shape[1:] for name, array in arrays.items()},
        num_classes=len(moving_shapes.CLASSES),
        classes=moving_shapes.CLASSES,
        fingerprint=fingerprint(arrays, moving_shapes.CLASSES),
        mean=mean,
        std=std,
    )
    return ArraySource(arrays, info)


def open_captions(config: DataConfig, part: Part) -> pictured.Pictured:
    """Five captions of each of `scenes`: "scenes", "scenes:SCENES" or "scenes:SCENES:SEED"."""
    split, made, training = _splits(config, part, _captioned, SCENES)
    texts = [[[caption.text for caption in each.captions] for each in some] for some in (made, training)]
    return pictured.captions(config, part, split, _pictures(made, training), *texts)


def captioned(config: DataConfig, part: Part) -> tuple[Captioned, ...]:
    """The scenes that `open_captions` has in a split, in its order: five captions of each are its examples."""
    return _splits(config, part, _captioned, SCENES)[1]


def open_questions(config: DataConfig, part: Part) -> pictured.Pictured:
    """A question of each type about each of `scenes`: "scene_questions", with ":SCENES" or ":SCENES:SEED"."""
    split, made, training = _splits(config, part, _asked, SCENES)
    asked = [(i, pictured.Asked(*question)) for i, each in enumerate(made) for question in each.questions]
    of_training = [pictured.Asked(*question) for each in training for question in each.questions]
    return pictured.questions(config, part, split, _pictures(made, training), asked, of_training)


class Captioned(NamedTuple):
    """A scene, its picture, and what is said about it."""

    made: scenes.Scene
    image: np.ndarray
    captions: tuple[scene_language.Caption, ...]


class _Asked(NamedTuple):
    image: np.ndarray
    questions: tuple[scene_language.Question, ...]


def _captioned(seed: int, split: str, index: int) -> Captioned:
    made = scenes.scene(seed, split, index)
    said = scene_language.captions(made, Chance("captions", seed, split, index))
    return Captioned(made, scenes.render(made), said)


def _asked(seed: int, split: str, index: int) -> _Asked:
    made = scenes.scene(seed, split, index)
    return _Asked(scenes.render(made), scene_language.questions(made, Chance("questions", seed, split, index)))


def _pictures(made: tuple, training: tuple) -> pictured.Pictures:
    images, of_training = (np.stack([each.image for each in some]) for some in (made, training))
    return pictured.Pictures(images, of_training)


def _splits(config: DataConfig, part: Part, make: Callable[..., Any], default: int) -> tuple[str, tuple, tuple]:
    """(the split's name, its examples, those of the training split)."""
    split, training = choose_split(config, part, list(SHARES)), choose_split(config, "train", list(SHARES))
    each = [_examples(make, split, *size(config, default, split)) for split in (split, training)]
    return split, each[0], each[1]


@functools.lru_cache(maxsize=4)
def _examples(make: Callable[..., Any], split: str, count: int, seed: int) -> tuple:
    return tuple(make(seed, split, index) for index in range(count))
