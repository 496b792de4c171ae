"""The data that a network is carried over to: a number of examples of each class, the test images, as .npz files."""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from cs231n_jax.data import DataConfig, Normalization, open_source
from cs231n_jax.data.files import SUFFIXES
from cs231n_jax.data.pictured import Pictured
from cs231n_jax.data.pipeline import permutation

SHAPES = ("circle", "rectangle", "triangle")
LITTLE, MUCH = "little", "much"


class Images(NamedTuple):
    """Labelled images."""

    images: np.ndarray  # uint8 [N, H, W, C]
    labels: np.ndarray  # int32 [N]


class Target(NamedTuple):
    """Data that the weights do not know, and how much of it is used."""

    data: DataConfig  # at the size that the weights are used to
    similar: bool  # to what the weights were trained on
    was: str  # the images before they were made to fit
    each: dict[str, int]  # by amount, examples of a class; fewer where there are not so many
    tests: int  # the first so many test images
    augment: str  # of training images, where a network is trained
    labelled: Callable[[Any], tuple[Images, tuple[str, ...]]]  # images and classes of a source
    mark: str = ""  # of the content of data of one's own, which may become another; part of the names of files


def own_labels(source: Any) -> tuple[Images, tuple[str, ...]]:
    """Images with the labels that they have."""
    return Images(source.arrays["image"], source.arrays["label"]), source.info.classes


def shape_and_colour(source: Pictured) -> tuple[Images, tuple[str, ...]]:
    """Of pictures with one coloured shape, and questions about it, those whose answers tell both; the label is both."""
    colours = [answer for answer in source.info.classes if answer not in ("yes", "no", *SHAPES)]
    seen: list[set[str]] = [set() for _ in source.images]
    for owner, question, answer in zip(source.owner, source.texts["token"], source.texts["label"], strict=True):
        seen[owner] |= there(question, answer)
    classes = tuple(f"{colour} {shape}" for colour in sorted(colours) for shape in SHAPES)
    named = [f"{next(iter(one - {*SHAPES}), '')} {next(iter(one & {*SHAPES}), '')}" for one in seen]
    known = [i for i, name in enumerate(named) if name in classes]
    labels = np.array([classes.index(named[i]) for i in known], np.int32)
    return Images(source.images[np.array(known)], labels), classes


def there(question: str, answer: str) -> set[str]:
    """The colour and the shape that a question and its answer say are in the picture."""
    words = set(question.rstrip("?").split())
    named = words & {*SHAPES}
    if answer not in ("yes", "no"):
        return named | {answer}
    if (answer == "yes") == bool(words & {"no", "not"}):
        return set()
    plain = words - {"is", "there", "a", "an", "in", "the", "image", "shape", "does", "contain", "present", "no", "not"}
    return named | plain


_FIT = DataConfig(image_size=32, channels=3, normalize=Normalization.IMAGENET)
TARGETS = {
    "cifar100": Target(
        dataclasses.replace(_FIT, name="cifar100", image_size=0),
        similar=True,
        was="32×32 pixels in colour, as the weights know them",
        each={LITTLE: 10, MUCH: 80},
        tests=2000,
        augment="crop_flip",
        labelled=own_labels,
    ),
    "mnist": Target(
        dataclasses.replace(_FIT, name="mnist", channels=0),
        similar=False,
        was="28×28 grey pixels, enlarged to 32×32 and repeated in three channels",
        each={LITTLE: 10, MUCH: 250},
        tests=2000,
        augment="crop",
        labelled=own_labels,
    ),
    "easy_vqa": Target(
        dataclasses.replace(_FIT, name="easy_vqa", channels=0),
        similar=False,
        was="64×64 pixels in colour, reduced to 32×32; labels are colour and shape, as the questions tell them",
        each={LITTLE: 10, MUCH: 100},
        tests=2000,
        augment="crop",
        labelled=shape_and_colour,
    ),
}


def sized(target: Target, size: int) -> Target:
    """The same target with images of size×size pixels, as other weights may be used to."""
    data = dataclasses.replace(target.data, image_size=size)
    return target._replace(data=data, was=f"{target.was}; here {size}×{size}", mark=f"{target.mark}_{size}px")


