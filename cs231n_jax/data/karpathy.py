"""Captions as Karpathy's files have them: dataset_coco.json, dataset_flickr8k.json, dataset_flickr30k.json."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cs231n_jax.data import cache, encoded_pictures, pictured
from cs231n_jax.data.base import ArraySource, DataConfig, Part, choose_split

VERSION = 1
CHUNK = 250


class Picture(NamedTuple):
    """An entry of "images"."""

    split: str
    path: str  # below the folder of the pictures
    captions: tuple[str, ...]


def open_split(config: DataConfig, part: Part) -> pictured.Pictured:
    """The captions of one split, as `pictured.captions` has them, by the splits that the file gives.

    The file is {"images": [{"split", "filename", "filepath", "sentences": [{"raw", "tokens"}, …]}, …]}, where COCO
    alone has a filepath. Its pictures lie in `data.dir`, or beside it where that is empty, at filepath/filename. Splits
    are those of "split", here train, val, test and, in COCO, restval; several are joined as "train+restval". A
    caption's text is "raw", and its tokens with spaces between where there is none. Pictures that cannot be decoded are
    black and counted in `noticed`.

    Args:
        config: `name` is a path ending in .json, from `dir` or the working directory.
        part: "train" or "eval".

    Raises:
        FileNotFoundError: there is no such file, or a picture is missing.
        ValueError: the file is of another form; there is no such split; or as `pictured.captions`.

    Reference: Karpathy and Fei-Fei 2015, "Deep Visual-Semantic Alignments for Generating Image Descriptions", section
    4: 113,287 (train and restval), 5,000 and 5,000 pictures of COCO; 6,000, 1,000 and 1,000 of Flickr8k; 29,000, 1,014
    and 1,000 of Flickr30k.
    """
    path = Path(config.dir, config.name).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; data.name is a path from data.dir, or the working directory")
    every = _read(path, tuple(cache.stamp([path.resolve()])))
    both = [(split, _of_split(config, one, split, every)) for one, split in _splits(config, part, every)]
    pictures = encoded_pictures.together(*(_pictures(config, path, split, some) for split, some in both))
    texts = [[each.captions for each in some] for _, some in both]
    return pictured.captions(config, part, both[0][0], pictures, *texts)


@functools.lru_cache(maxsize=2)
def _read(path: Path, stamp: tuple) -> tuple[Picture, ...]:
    """All entries, kept for the next opening while the file (`stamp`) is what it was."""
    del stamp
    try:
        entries = json.loads(path.read_text(encoding="utf-8-sig"))["images"]
        return tuple(_entry(path, number, entry) for number, entry in enumerate(entries))
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise ValueError(
            f'{path} is no file of captions as Karpathy\'s ({reason}); it takes {{"images": [{{"split", "filename", '
            '"sentences": [{"raw"}]}]}'
        ) from None


def _entry(path: Path, number: int, entry: dict[str, Any]) -> Picture:
    try:
        captions = tuple(_caption(each) for each in entry["sentences"])
        place = Path(entry.get("filepath", ""), entry["filename"]).as_posix()
        return Picture(_text(entry, "split"), place, captions)
    except (KeyError, TypeError, AttributeError) as error:
        reason = f"has no {error}" if isinstance(error, KeyError) else f"is of another form ({error})"
        raise ValueError(f"images[{number}] of {path} {reason}: give split, filename and sentences with raw") from None


def _caption(sentence: dict[str, Any]) -> str:
    if "raw" in sentence:
        return _text(sentence, "raw")
    if not isinstance(sentence["tokens"], list):
        raise TypeError(f"tokens is {sentence['tokens']!r}, not a list")
    return " ".join(sentence["tokens"])


def _text(entry: dict[str, Any], key: str) -> str:
    if not isinstance(entry[key], str):
        raise TypeError(f"{key} is {entry[key]!r}, not a text")
    return entry[key]


def _splits(config: DataConfig, part: Part, every: tuple[Picture, ...]) -> list[tuple[Part, str]]:
    """The name of the split that plays the part, and of that which trains."""
    have = list(dict.fromkeys(each.split for each in every))
    return [(one, choose_split(config, one, have, slices=True)) for one in (part, "train")]


def _of_split(config: DataConfig, part: Part, split: str, every: tuple[Picture, ...]) -> list[Picture]:
    if "[" in split:
        raise ValueError(
            f"data.{part}_split={split!r}: parts of splits are for tensorflow-datasets; join whole ones, as "
            "train+restval, or set data.limit"
        )
    wanted = [name.strip() for name in split.split("+")]
    return [each for name in wanted for each in every if each.split == name]


def _pictures(config: DataConfig, path: Path, split: str, some: list[Picture]) -> ArraySource:
    folder = Path(config.dir).expanduser() if config.dir else path.parent
    places = [folder / each.path for each in some]
    try:
        stamps = cache.stamp(places)
    except OSError as error:
        raise FileNotFoundError(
            f"{error.filename} does not exist, which {path} lists in {split}: set data.dir to the pictures' folder"
        ) from None
    key = ["karpathy", VERSION, split, config.image_size, str(folder.resolve()), [each.path for each in some], stamps]

    def chunks(first: int) -> Iterator[list[bytes]]:
        for start in range(first, len(places), CHUNK):
            yield [place.read_bytes() for place in places[start : start + CHUNK]]

    def decode() -> cache.Decoded:
        return encoded_pictures.decoded(config.name, split, len(places), chunks, config.image_size)

    return cache.open_cached(config.name, split, key, decode)
