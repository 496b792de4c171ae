"""A user's own data: an .npz file, or a folder of images by class."""

from __future__ import annotations

import hashlib
import os
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cs231n_jax.data import cache
from cs231n_jax.data.base import ArraySource, DataConfig, Part, choose_split
from cs231n_jax.data.pipeline import permutation

VERSION = 1
CHUNK = 256
MOST_CLASSES = 1_000_000
HELD_OUT = 5  # one example in so many is for evaluation where the data has no split of its own
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}
GREY = {"1", "L", "LA"}  # modes of Pillow


def open_npz(config: DataConfig, part: Part) -> ArraySource:
    """One split of an .npz file.

    Either x_train, y_train, x_test, y_test (any split names, as in Keras's files), or image and label, of which a
    fixed random fifth becomes "test". Images are uint8 [N, H, W] or [N, H, W, C], labels integers [N] or [N, 1]; an
    optional array `classes` holds the K names.

    Raises:
        ValueError: not an .npz file, or arrays missing or of another kind.
        FileNotFoundError: no such file.
    """
    path = Path(config.dir, config.name).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; data.name is a path from data.dir, or the working directory")
    splits = _npz_splits(path)
    split = choose_split(config, part, list(splits))
    key = ["npz", VERSION, split, cache.stamp([path.resolve()])]
    return cache.open_cached(config.name, split, key, lambda: _decode_npz(path, splits, split))


def open_folder(config: DataConfig, part: Part) -> ArraySource:
    """One split of a folder of images by class.

    Either DIR/train/CLASS/… and DIR/test/CLASS/… (or validation, val), or DIR/CLASS/…, where in each class a fifth of
    the files, chosen by a hash of their names, becomes "test". Classes are numbered in the order of their names, and
    examples are in the order of that hash. The images are grey (one channel) if all of them are, otherwise RGB;
    transparency is dropped and a camera's orientation mark is applied.

    Raises:
        ValueError: a file that is no image, images of several sizes without `image_size`, no images, an unknown class.
        FileNotFoundError: no such folder.
    """
    root = Path(config.dir, config.name).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"the folder {root} does not exist; it should hold train/CLASS/*.png or CLASS/*.png")
    splits = _folders(root)
    divided = config.train_split in splits and bool(_folders(root / config.train_split))
    split = choose_split(config, part, splits if divided else ["train", "test"])
    # The numbers of the classes come from the training split, so that an evaluation split may lack some.
    classes = _folders(root / config.train_split if divided else root)
    if divided:
        files = _images(root / split, classes)
    else:
        files = [entry for entry, held in _held_out(_images(root, classes)) if held == (split == "test")]
    if not files:
        raise ValueError(f"{root} has no images for {split}; they belong in {split}/CLASS/ and end in .png, .jpg, …")
    stamps = cache.stamp(path for path, _ in files)
    key = ["folder", VERSION, split, config.image_size, str(root.resolve()), classes, stamps]
    return cache.open_cached(config.name, split, key, lambda: _decode_folder(files, tuple(classes), config.image_size))


def fit(image: np.ndarray, size: int) -> np.ndarray:
    """uint8 [H, W, C], cut to a centred square and resized (bicubic) to [size, size, C]; unchanged for size 0."""
    if image.dtype != np.uint8:
        raise ValueError(f"images must be uint8 with values 0 to 255, got {image.dtype}; convert them")
    if not size or image.shape[:2] == (size, size):
        return image
    from PIL import Image

    height, width, channels = image.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = np.ascontiguousarray(image[top : top + side, left : left + side])
    picture = Image.fromarray(square[..., 0] if channels == 1 else square)
    return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC)).reshape(size, size, channels)


