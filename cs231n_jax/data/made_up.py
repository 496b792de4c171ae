"""What generators of made-up examples share: random choices as a function of (seed, number), and disjoint splits."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from cs231n_jax.data.base import DataConfig

T = TypeVar("T")
SHARES = {"validation": (0, 1), "test": (1, 3), "train": (3, 10)}  # tenths of all contents that belong to a split
SIZES = {"train": 1.0, "validation": 0.1, "test": 0.2}  # examples, as a share of those for training


class Chance:
    """A stream of choices that depends on its key alone: the words of SHA-256 of (key, 0), (key, 1), …"""

    def __init__(self, *key: object):
        self._key, self._block, self._words = " ".join(map(str, key)), 0, []

    def below(self, bound: int) -> int:
        """A whole number of 0 … bound − 1."""
        if not self._words:
            digest = hashlib.sha256(f"{self._key} {self._block}".encode()).digest()
            self._words = [int.from_bytes(digest[i : i + 4], "little") for i in range(0, 32, 4)]
            self._block += 1
        return self._words.pop() * bound >> 32

    def one(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self.below(len(items))]

    def percent(self, percent: int) -> bool:
        """True in so many of a hundred cases."""
        return self.below(100) < percent


def draw(make: Callable[[Chance], T], content: Callable[[T], str], seed: int, split: str, index: int) -> T:
    """Example `index` of a split: the first of a row of drawn ones whose content belongs to the split.

    To which split a content belongs is decided by its SHA-256, so no content is in two splits, whatever the seeds.

    Args:
        make: an example from choices.
        content: what must not be in two splits, as text.
        seed: of the data set.
        split: "train", "validation" or "test".
        index: from 0 on.
    """
    low, high = SHARES[split]
    attempt = 0
    while True:
        example = make(Chance(seed, split, index, attempt))
        if low <= hashlib.sha256(content(example).encode()).digest()[0] * 10 // 256 < high:
            return example
        attempt += 1


def size(config: DataConfig, default: int, split: str) -> tuple[int, int]:
    """(examples of the split, seed) that a name such as "moving_shapes" or "moving_shapes:2000:7" asks for.

    Raises:
        ValueError: the name is not of this form.
    """
    name, *numbers = config.name.split(":")
    if len(numbers) > 2 or not all(re.fullmatch(r"\d+", number) for number in numbers) or numbers[:1] == ["0"]:
        raise ValueError(
            f"{config.name!r} does not describe made-up data; write {name}, {name}:EXAMPLES or {name}:EXAMPLES:SEED "
            f"with whole numbers, such as {name}:{default}:0"
        )
    count, seed = [*map(int, numbers), *(default, 0)[len(numbers) :]]
    return max(round(SIZES[split] * count), 1), seed
