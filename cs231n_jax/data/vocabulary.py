"""From text to numbers and back: characters, words, or byte pairs, with one interface."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from cs231n_jax.data.text_config import TextConfig, Tokens
from cs231n_jax.data.tokenization import as_given, words_13a

PAD, BEGIN, END, UNKNOWN = SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")
SHOWN = "\ufffd"  # what an unknown token is decoded to
BYTES = 256


class Vocabulary(Protocol):
    """Numbers for the tokens of a text; `size` of them, from 0 on.

    `specials` has the numbers of the tokens that are no text, such as {"<pad>": 0, "<bos>": 1, "<eos>": 2, "<unk>": 3}:
    `encode` makes none of them but the unknown one, and `decode` leaves them out and shows that one as U+FFFD.
    """

    @property
    def size(self) -> int:
        """How many numbers there are."""
        ...

    @property
    def specials(self) -> dict[str, int]:
        """The numbers of the special tokens that there are."""
        ...

    @property
    def lowercase(self) -> bool:
        """Whether texts lose their capitals."""
        ...

    def encode(self, text: str) -> list[int]:
        """The numbers of a text's pieces."""
        ...

    def decode(self, tokens: Iterable[int]) -> str:
        """The text that numbers stand for."""
        ...

    def to_json(self) -> dict[str, Any]:
        """What `from_json` takes."""
        ...


class _Cut(NamedTuple):
    pieces: Callable[[str], Iterable[str]]
    between: str  # what stands between the pieces of a decoded text


CUTS = {
    Tokens.WORDS: _Cut(words_13a, " "),
    Tokens.SPACES: _Cut(as_given, " "),
    Tokens.CHARACTERS: _Cut(iter, ""),
}


@dataclasses.dataclass(frozen=True)
class Listed:
    """Pieces of text that are looked up in a list.

    Args:
        entries: by number: a special token, or the piece.
        cut: how a text is cut into pieces.
        lowercase: lower the case before.
    """

    entries: tuple[str, ...]
    cut: Tokens = Tokens.CHARACTERS
    lowercase: bool = False

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return len(self.entries)

    @property
    def specials(self) -> dict[str, int]:
        """The numbers of the special tokens that there are."""
        return dict(self._specials)

    @functools.cached_property
    def _specials(self) -> dict[str, int]:
        return {entry: number for number, entry in enumerate(self.entries) if entry in SPECIALS}

    @functools.cached_property
    def _numbers(self) -> dict[str, int]:
        return {entry: number for number, entry in enumerate(self.entries) if entry not in SPECIALS}

    def encode(self, text: str) -> list[int]:
        """The numbers of a text's pieces."""
        unknown = self.specials[UNKNOWN]
        pieces = CUTS[self.cut].pieces(text.lower() if self.lowercase else text)
        return [self._numbers.get(piece, unknown) for piece in pieces]

    def decode(self, tokens: Iterable[int]) -> str:
        """The text that numbers stand for."""
        shown = {number: SHOWN if entry == UNKNOWN else "" for entry, number in self.specials.items()}
        pieces = (shown.get(int(token), self.entries[int(token)]) for token in tokens)
        return CUTS[self.cut].between.join(filter(None, pieces))

    def to_json(self) -> dict[str, Any]:
        """What `from_json` takes."""
        return {"tokens": self.cut.value, "lowercase": self.lowercase, "entries": list(self.entries)}