def read_image(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """An image file as uint8 of this shape, [H, W, C] with 1 or 3 channels; cut and resized where that is a square.

    Raises:
        ValueError: the file is no image, or not of this shape.
    """
    height, width, channels = shape
    pixels = fit(_read(path, "L" if channels == 1 else "RGB"), height if height == width else 0)
    if pixels.shape != tuple(shape):
        raise ValueError(f"{path} has shape {list(pixels.shape)}, and the model takes {list(shape)}: resize it")
    return pixels


def _npz_splits(path: Path) -> dict[str, tuple[str, str]]:
    """{split: (key of the images, key of the labels)}."""
    try:
        with zipfile.ZipFile(path) as archive:
            keys = [name.removesuffix(".npy") for name in archive.namelist()]
    except (zipfile.BadZipFile, OSError) as error:
        raise ValueError(f"{path} is not a readable .npz file ({error}); write it with numpy.savez") from error
    pairs = {key[2:]: (key, f"y_{key[2:]}") for key in keys if key.startswith("x_") and f"y_{key[2:]}" in keys}
    if pairs:
        return pairs
    if {"image", "label"} <= set(keys):
        return {"train": ("image", "label"), "test": ("image", "label")}
    raise ValueError(
        f"{path} holds {', '.join(keys) or 'nothing'}; it needs x_train, y_train, x_test and y_test, or image and label"
    )


def _decode_npz(path: Path, splits: dict[str, tuple[str, str]], split: str) -> cache.Decoded:
    image_key, label_key = splits[split]
    try:
        with np.load(path, allow_pickle=False) as archive:
            images, labels = archive[image_key], archive[label_key]
            known = [archive[key] for key in {label for _, label in splits.values()}]
            names = [str(name) for name in np.atleast_1d(archive["classes"])] if "classes" in archive else []
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read ({error}); write it again with numpy.savez") from error
    labels = _checked(path, image_key, images, label_key, labels)
    images = images.reshape(*images.shape, 1) if images.ndim == 3 else images
    names = names or [str(k) for k in range(max(int(np.max(some, initial=0)) for some in known) + 1)]
    if len({image for image, _ in splits.values()}) == 1:
        order = permutation(0, 0, len(images))
        held = len(images) // HELD_OUT
        chosen = np.sort(order[:held] if split == "test" else order[held:])
        images, labels = images[chosen], labels[chosen]
    if not len(images):
        raise ValueError(f"{path} has too few images to hold out one in {HELD_OUT}; add some, or x_test and y_test")

    def chunks(first: int) -> Iterator[dict[str, np.ndarray]]:
        for start in range(first, len(images), CHUNK):
            yield {"image": images[start : start + CHUNK], "label": labels[start : start + CHUNK]}

    return cache.Decoded(len(images), tuple(names), chunks)


def _checked(path: Path, image_key: str, images: np.ndarray, label_key: str, labels: np.ndarray) -> np.ndarray:
    """The labels as int32 [N], after a look at both arrays."""
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise ValueError(
            f"{image_key} in {path} is {images.dtype} {list(images.shape)}; images must be uint8 [N, H, W] or "
            "[N, H, W, C], so convert fractions by (255 * x).round().astype('uint8')"
        )
    if labels.dtype.kind not in "iu" or labels.shape not in ((len(images),), (len(images), 1)):
        raise ValueError(
            f"{label_key} in {path} is {labels.dtype} {list(labels.shape)}; "
            f"labels must be one integer for each of the {len(images)} images"
        )
    if 0 in images.shape[1:]:
        raise ValueError(f"{image_key} in {path} is {list(images.shape)}; its images have no pixels")
    if int(np.max(labels, initial=0)) >= MOST_CLASSES:
        raise ValueError(
            f"{label_key} in {path} has a label of {labels.max()}; number the classes from 0, at most "
            f"{MOST_CLASSES:,} of them"
        )
    return labels.reshape(len(images)).astype(np.int32)


def _folders(root: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))


def _images(root: Path, classes: list[str]) -> list[tuple[Path, int]]:
    """All (file, label) below root, ordered by a hash of CLASS/… so that any first n are a mixture."""
    found = []
    for name in _folders(root):
        if name not in classes:
            raise ValueError(f"{root} has images of class {name!r}, which training lacks ({', '.join(classes)})")
        for path in (root / name).rglob("*"):
            if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
                digest = hashlib.sha256(path.relative_to(root).as_posix().encode()).digest()
                found.append((digest, path, classes.index(name)))
    return [(path, label) for _, path, label in sorted(found)]


def _held_out(files: list[tuple[Path, int]]) -> Iterator[tuple[tuple[Path, int], bool]]:
    """Each (file, label) and whether it is for evaluation: the first fifth of each class."""
    counts = np.bincount([label for _, label in files])
    seen = np.zeros_like(counts)
    for path, label in files:
        yield (path, label), bool(seen[label] < counts[label] // HELD_OUT)
        seen[label] += 1


def _decode_folder(files: list[tuple[Path, int]], classes: tuple[str, ...], size: int) -> cache.Decoded:
    modes = {_mode(path) for path, _ in files}
    mode = "L" if modes <= GREY else "RGB"

    def chunks(begun: int) -> Iterator[dict[str, np.ndarray]]:
        first = None
        for start in range(begun, len(files), CHUNK):
            images, labels = [], []
            for path, label in files[start : start + CHUNK]:
                image = fit(_read(path, mode), size)
                first = first or (path, image.shape)
                if image.shape != first[1]:
                    raise ValueError(
                        f"{path} is {image.shape[1]}×{image.shape[0]} pixels, but {first[0]} is "
                        f"{first[1][1]}×{first[1][0]}; set data.image_size to the size they should get"
                    )
                images.append(image)
                labels.append(label)
            yield {"image": np.stack(images), "label": np.array(labels, np.int32)}

    return cache.Decoded(len(files), classes, chunks)


def _mode(path: Path) -> str:
    """The image's mode, from its header."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                mode = image.mode
    except Exception as error:
        raise _unreadable(path, error) from error
    if mode[0] in "IF":  # 16-bit integers, 32-bit integers, floating point
        raise ValueError(f"{path} has pixels of type {mode}; only images of 8 bits a channel are read, so convert it")
    return mode


def _read(path: Path, mode: str) -> np.ndarray:
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                pixels = np.asarray(ImageOps.exif_transpose(image).convert(mode))
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error and others
        raise _unreadable(path, error) from error
    return pixels.reshape(*pixels.shape[:2], -1)


def _unreadable(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path} cannot be read as an image ({error}); remove or replace it")
