"""Sets prepared by tensorflow-datasets in ArrayRecord form, read without TensorFlow: labelled images, clips, texts."""

from __future__ import annotations

import contextlib
import difflib
import json
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cs231n_jax.data import cache
from cs231n_jax.data.base import ArraySource, DataConfig, Part, choose_split
from cs231n_jax.data.clips import Frames, restored
from cs231n_jax.data.files import fit

VERSION = 1
MADE = (  # not here
    *("digits", "synthetic", "python_docs", "sentiment_grammar", "translation_grammar", "moving_shapes"),
    *("scenes", "scene_questions"),
)
CHUNK = {"image": 250, "video": 16}  # examples that are decoded at a time


def open_split(config: DataConfig, part: Part) -> ArraySource:
    """One split of a prepared set, from the cache or decoded into it.

    The set is looked for as NAME/[CONFIG/]VERSION in `config.dir`, or else in $TFDS_DATA_DIR and
    ~/tensorflow_datasets; then tensorflow-datasets is asked where it has it. Nothing is downloaded.

    Args:
        config: `name` is a TFDS name with optional config and version: "cifar10", "cifar10/3.0.2",
            "imdb_reviews/plain_text:1.0.0". Splits may be slices: "train[:90%]".
        part: "train" or "eval".

    Raises:
        ValueError: there is no such set, split or config, it is not a set of images or clips with labels, or one of
            these cannot be decoded.
        FileNotFoundError: the set exists but is not prepared here; the message says how to.

    Returns:
        A source of {"image": uint8 [B, H, W, C], "label": int32 [B]}, or of {"video": uint8 [B, T, H, W, C], "label":
        int32 [B], "frame_label": int32 [B, T], the label of the clip}. T is `config.frames`, or where that is 0 the
        length that all clips have: see `clips.places`.
    """
    directory, split = locate(config, part)
    key = ["tfds", VERSION, split, config.image_size, cache.stamp(p for p in directory.resolve().iterdir())]
    key += [config.frames] if config.frames else []
    return cache.open_cached(config.name, split, key, lambda: _decode(config, directory, split))


def locate(config: DataConfig, part: Part) -> tuple[Path, str]:
    """Where a set lies, and the name of the split that plays the part; as `open_split`, for sets of any kind."""
    directory = _find(config)
    description = json.loads((directory / "dataset_info.json").read_text())
    if (form := description.get("fileFormat", "tfrecord")) != "array_record":
        raise ValueError(
            f"{config.name} in {directory} is stored as {form}, which needs TensorFlow to read; "
            f"prepare it again as array_record: {_recipe(config.name, directory.parents[1])}"
        )
    return directory, choose_split(config, part, [entry["name"] for entry in description["splits"]], slices=True)


def text(directory: Path, split: str) -> str:
    """All examples of a split of a set with a feature `text`, one after the other."""
    with _quiet():
        import tensorflow_datasets as tfds

        builder: Any = tfds.builder_from_directory(str(directory))
        return "".join(record["text"].decode() for record in builder.as_data_source(split))


def read(directory: Path, split: str) -> tuple[Any, list[dict[str, Any]]]:
    """(the features of a set, all records of a split)."""
    with _quiet():
        import tensorflow_datasets as tfds

        builder: Any = tfds.builder_from_directory(str(directory))
        records = builder.as_data_source(split)
        return builder.info.features, list(records.__getitems__(list(range(len(records)))))


def undecoded(directory: Path, split: str) -> tuple[int, Callable[[int], Iterator[list[dict[str, Any]]]]]:
    """(the number of records of a split, those from number n on in chunks); their images are the stored bytes."""
    with _quiet():
        import tensorflow_datasets as tfds

        builder: Any = tfds.builder_from_directory(str(directory))
        records = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})

    def chunks(first: int) -> Iterator[list[dict[str, Any]]]:
        for start in range(first, len(records), CHUNK["image"]):
            with _quiet():
                some = list(records.__getitems__(list(range(start, min(start + CHUNK["image"], len(records))))))
            yield some

    return len(records), chunks


def _decode(config: DataConfig, directory: Path, split: str) -> cache.Decoded:
    with _quiet(), restored():
        import tensorflow_datasets as tfds

        builder: Any = tfds.builder_from_directory(str(directory))
        features = builder.info.features
        kind = next((name for name in ("image", "video") if {name, "label"} <= set(features)), "")
        if not kind:
            raise ValueError(
                f"{config.name} has the features {', '.join(sorted(features))}; "
                "a set of labelled images needs image and label, one of clips video and label"
            )
        records = builder.as_data_source(split, decoders={"video": Frames(config.frames)} if kind == "video" else None)
        names = tuple(features["label"].names)

    def chunks(first: int) -> Iterator[dict[str, np.ndarray]]:
        seen: set[tuple[int, ...]] = set()
        for start in range(first, len(records), CHUNK[kind]):
            wanted = list(range(start, min(start + CHUNK[kind], len(records))))
            try:
                with _quiet():
                    examples = records.__getitems__(wanted)
            except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error and others
                if not (what := _damaged(records, wanted, kind)):
                    raise
                again = f"delete {directory} and prepare the set again: {_recipe(config.name, directory.parents[1])}"
                raise ValueError(f"{config.name}, split {split}: {what}; {again}") from error
            images = [_pixels(example[kind], kind, config) for example in examples]
            seen |= {image.shape for image in images}
            _check_alike(config.name, kind, seen)
            labels = np.array([example["label"] for example in examples], np.int32)
            frames = {"frame_label": np.repeat(labels[:, None], len(images[0]), axis=1)} if kind == "video" else {}
            yield {kind: np.stack(images), "label": labels, **frames}

    return cache.Decoded(len(records), names, chunks)


