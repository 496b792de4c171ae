"""How sentences become tokens, and in which lengths they are put side by side."""

# No `from __future__ import annotations` here: flags read the types of the config's fields.
import dataclasses
import enum


class Tokens(enum.Enum):
    """What a sentence is cut into."""

    WORDS = "words"  # words and punctuation apart, as the tokenization 13a has them
    SPACES = "spaces"  # what stands between white space
    CHARACTERS = "characters"
    BYTE_PAIRS = "byte_pairs"  # pieces learned from the training texts; every text can be written with them


@dataclasses.dataclass(kw_only=True, slots=True)
class TextConfig:
    """Vocabulary and lengths of sentences.

    Args:
        tokens: what a sentence is cut into.
        lowercase: without capitals.
        min_count: words (or characters) that training has less often are unknown.
        most: size of a vocabulary with its specials, at most; 0: no limit. Byte pairs need one, from 260 on.
        longest: tokens of the longest example, begin and end marks included; 0: no limit. Sentiment: longer texts are
            cut. Translation: longer pairs are left out of training, and longer sources are cut in evaluation.
        buckets: lengths that batches are padded to, as "12,20,40": each batch has examples of one bucket, and there is
            one compilation a bucket. The last must hold the longest example. "" is one, the longest example.
        languages: of translations, as "en-de" (from, to); "" takes them in the order of the set. Two sides without a
            name are "source-target".
        answers: of questions: so many answers of training, the most frequent, are the classes; 0: all.
        captions: of a picture: its first so many are trained on; 0: all. The vocabulary is that of all.
    """

    tokens: Tokens = Tokens.WORDS
    lowercase: bool = False
    min_count: int = 1
    most: int = 0
    longest: int = 0
    buckets: str = ""
    languages: str = ""
    answers: int = 0
    captions: int = 0

    def validate(self) -> None:
        """Check the fields that need no data; raises ValueError."""
        if self.min_count < 1:
            raise ValueError(f"data.text.min_count is {self.min_count}; it must be at least 1")
        for field in ("most", "longest", "answers", "captions"):
            if getattr(self, field) < 0:
                raise ValueError(f"data.text.{field} is {getattr(self, field)}; it must be 0 or more")
        if self.languages and self.languages.count("-") != 1:
            raise ValueError(f"data.text.languages is {self.languages!r}; write two of them as de-en")
        self.lengths()

    def lengths(self) -> tuple[int, ...]:
        """The declared lengths of buckets, shortest first; raises ValueError."""
        try:
            found = tuple(int(part) for part in self.buckets.split(",")) if self.buckets else ()
        except ValueError:
            found = (0,)
        if list(found) != sorted(set(found)) or min(found, default=1) < 1:
            raise ValueError(
                f"data.text.buckets is {self.buckets!r}; write lengths from 1 on, each longer than the one before, "
                "as 12,20,40"
            )
        return found