def sizes(folder: Path) -> str:
    """Height×width of the images in a folder, as their headers tell; the smallest and the largest where they differ."""
    found = set()
    for path in folder.rglob("*"):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            with Image.open(path) as image:
                found.add((image.height, image.width))
    ends = sorted(found, key=lambda one: (one[0] * one[1], one))
    return " to ".join(f"{height}×{width}" for height, width in dict.fromkeys((ends[0], ends[-1])))


def own(name: str, similar: bool, size: int = 0) -> Target:
    """A user's .npz file or folder of images by class (resized, to 32×32) as a target, known by its content.

    Raises:
        FileNotFoundError, ValueError: as `open_source`; or all training images are of one class.
    """
    size = size or (0 if name.endswith(".npz") else _FIT.image_size)
    data = dataclasses.replace(_FIT, name=name, image_size=size)
    source, tests = (open_source(dataclasses.replace(data, channels=0), part) for part in ("train", "eval"))
    train, test = source.info, tests.info
    there = np.unique(source[np.arange(len(source))]["label"])
    if len(there) < 2:
        raise ValueError(
            f"all training images of {name} are of one class, {train.classes[there[0]]!r}, and a classifier needs two: "
            "add images of another"
        )
    height, width, channels = train.shapes["image"]
    size_before = f"{height}×{width}" if name.endswith(".npz") else sizes(Path(name).expanduser())
    colour = "grey, repeated in three channels" if channels == 1 else "in colour"
    fit = f"cropped to squares and resized to {height}×{width}" if data.image_size else "as they are"
    mark = hashlib.sha256(f"{train.fingerprint} {test.fingerprint}".encode()).hexdigest()[:8]
    return Target(
        data,
        similar,
        was=f"{size_before} pixels {colour}, {fit}",
        each={LITTLE: 10, MUCH: 100},
        tests=2000,
        augment="crop",
        labelled=own_labels,
        mark=f"_{mark}",
    )


QUICK = {
    "digits": Target(
        DataConfig(channels=3),
        similar=True,
        was="8×8 grey pixels, repeated in three channels",
        each={LITTLE: 5, MUCH: 12},
        tests=100,
        augment="none",
        labelled=own_labels,
    )
}


def subset(labels: np.ndarray, each: int, seed: int) -> np.ndarray:
    """Examples, `each` of a class or all that it has, in an order of the seed: int64 [n]."""
    order = permutation(seed, 0, len(labels))
    places = {label: order[labels[order] == label][:each] for label in np.unique(labels)}
    chosen = np.concatenate(list(places.values()))
    return chosen[permutation(seed, 1, len(chosen))]


def prepared(target: Target, amount: str, seeds: Sequence[int], folder: Path) -> dict[int, DataConfig]:
    """For each seed a file of so much of a target, made where it is not there, and the config that reads it."""
    made: dict[int, DataConfig] = {}
    for seed in seeds:
        name = f"{Path(target.data.name).stem}{target.mark}_{amount}{target.each[amount]}_{seed}.npz"
        made[seed] = dataclasses.replace(target.data, name=name, dir=str(folder), image_size=0, channels=3)
    missing = [seed for seed, data in made.items() if not (folder / data.name).exists()]
    if missing:
        (train, classes), (test, _) = (target.labelled(open_source(target.data, part)) for part in ("train", "eval"))
        folder.mkdir(parents=True, exist_ok=True)
        for seed in missing:
            some = subset(train.labels, target.each[amount], seed)
            cut = Images(*(x[some] for x in train)), Images(*(x[: target.tests] for x in test))
            write(folder / made[seed].name, *cut, classes)
    return made


def write(path: Path, train: Images, test: Images, classes: tuple[str, ...]) -> None:
    """Leave both splits in an .npz file, whole or not at all."""
    arrays: dict[str, Any] = {"x_train": train.images, "y_train": train.labels}
    arrays |= {"x_test": test.images, "y_test": test.labels, "classes": np.array(classes)}
    part = path.with_suffix(".part.npz")
    np.savez(part, **arrays)
    part.rename(path)