@dataclasses.dataclass(frozen=True)
class BytePairs:
    """Pieces of a text's bytes in UTF-8, the frequent ones long, so that every text can be written and read back.

    The special tokens are 0 … 3, in front of the pieces; none of them is ever read from a text.

    Args:
        definition: the tokenizer in the JSON of the library `tokenizers`.
        lowercase: lower the case before.

    Reference: Sennrich, Haddow and Birch 2016, "Neural Machine Translation of Rare Words with Subword Units", section
    3.2. *Deviation*: over bytes, as in Radford et al. 2019, "Language Models are Unsupervised Multitask Learners".
    """

    definition: str
    lowercase: bool = False

    @functools.cached_property
    def _tokenizer(self) -> Any:
        return _tokenizers().Tokenizer.from_str(self.definition)

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return len(SPECIALS) + self._tokenizer.get_vocab_size()

    @property
    def specials(self) -> dict[str, int]:
        """The numbers of the special tokens."""
        return {name: number for number, name in enumerate(SPECIALS)}

    def encode(self, text: str) -> list[int]:
        """The numbers of a text's pieces."""
        text = text.lower() if self.lowercase else text
        return [len(SPECIALS) + number for number in self._tokenizer.encode(text, add_special_tokens=False).ids]

    def decode(self, tokens: Iterable[int]) -> str:
        """The text that numbers stand for; bytes that are no UTF-8 become U+FFFD."""
        return self._tokenizer.decode([int(token) - len(SPECIALS) for token in tokens if token >= len(SPECIALS)])

    def to_json(self) -> dict[str, Any]:
        """What `from_json` takes."""
        value, definition = Tokens.BYTE_PAIRS.value, json.loads(self.definition)
        return {"tokens": value, "lowercase": self.lowercase, "definition": definition}


def build(texts: Sequence[str], config: TextConfig) -> Vocabulary:
    """The vocabulary of some texts, those of a training split, as the config wants it.

    Words and characters are numbered behind the specials, the frequent first, of equally frequent ones in the order of
    their code points: the same list on every machine.

    Raises:
        ValueError: `most` leaves no room.
        ModuleNotFoundError: byte pairs need the library `tokenizers`.
    """
    return _built(tuple(texts), *(getattr(config, name) for name in _READ))


_READ = ("tokens", "lowercase", "min_count", "most")


@functools.lru_cache(maxsize=4)
def _built(texts: tuple[str, ...], *fields: Any) -> Vocabulary:
    """As `build`, kept: the splits of a set want the same ones, and byte pairs take many seconds."""
    config = TextConfig(**dict(zip(_READ, fields)))
    if config.tokens is Tokens.BYTE_PAIRS:
        return _byte_pairs(texts, config)
    if 0 < config.most <= len(SPECIALS):
        raise ValueError(f"data.text.most is {config.most}; {len(SPECIALS)} are special already, so give more, or 0")
    lowered = (text.lower() for text in texts) if config.lowercase else texts
    counts = Counter(piece for text in lowered for piece in CUTS[config.tokens].pieces(text))
    frequent = sorted((-count, piece) for piece, count in counts.items() if count >= config.min_count)
    kept = [piece for _, piece in frequent if piece not in SPECIALS]
    entries = (*SPECIALS, *kept)[: config.most or None]
    return Listed(entries, config.tokens, config.lowercase)


def from_json(values: dict[str, Any]) -> Vocabulary:
    """The vocabulary that `to_json` described.

    Raises:
        ValueError: the values describe none.
    """
    try:
        tokens, lowercase = Tokens(values["tokens"]), bool(values["lowercase"])
        if tokens is Tokens.BYTE_PAIRS:
            return BytePairs(json.dumps(values["definition"]), lowercase)
        return Listed(tuple(map(str, values["entries"])), tokens, lowercase)
    except (KeyError, TypeError, ValueError) as error:
        message = f"this is no vocabulary ({error!r}): it has tokens, lowercase, and entries or definition"
        raise ValueError(message) from error


def fingerprint(vocabulary: Vocabulary) -> str:
    """SHA-256 of a vocabulary, in hexadecimal."""
    return hashlib.sha256(json.dumps(vocabulary.to_json(), sort_keys=True).encode()).hexdigest()


def _byte_pairs(texts: Sequence[str], config: TextConfig) -> BytePairs:
    if config.most < len(SPECIALS) + BYTES:
        raise ValueError(
            f"data.text.most is {config.most}; byte pairs need a size, {len(SPECIALS) + BYTES} (specials and bytes) or "
            "more, for example 4000"
        )
    library = _tokenizers()
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=config.most - len(SPECIALS),
        min_frequency=max(config.min_count, 2),
        initial_alphabet=sorted(library.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    lowered: Iterator[str] = (text.lower() if config.lowercase else text for text in texts)
    tokenizer.train_from_iterator(lowered, trainer)
    return BytePairs(tokenizer.to_str(), config.lowercase)


def _tokenizers() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        message = f"byte pairs need the library tokenizers, which cannot be imported ({error}); pip install tokenizers"
        raise ModuleNotFoundError(message) from error
    return tokenizers
