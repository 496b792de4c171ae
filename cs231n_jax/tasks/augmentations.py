"""From data.augment to a function of a batch: one row a term."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax

from cs231n_jax.data import DataConfig, terms
from cs231n_jax.data.base import MOST_PADDING
from cs231n_jax.ops import augment, colour, cutout, resized_crop
from cs231n_jax.tasks.base import Augment
from cs231n_jax.typing import Array, Batch, Key

MOVING = {"crop", "reflect_crop", "flip", "crop_flip"}  # terms that only move pixels
Step = Callable[[Key, Array, Batch], Array]  # (key, images so far, batch) -> images


class Number(NamedTuple):
    """What may follow the name of a term."""

    name: str
    low: float
    high: float
    default: float | None = None  # None: it has to be given
    whole: bool = False


class Kind(NamedTuple):
    """A row of the table."""

    make: Callable[..., Step]  # of the term's numbers
    numbers: tuple[Number, ...] = ()


def build(data: DataConfig, mean: Sequence[float], reads: str = "image") -> Augment | None:
    """The function (key, batch) -> images that data.augment describes, or None for "none".

    A single term is given the key itself, each of several a key of its own.

    Args:
        data: the terms; augment_padding is the default of the crops.
        mean: per channel, what cutout paints with.
        reads: what is changed: images, or "video", of which all frames are moved alike.

    Raises:
        ValueError: a term does not exist, or not for what is read, or its numbers are too many, too few or out of
            range.
    """
    kinds = _kinds(data, mean)
    steps = [_step(term, kinds, data.augment) for term in terms.parse(data.augment)]
    if not steps:
        return None
    allowed = {"image": set(kinds), "video": MOVING}.get(reads, set())
    if wrong := [term.name for term in terms.parse(data.augment) if term.name not in allowed]:
        has = (
            f"{reads}s take {', '.join(sorted(allowed))}" if allowed else f"there is none for {reads}s: set it to none"
        )
        raise ValueError(f"data.augment={data.augment!r}, term '{wrong[0]}': {has}")

    def apply(key: Key, batch: Batch) -> Array:
        keys = [key] if len(steps) == 1 else [jax.random.fold_in(key, i) for i in range(len(steps))]
        images = batch[reads] if reads == "image" else _side_by_side(batch[reads])
        for step, own in zip(steps, keys, strict=True):
            images = step(own, images, batch)
        return images if reads == "image" else _in_time(images, batch[reads].shape)

    return apply


def _side_by_side(clips: Array) -> Array:
    """The frames as channels, so that what moves a pixel moves it in all: [N, T, H, W, C] -> [N, H, W, T·C]."""
    n, _, height, width, _ = clips.shape
    return clips.transpose(0, 2, 3, 1, 4).reshape(n, height, width, -1)


def _in_time(images: Array, shape: tuple[int, ...]) -> Array:
    """The inverse of `_side_by_side`, to this shape."""
    n, steps, height, width, channels = shape
    return images.reshape(n, height, width, steps, channels).transpose(0, 3, 1, 2, 4)


def _kinds(data: DataConfig, mean: Sequence[float]) -> dict[str, Kind]:
    padding = Number("padding", 0, MOST_PADDING, data.augment_padding, whole=True)
    size = Number("size", 0, MOST_PADDING, whole=True)
    strength, hue = Number("strength", 0, math.inf), Number("hue", 0, 0.5, 0.0)
    reflect = partial(augment.random_crop, mode="reflect")
    return {
        "crop": Kind(lambda n: _of_key(augment.random_crop, padding=int(n)), (padding,)),
        "reflect_crop": Kind(lambda n: _of_key(reflect, padding=int(n)), (padding,)),
        "flip": Kind(lambda: _of_key(augment.random_flip)),
        "crop_flip": Kind(lambda n: _of_key(augment.random_crop_flip, padding=int(n)), (padding,)),
        terms.ALTERNATING_FLIP: Kind(lambda: _flip_as_told),
        "resized_crop": Kind(
            lambda low: _of_key(resized_crop.random_resized_crop, area=(low, 1.0)), (Number("area", 1e-4, 1, 0.08),)
        ),
        "cutout": Kind(lambda n: _of_key(cutout.cutout, size=int(n), fill=tuple(mean)), (size,)),
        "jitter": Kind(lambda s, h: _of_key(colour.jitter, strength=s, hue_strength=h), (strength, hue)),
        "lighting": Kind(lambda std: _of_key(colour.lighting, std=std), (Number("std", 0, math.inf, 0.1),)),
    }


def _of_key(function: Callable[..., Array], **options: Any) -> Step:
    return lambda key, images, batch: function(key, images, **options)


def _flip_as_told(key: Key, images: Array, batch: Batch) -> Array:
    del key
    return augment.flip_where(images, batch["flip"])


def _step(term: terms.Term, kinds: dict[str, Kind], text: str) -> Step:
    where = f"data.augment={text!r}, term '{term}'"
    if term.name not in kinds:
        raise ValueError(f"{where}: there is no such term; there are none, {', '.join(map(_usage, kinds.items()))}")
    make, expected = kinds[term.name]
    required = sum(number.default is None for number in expected)
    if not required <= len(term.numbers) <= len(expected):
        raise ValueError(f"{where} has {len(term.numbers)} numbers: write {_usage((term.name, kinds[term.name]))}")
    values = [*term.numbers, *(number.default for number in expected[len(term.numbers) :])]
    for number, value in zip(expected, values, strict=True):
        if value is None or not number.low <= value <= number.high or (number.whole and value != int(value)):
            kind = "a whole number" if number.whole else "a number"
            high = f" and at most {number.high:g}" if number.high < math.inf else ""
            raise ValueError(f"{where}: {number.name} is {value}; it must be {kind} of at least {number.low:g}{high}")
    return make(*values)


def _usage(row: tuple[str, Kind]) -> str:
    """Such as "jitter:strength[:hue]"."""
    name, kind = row
    return name + "".join(f":{n.name}" if n.default is None else f"[:{n.name}]" for n in kind.numbers)
