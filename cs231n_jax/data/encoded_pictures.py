"""Pictures as they are stored, JPEG or PNG, to pictures of one size; what cannot be decoded is black, and counted."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from cs231n_jax.data import cache
from cs231n_jax.data.base import ArraySource
from cs231n_jax.data.files import fit
from cs231n_jax.data.pictured import Pictures

FORM = ("whole", "damaged")  # of a picture in the cache


def decoded(
    name: str, split: str, length: int, chunks: Callable[[int], Iterable[list[bytes]]], side: int
) -> cache.Decoded:
    """What the cache keeps of the pictures of a split: uint8 [n, H, W, 3], and which are damaged as their labels.

    Args:
        name: of the data set, for messages.
        split: its split.
        length: how many pictures.
        chunks: their bytes in order, from picture n on.
        side: they are cut to a centred square and resized to this; 0: they must be of one size.

    Raises:
        ValueError: while chunks are read: the pictures differ in size, or none of the first chunk can be decoded and
            side is 0, so that no size is known.
    """

    def arrays(first: int) -> Iterator[dict[str, np.ndarray]]:
        shape: tuple[int, ...] = (side, side, 3) if side else ()
        for chunk in chunks(first):
            images = [_image(encoded, side) for encoded in chunk]
            shapes = {image.shape for image in images if image is not None} | ({shape} if shape else set())
            if len(shapes) > 1:
                raise ValueError(
                    f"the images of {name} differ in size; set data.image_size to the size they should get"
                )
            if not shapes:
                raise ValueError(
                    f"none of {len(images)} pictures of {name} {split} from {first} on can be decoded; set "
                    "data.image_size to the size they should get, to have them black and counted"
                )
            (shape,) = shapes
            damaged = np.array([image is None for image in images], np.int32)
            black = np.zeros(shape, np.uint8)
            yield {"image": np.stack([black if image is None else image for image in images]), "label": damaged}

    return cache.Decoded(length, FORM, arrays)


def together(source: ArraySource, training: ArraySource) -> Pictures:
    """The pictures of a split as `decoded` has them, beside those of the training split."""
    noticed = {"pictures that cannot be decoded, black": int(np.sum(source.arrays["label"]))}
    statistics = training.info.mean, training.info.std
    return Pictures(source.arrays["image"], training.arrays["image"], noticed, statistics)


def _image(encoded: bytes, side: int) -> np.ndarray | None:
    """uint8 [H, W, 3], or None where the bytes are no picture."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(encoded)) as picture:
            return fit(np.asarray(picture.convert("RGB")), side)
    except (OSError, SyntaxError, ValueError, RuntimeError, Image.DecompressionBombError):
        return None
