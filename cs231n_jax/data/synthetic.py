"""Made-up labelled images: nothing is stored, image i is a pure function of i."""

from __future__ import annotations

import hashlib
import re

import numpy as np

from cs231n_jax.data.base import DataConfig, Info, Part, choose_split

VERSION = 1
GRID = 4  # a class is a pattern of GRID×GRID blocks of one brightness, under noise
DEFAULT = "synthetic:32x32x3:10:50000"


class SyntheticSource:
    """Noise over one fixed pattern a class, cheap enough never to be what a measurement waits for.

        image[i] = noise(i) + pattern(i mod K),   noise uniform in 0 … 127, pattern in 0 … 128

    Args:
        name: "synthetic" or "synthetic:HxWxC:K:N".
        split: "train" has N examples, "test" has max(N // 5, 1) others.
        shape: (H, W, C).
        num_classes: K.
        count: N.
    """

    def __init__(self, name: str, split: str, shape: tuple[int, int, int], num_classes: int, count: int):
        height, width, channels = shape
        self._shape, self._classes = shape, num_classes
        self._count = count if split == "train" else max(count // 5, 1)
        self._start = 0 if split == "train" else count
        blocks = np.random.Philox(key=VERSION).random_raw(num_classes * GRID * GRID * channels)
        self._pattern = (blocks.reshape(num_classes, GRID, GRID, channels) % 129).astype(np.uint8)
        self._rows, self._columns = np.arange(height) * GRID // height, np.arange(width) * GRID // width
        self._words = -(-height * width * channels // 8)
        mark = f"synthetic {VERSION} {shape} {num_classes} {self._start} {self._count}"
        mean, std = self._moments(min(count, num_classes))
        self.info = Info(
            name=name,
            split=split,
            shapes={"image": shape, "label": ()},
            num_classes=num_classes,
            classes=tuple(str(k) for k in range(num_classes)),
            fingerprint=hashlib.sha256(mark.encode()).hexdigest(),
            mean=mean,
            std=std,
        )

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        indices = np.asarray(indices)
        if np.min(indices, initial=0) < 0 or np.max(indices, initial=-1) >= self._count:
            raise IndexError(f"indices must lie in 0 … {self._count - 1}")
        numbers = indices + self._start
        labels = (numbers % self._classes).astype(np.int32)
        counters = numbers.astype(np.uint64)[:, None] * np.uint64(self._words) + np.arange(self._words, dtype=np.uint64)
        words = _mix(counters)
        words >>= np.uint64(1)
        words &= np.uint64(0x7F7F7F7F7F7F7F7F)  # eight bytes of 0 … 127
        images = np.ascontiguousarray(words.view(np.uint8)[:, : np.prod(self._shape)]).reshape(-1, *self._shape)
        images += self._pattern[labels].take(self._rows, axis=1).take(self._columns, axis=2)
        return {"image": images, "label": labels}

    def _moments(self, classes: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The generator's expected mean and std per channel, each class equally often."""
        pattern = self._pattern[:classes][:, self._rows][:, :, self._columns].reshape(-1, self._shape[-1])
        mean = pattern.mean(axis=0) + 127 / 2
        variance = pattern.var(axis=0) + (128**2 - 1) / 12
        return tuple(float(m) / 255 for m in mean), tuple(float(v) ** 0.5 / 255 for v in variance)


def open_split(config: DataConfig, part: Part) -> SyntheticSource:
    """The source that a name such as "synthetic" or "synthetic:32x32x3:10:50000" describes.

    Raises:
        ValueError: the name is not of this form.
    """
    full = DEFAULT if config.name == "synthetic" else config.name
    match = re.fullmatch(r"synthetic:(\d+)x(\d+)x(\d+):(\d+):(\d+)", full)
    numbers = [int(n) for n in match.groups()] if match else [0]
    if min(numbers) < 1:
        raise ValueError(
            f"{config.name!r} does not describe synthetic data; write synthetic:HEIGHTxWIDTHxCHANNELS:CLASSES:EXAMPLES "
            f"with numbers from 1 on, such as {DEFAULT}"
        )
    height, width, channels, num_classes, count = numbers
    split = choose_split(config, part, ("train", "test"))
    return SyntheticSource(config.name, split, (height, width, channels), num_classes, count)


def _mix(x: np.ndarray) -> np.ndarray:
    """The SplitMix64 generator's output for counter x (Steele, Lea and Flood 2014), uint64 to uint64, in place."""
    x += np.uint64(1)
    x *= np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x ^= x >> np.uint64(shift)
        x *= np.uint64(factor)
    x ^= x >> np.uint64(31)
    return x
