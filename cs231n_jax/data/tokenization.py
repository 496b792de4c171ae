"""How a sentence is cut into tokens, for vocabularies and for scores; a score means nothing without its name."""

import functools
import re
from collections.abc import Callable

# Western punctuation and symbols stand alone; a full stop or a comma does unless a digit is on that side of it, and a
# dash does after a digit.
_RULES = (
    (re.compile(r"([{-~\[-` -&(-+:-@/])"), r" \1 "),
    (re.compile(r"([^0-9])([.,])"), r"\1 \2 "),
    (re.compile(r"([.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)
_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))


def words_13a(sentence: str) -> list[str]:
    """Tokens as NIST's mteval-v13a cuts them, the usual choice for translations into European languages."""
    return list(_words_13a(sentence))


@functools.lru_cache(maxsize=2**16)  # a vocabulary, the arrays and each evaluation cut the same sentences
def _words_13a(sentence: str) -> tuple[str, ...]:
    line = sentence.replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, character in _ENTITIES:
        line = line.replace(entity, character)
    line = f" {line} "
    for pattern, replacement in _RULES:
        line = pattern.sub(replacement, line)
    return tuple(line.split())


def characters(sentence: str) -> list[str]:
    """Every character that is no white space."""
    return list("".join(sentence.split()))


def as_given(sentence: str) -> list[str]:
    """What stands between white space, for text that has been cut before."""
    return sentence.split()


TOKENIZERS: dict[str, Callable[[str], list[str]]] = {"13a": words_13a, "char": characters, "none": as_given}


def tokenizer(name: str, lowercase: bool = False) -> Callable[[str], list[str]]:
    """The function sentence -> tokens of this name, after lowering the case where asked.

    Raises:
        ValueError: there is no tokenization of this name.
    """
    if name not in TOKENIZERS:
        raise ValueError(f"there is no tokenization {name!r}; choose from {', '.join(TOKENIZERS)}")
    cut = TOKENIZERS[name]
    return lambda sentence: cut((sentence.lower() if lowercase else sentence).rstrip())