def _damaged(records: Any, wanted: list[int], kind: str) -> str:
    """The first of these that cannot be decoded, and why; empty where each can alone."""
    for i in wanted:
        try:
            with _quiet():
                records.__getitems__([i])
        except Exception as error:
            why = re.sub(r" <\S+ object at \w+>", "", str(error))  # where Pillow names its buffer
            return f"{'clip' if kind == 'video' else kind} {i} of 0 … {len(records) - 1} cannot be decoded ({why})"
    return ""


def _pixels(example: Any, kind: str, config: DataConfig) -> np.ndarray:
    """[H, W, C] of an image, [T, H, W, C] of a clip."""
    if kind == "image":
        return fit(np.asarray(example), config.image_size)
    if not len(example):
        raise ValueError(
            f"{config.name} has a clip without frames: ffmpeg could not decode the video when the set was prepared; "
            "install it, delete the prepared set, and prepare it again"
        )
    return np.stack([fit(np.asarray(frame), config.image_size) for frame in example])


def _check_alike(name: str, kind: str, shapes: set[tuple[int, ...]]) -> None:
    lengths = sorted({shape[0] for shape in shapes})
    if kind == "video" and len(lengths) > 1:
        raise ValueError(
            f"the clips of {name} have from {lengths[0]} to {lengths[-1]} frames; set data.frames to the number that "
            "is taken of each, evenly spaced"
        )
    if len(shapes) > 1:
        raise ValueError(f"the {kind}s of {name} differ in size; set data.image_size to the size they should get")


def _roots(config: DataConfig) -> list[Path]:
    if config.dir:
        return [Path(config.dir).expanduser()]
    named = [os.environ["TFDS_DATA_DIR"]] if os.environ.get("TFDS_DATA_DIR") else []
    return [Path(root).expanduser() for root in [*named, "~/tensorflow_datasets"]]


def _find(config: DataConfig) -> Path:
    parts = config.name.replace(":", "/").split("/")
    if not all(re.fullmatch(r"\w[\w.\-]*", part) for part in parts):
        raise ValueError(_unknown(config))
    for root in _roots(config):
        if found := _prepared(root.joinpath(*parts), config.name):
            return found
    with _quiet(), contextlib.suppress(Exception):  # whatever TFDS raises, the message below is the better one
        import tensorflow_datasets as tfds

        builder = tfds.builder(config.name, data_dir=config.dir or None)
        if found := _prepared(Path(builder.data_path), config.name):
            return found
    if parts[0] not in _registered() and not _written(parts[0]):
        raise ValueError(_unknown(config))
    places = " or ".join(f"{root}{'' if root.is_dir() else ' (no such directory)'}" for root in _roots(config))
    raise FileNotFoundError(
        f"{config.name} is not prepared in {places}; set data.dir to where it is, "
        f"or prepare it (this downloads): {_recipe(config.name, _roots(config)[0])}"
    )


def _prepared(base: Path, name: str) -> Path | None:
    """The directory of the newest version at or below `base`, whose last parts may leave out config and version."""
    found = [d.parent for pattern in ("", "*/", "*/*/") for d in base.glob(f"{pattern}dataset_info.json")]
    if len({d.parent for d in found if d != base}) > 1:
        configs = ", ".join(sorted({d.parent.name for d in found}))
        raise ValueError(f"{name} has several configs; name one as {name}/CONFIG (prepared: {configs})")
    return max(found, key=lambda d: [int(n) for n in re.findall(r"\d+", d.name)], default=None)


def _recipe(name: str, root: Path) -> str:
    call = f"tfds.builder('{name}', data_dir='{root}', file_format='array_record').download_and_prepare()"
    return f'python -c "import tensorflow_datasets as tfds; {call}" (some sets need TensorFlow for this, videos ffmpeg)'


def _registered() -> list[str]:
    with _quiet():
        import tensorflow_datasets as tfds

        return tfds.list_builders(with_community_datasets=False)


def _written(name: str) -> bool:
    """Whether tensorflow-datasets has a set whose module cannot be imported here, as many cannot without TensorFlow."""
    import tensorflow_datasets as tfds

    root, head = Path(tfds.__file__).parent, name.split("_")[0]
    modules = [
        path.read_text(encoding="utf-8") for form in ("*/{}*.py", "*/{}*/*.py") for path in root.glob(form.format(head))
    ]
    return name.replace("_", "") in {c.lower() for text in modules for c in re.findall(r"^class (\w+)\(", text, re.M)}


def _unknown(config: DataConfig) -> str:
    prepared = [d.name for root in _roots(config) if root.is_dir() for d in root.iterdir() if d.is_dir()]
    nearest = difflib.get_close_matches(config.name, [*MADE, *prepared, *_registered()], n=1)
    if Path(config.dir, config.name).is_dir():
        nearest = [f"./{config.name}"]
    hint = f"did you mean {nearest[0]!r}?" if nearest else "check the spelling;"
    return (
        f"there is no data set {config.name!r}; {hint} known are digits, synthetic, a path ending in .npz, "
        "captions in a path ending in .json, a path to a folder of images (starting with ./ or /), and the names of "
        "tensorflow-datasets"
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what tensorflow-datasets and its dependencies say about themselves."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
