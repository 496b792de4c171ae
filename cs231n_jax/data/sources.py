"""From a config to the data: one small table of the kinds of data set."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

from cs231n_jax.data import digits, embedded, files, karpathy, parallel_files, synthetic, text, tfds_sentences
from cs231n_jax.data.base import DataConfig, First, Part, Source
from cs231n_jax.data.channels import seen_in
from cs231n_jax.data.text_config import TextConfig


@dataclasses.dataclass(frozen=True)
class _Kind:
    matches: Callable[[str], bool]  # of a name
    open: Callable[[DataConfig, Part], Source]
    resizes: bool = False
    is_text: bool = False


_KINDS = (
    _Kind(lambda name: name == "digits", digits.open_split),
    _Kind(lambda name: name.split(":")[0] == "synthetic", synthetic.open_split),
    _Kind(lambda name: name.startswith(parallel_files.PREFIX), parallel_files.open_split),
    _Kind(lambda name: name == "python_docs", text.open_embedded, is_text=True),
    _Kind(lambda name: name.endswith(".txt"), text.open_file, is_text=True),
    _Kind(lambda name: re.split("[/:]", name)[0] in text.TFDS_NAMES, text.open_tfds, is_text=True),
    _Kind(lambda name: name.split(":")[0] == "sentiment_grammar", embedded.open_sentiment),
    _Kind(lambda name: name.split(":")[0] == "translation_grammar", embedded.open_translation),
    _Kind(lambda name: name.split(":")[0] == "moving_shapes", embedded.open_video),
    _Kind(lambda name: name.split(":")[0] == "scenes", embedded.open_captions),
    _Kind(lambda name: name.split(":")[0] == "scene_questions", embedded.open_questions),
    _Kind(lambda name: name.endswith(".npz"), files.open_npz),
    _Kind(lambda name: name.endswith(".json"), karpathy.open_split, resizes=True),
    _Kind(lambda name: name.startswith(("/", ".", "~")) or name.endswith("/"), files.open_folder, resizes=True),
    _Kind(lambda name: True, tfds_sentences.open_split, resizes=True),
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
    kind = next(kind for kind in _KINDS if kind.matches(config.name))
    if config.image_size and not kind.resizes:
        raise ValueError(
            "data.image_size is for folders of images, captions in a .json and TFDS sets; set it to 0 for "
            f"{config.name}"
        )
    if config.frames and kind.open is not tfds_sentences.open_split:
        raise ValueError(f"data.frames is for TFDS sets of clips; set it to 0 for {config.name}")
    if config.window and not kind.is_text:
        raise ValueError(
            f"data.window is for text: python_docs, tiny_shakespeare or a file NAME.txt; set it to 0 for {config.name}"
        )

    def opened(part: Part) -> Source:
        source = kind.open(config, part)
        return seen_in(source, config.channels) if config.channels else source

    train = opened("train")
    if config.text != TextConfig() and not train.info.ragged:
        raise ValueError(f"data.text is for sets of sentences; leave all of it as it is for {config.name}")
    if split == "train":
        return First(train, config.limit) if config.limit else train
    return _matched(opened("eval"), train, ("classes",) if kind.is_text else ("shapes", "classes"))


def _matched(evaluation: Source, train: Source, must_agree: tuple[str, ...]) -> Source:
    """The evaluation split, which must look like the training split, with the latter's mean and std."""
    theirs, ours = evaluation.info, train.info
    for what in must_agree:
        if (mine := getattr(theirs, what)) != (wanted := getattr(ours, what)):
            raise ValueError(
                f"{theirs.name} has {what} {mine} in {theirs.split}, but {wanted} in {ours.split}: they must agree"
            )
    evaluation.info = dataclasses.replace(theirs, mean=ours.mean, std=ours.std)
    return evaluation
