"""From a config to the data: one small table of the kinds of data set."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from cs231n_jax.data import digits, synthetic
from cs231n_jax.data.base import DataConfig, First, Part, Source

Opener = Callable[[DataConfig, Part], Source]


def _kinds() -> tuple[tuple[Callable[[str], bool], Opener], ...]:
    return (
        (lambda name: name == "digits", digits.open_split),
        (lambda name: name.split(":")[0] == "synthetic", synthetic.open_split),
    )


def open_source(config: DataConfig, split: Part) -> Source:
    """Open the training or the evaluation split of the configured data.

    Args:
        config: which data; `limit` cuts the training split only.
        split: "train" or "eval".

    Returns:
        The source. Its `info.mean` and `info.std` are those of the whole training split for both.

    Raises:
        ValueError: the name, the split or the limit is wrong, or the data is not of a usable form.
        FileNotFoundError: the data is not there.
    """
    if split not in ("train", "eval"):
        raise ValueError(f"a source is opened for 'train' or 'eval', got {split!r}")
    config.validate()
    opener = next(opener for matches, opener in _kinds() if matches(config.name))
    train = opener(config, "train")
    if split == "train":
        return First(train, config.limit) if config.limit else train
    return _matched(opener(config, "eval"), train)


def _matched(evaluation: Source, train: Source) -> Source:
    """The evaluation split, which must look like the training split, with the latter's mean and std."""
    theirs, ours = evaluation.info, train.info
    for what in ("shapes", "classes"):
        if (mine := getattr(theirs, what)) != (wanted := getattr(ours, what)):
            raise ValueError(
                f"{theirs.name} has {what} {mine} in {theirs.split}, but {wanted} in {ours.split}: they must agree"
            )
    evaluation.info = dataclasses.replace(theirs, mean=ours.mean, std=ours.std)
    return evaluation
