"""Sentences of like lengths side by side: which examples of an epoch make up a batch, and how long that is padded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cs231n_jax.data.base import ArraySource, First, Info, Source

BLOCK = 1024  # examples of a user's own source that are read at once


def assign(lengths: np.ndarray, declared: Sequence[int]) -> np.ndarray:
    """The bucket of each example: int64 [N], the first of the declared lengths that is at least its own.

    Raises:
        ValueError: the longest example is longer than the longest bucket.
    """
    longest = int(np.max(lengths, initial=0))
    if longest > declared[-1]:
        raise ValueError(
            f"the longest example has {longest} tokens, the longest bucket {declared[-1]}: add a bucket to "
            "data.text.buckets, or set data.text.longest"
        )
    return np.searchsorted(np.asarray(declared), lengths)


def steps(bucket: np.ndarray, declared: int, batch_size: int) -> int:
    """Batches in an epoch; the same in each."""
    left, whole = 0, 0
    for count in np.bincount(bucket, minlength=declared):
        made, left = divmod(int(count) + left, batch_size)
        whole += made
    return whole


def arrange(order: np.ndarray, bucket: np.ndarray, declared: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """The batches of one epoch.

    Each bucket's examples, in the order given, are cut into batches; those that are left over go to the next bucket,
    where they fit as well, and what is left over in the last is in no batch of this epoch. The batches follow each
    other as their first examples do in the order given. With one bucket the order stays as it was.

    Args:
        order: of all examples in this epoch, int64 [N].
        bucket: of each example, int64 [N] (see `assign`).
        declared: number of buckets.
        batch_size: B.

    Returns:
        (int64 [steps · B], the examples of each batch; int64 [steps], the bucket of each).
    """
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    batches, buckets, left = [], [], np.empty(0, np.int64)
    for number in range(declared):
        members = np.concatenate([left, np.flatnonzero(bucket == number)])
        members = members[np.argsort(rank[members])]
        whole = len(members) // batch_size * batch_size
        left = members[whole:]
        batches.append(members[:whole].reshape(-1, batch_size))
        buckets.append(np.full(whole // batch_size, number))
    rows, numbers = np.concatenate(batches), np.concatenate(buckets)
    follow = np.argsort(rank[rows[:, 0]])
    return rows[follow].reshape(-1), numbers[follow]


def lengths(examples: Mapping[str, np.ndarray], info: Info) -> np.ndarray:
    """Of each example that of its longest sequence, int64 [N]."""
    each = [examples[name] for name in info.ragged.values()]
    return np.max(np.stack(each), axis=0).astype(np.int64)


def every_length(source: Source) -> np.ndarray:
    """`lengths` of all examples of a source, int64 [N], without their pictures where its arrays are at hand."""
    if isinstance(source, First):
        return every_length(source.whole)[: len(source)]
    if isinstance(source, ArraySource):
        return lengths(source.arrays, source.info)
    rows = np.arange(len(source))
    blocks = np.split(rows, range(BLOCK, len(rows), BLOCK))
    return np.concatenate([lengths(source[block], source.info) for block in blocks])


def crop(examples: Mapping[str, np.ndarray], info: Info, length: int) -> dict[str, np.ndarray]:
    """The examples with their sequences cut to `length`, which must hold the longest."""
    return {name: array[:, :length] if name in info.ragged else array for name, array in examples.items()}


def waste(examples: np.ndarray, padded: np.ndarray) -> float:
    """Share of padding among the places of batches.

    Args:
        examples: tokens of each example in them.
        padded: what each is padded to.
    """
    return float(1 - np.sum(examples) / np.sum(padded))
