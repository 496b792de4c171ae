"""Which reader a set prepared by tensorflow-datasets takes; the readers of labelled texts and of translations."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from cs231n_jax.data import cache, sentences, tfds_pictured, tfds_source
from cs231n_jax.data.base import ArraySource, DataConfig, Part

TEXTS = ("text", "sentence")  # what sets call the text of an example


def open_split(config: DataConfig, part: Part) -> ArraySource:
    """One split of a prepared set: of translations, of texts with a label, of `tfds_pictured` or of `tfds_source`.

    Translations have the feature Translation (multi30k_translate, ted_hrlr_translate); labelled texts have `label` and
    `text` or `sentence` (imdb_reviews, glue/sst2).

    Raises:
        ValueError, FileNotFoundError: as `tfds_source.open_split`, `sentences.pairs` and `sentences.labelled`.
    """
    directory, split = tfds_source.locate(config, part)
    try:
        features = json.loads((directory / "features.json").read_text())
    except (OSError, ValueError):
        features = {}
    names = features.get("featuresDict", {}).get("features", {})
    if config.frames and "video" not in names:
        raise ValueError(f"data.frames is for sets of clips; set it to 0 for {config.name}")
    if languages := features.get("translation", {}).get("languages", ()):
        return _translation(config, part, directory, split, tuple(languages))
    text = next((name for name in TEXTS if {name, "label"} <= set(names)), "")
    if tfds_pictured.reads(names):
        return tfds_pictured.open_split(config, part, directory, split)
    if text and not {"image", "video"} & set(names):
        return _labelled(config, part, directory, split, text)
    return tfds_source.open_split(config, part)


def _translation(
    config: DataConfig, part: Part, directory: Path, split: str, languages: tuple[str, ...]
) -> sentences.Sentences:
    if len(languages) != 2:
        raise ValueError(f"{config.name} has {len(languages)} languages; a set of pairs has two, so choose its config")
    a, b = languages
    every = []
    for one in (split, tfds_source.locate(config, "train")[1]):
        _, records = _read(directory, one)
        every.append([(_text(record[a]), _text(record[b])) for record in records])
    return sentences.pairs(config, part, split, every[0], every[1], (a, b))


def _labelled(config: DataConfig, part: Part, directory: Path, split: str, name: str) -> sentences.Sentences:
    features, records = _read(directory, split)
    _, training = _read(directory, tfds_source.locate(config, "train")[1])
    labels, classes = [int(record["label"]) for record in records], tuple(features["label"].names)
    if min(labels, default=0) < 0:
        raise ValueError(f"{config.name} has examples without a label in {split}; set another split")
    texts, training_texts = ([_text(record[name]) for record in some] for some in (records, training))
    return sentences.labelled(config, part, split, texts, labels, classes, training_texts)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _read(directory: Path, split: str) -> tuple[Any, list[dict[str, Any]]]:
    return _read_as_it_stands(directory, split, tuple(cache.stamp(p for p in directory.resolve().iterdir())))


@functools.lru_cache(maxsize=4)
def _read_as_it_stands(directory: Path, split: str, stamp: tuple) -> tuple[Any, list[dict[str, Any]]]:
    """The records, kept for the next opening while the files (`stamp`) are what they were."""
    del stamp
    return tfds_source.read(directory, split)
