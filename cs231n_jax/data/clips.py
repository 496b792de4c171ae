"""Which frames of a clip are looked at: clips of unequal length, as many frames of each, spaced evenly."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np


def places(length: int, count: int) -> np.ndarray:
    """The frames that stand for a clip: of `count` equal parts of it, the one in the middle of each; all for 0.

    t_k = ⌊(k + ½)·length / count⌋. A clip that is shorter than `count` has some of its frames more than once.

    Reference: Wang et al. 2016, "Temporal segment networks", section 3.1 (a clip in equal segments).
    *Deviation* from Donahue et al. 2015, "Long-term recurrent convolutional networks", section 4.1, whose examples are
    16 frames that follow each other, and whose scores of a clip are the mean over many such.
    """
    return np.arange(length) if not count else (2 * np.arange(count) + 1) * length // (2 * count)


@contextlib.contextmanager
def restored() -> Iterator[None]:
    """Within it tensorflow-datasets restores sets with its feature Video, which it does with TensorFlow alone.

    What is stored, and read, is a sequence of images: that is put in its place.
    """
    from tensorflow_datasets import features

    video: Any = features.Video
    original = video.__dict__["from_json_content"]

    def from_json_content(cls: type, value: Any) -> Any:
        del cls
        shape = value["shape"] if isinstance(value, dict) else value.shape.dimensions
        length, *frame = (None if n is None or n < 0 else int(n) for n in shape or [None] * 4)
        return features.Sequence(features.Image(shape=tuple(frame)), length=length)

    video.from_json_content = classmethod(from_json_content)
    try:
        yield
    finally:
        video.from_json_content = original


class Frames:
    """Decodes so many frames of a clip, and no others: a decoder for tensorflow-datasets, which stores them singly."""

    def __init__(self, count: int):
        self.count, self._feature = count, None

    def setup(self, *, feature: Any) -> None:
        """Remember what decodes a frame."""
        self._feature = feature

    def decode_batch_example_np(self, frames: Sequence[bytes]) -> list[np.ndarray]:
        """Encoded frames -> uint8 [H, W, C] of those that are taken; none where there is none.

        Raises:
            ValueError: a frame that is taken is no image.
        """
        return [self._decoded(frames, int(t)) for t in (places(len(frames), self.count) if len(frames) else ())]

    def _decoded(self, frames: Sequence[bytes], t: int) -> np.ndarray:
        decode: Any = self._feature
        try:
            return decode.decode_example_np(frames[t])
        except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error and others
            raise ValueError(f"frame {t} of 0 … {len(frames) - 1}: {error}") from error
