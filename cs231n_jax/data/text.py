"""Text as a data set: contiguous streams of characters for training, long rows for evaluation.

`info.classes` are the characters, the unknown one first: `vocabulary.Listed(info.classes)` reads and writes them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from cs231n_jax.data import tfds_source
from cs231n_jax.data.base import DataConfig, Info, Part, choose_split
from cs231n_jax.data.vocabulary import UNKNOWN, Listed

ASCII = (UNKNOWN, "\n", *map(chr, range(32, 127)))
ROW = 1024  # characters of a row in evaluation, and about as many from one new beginning in training to the next
HELD_OUT = 10  # of a text without splits, one character in so many is for evaluation: those at the end
TFDS_NAMES = ("tiny_shakespeare",)


class TextSource:
    """A text cut into windows of characters, each with the characters that follow them.

    The text is cut into S equal streams that follow each other, and each stream into windows: example k·S + b is
    window k of stream b, so that S examples in a row are the next window of every stream, and a state can be carried
    from one to the next. No character is lost between windows: the last target of one is the first token of the next.
    What is left at the end of a text that does not divide is in no window, except where there is one stream: its last
    window is then filled up, and "counted" says what belongs to it.

    A stream begins anew not only with the text but, each at its own turn, every ROW // T windows. A network that meets
    no other beginning than the first in an epoch comes to rely on states that only long texts lead to, and predicts
    badly from a new beginning, as in evaluation and in a sample. *Deviation* from Karpathy's char-rnn, which carries
    the state through the whole epoch.

    Examples: {"token": int32 [n, T], "target": int32 [n, T], "start": bool [n], whether the window is a beginning,
    "counted": bool [n, T], which targets belong to the text}.

    Args:
        tokens: the whole text, int32 [C].
        window: T.
        streams: S; 1 for evaluation.
        info: its description.

    Raises:
        ValueError: the text is too short for a window of every stream.
    """

    def __init__(self, tokens: np.ndarray, window: int, streams: int, info: Info):
        targets = len(tokens) - 1
        if targets < 1:
            raise ValueError(
                f"{info.name} {info.split} has {len(tokens)} characters: there must be two at least, since each is "
                "predicted from those before it"
            )
        self._stream = -(-targets // window) * window if streams == 1 else targets // streams
        self._windows = self._stream // window
        if self._windows < 1:
            raise ValueError(
                f"{info.name} {info.split} has {len(tokens)} characters, too few for {streams} streams of a window of "
                f"{window}: lower data.batch_size or data.window"
            )
        padding = max(0, self._stream * streams + 1 - len(tokens))
        self._tokens, self._targets = np.pad(tokens, (0, padding)), targets
        self._window, self._streams, self.info = window, streams, info

    def __len__(self) -> int:
        return self._windows * self._streams

    def __getitem__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        indices = np.asarray(indices)
        if np.min(indices, initial=0) < 0 or np.max(indices, initial=-1) >= len(self):
            raise IndexError(f"indices must lie in 0 … {len(self) - 1}")
        k, b = np.divmod(indices, self._streams)
        places = (b * self._stream + k * self._window)[:, None] + np.arange(self._window)
        return {
            "token": self._tokens[places],
            "target": self._tokens[places + 1],
            "start": (k == 0) | ((k + b) % max(1, ROW // self._window) == 0),
            "counted": places < self._targets,
        }


def open_embedded(config: DataConfig, part: Part) -> TextSource:
    """The language reference that comes with Python as its online help (pydoc_data.topics), half a million characters.

    The topics in the order of their names, each text once; the first nine tenths train, the rest is "test". The
    vocabulary is printable ASCII, whatever the text has, so that one model fits it everywhere. *The text differs
    between versions of Python*: the fingerprint tells, and a run goes on only where the text is the one it began with.
    """
    from pydoc_data import topics

    texts = dict.fromkeys(topics.topics[name] for name in sorted(topics.topics))  # two topics may have one text
    return _cut(config, part, "\n".join(texts), ASCII)


def open_file(config: DataConfig, part: Part) -> TextSource:
    """A user's file in UTF-8: the first nine tenths train, the rest is "test"; the vocabulary is that of the former.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no text, or too short.
    """
    path = Path(config.dir, config.name).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; data.name is a path from data.dir, or the working directory")
    try:
        text = path.read_bytes().decode()  # as it stands: reading as text would change the ends of lines
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8 ({error}): convert it") from None
    return _cut(config, part, text, None)


def open_tfds(config: DataConfig, part: Part) -> TextSource:
    """One split of a prepared set with a feature `text`; the vocabulary is that of the training split.

    Raises:
        ValueError, FileNotFoundError: as `tfds_source.locate`.
    """
    texts = {}
    for one in ("train", part):
        directory, split = tfds_source.locate(config, one)
        texts[one] = split, tfds_source.text(directory, split)
    split, text = texts[part]
    return _source(config, part, split, text, characters(texts["train"][1]))


def characters(text: str) -> tuple[str, ...]:
    """The unknown character, token 0, and those of a text in the order of their code points."""
    return (UNKNOWN, *sorted(set(text)))


def _cut(config: DataConfig, part: Part, text: str, classes: tuple[str, ...] | None) -> TextSource:
    split = choose_split(config, part, ("train", "test"))
    middle = len(text) - len(text) // HELD_OUT
    train, test = text[:middle], text[middle:]
    return _source(config, part, split, train if split == "train" else test, classes or characters(train))


def _source(config: DataConfig, part: Part, split: str, text: str, classes: tuple[str, ...]) -> TextSource:
    if config.window < 1:
        raise ValueError(
            f"data.window is {config.window}, and {config.name} is text, which is read in windows of so many "
            "characters: set it, for example to 64"
        )
    window, streams = (config.window, config.batch_size) if part == "train" else (ROW, 1)
    words = Listed(classes)
    mark = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() + "".join(classes)
    info = Info(
        name=config.name,
        split=split,
        shapes={"token": (window,), "target": (window,), "start": (), "counted": (window,)},
        num_classes=len(classes),
        classes=classes,
        fingerprint=hashlib.sha256(mark.encode("utf-8", "surrogatepass")).hexdigest(),
        mean=(),
        std=(),
        streams=streams if part == "train" else 0,
        vocabularies={"token": words},
    )
    return TextSource(np.array(words.encode(text), np.int32), window, streams, info)
