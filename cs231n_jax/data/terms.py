"""How the changes of training images are written in a config: "crop:4+flip+cutout:8"."""

from __future__ import annotations

import math
from typing import NamedTuple

ALTERNATING_FLIP = "alternating_flip"  # what the pipeline has a part in


class Term(NamedTuple):
    """One change of the images."""

    name: str
    numbers: tuple[float, ...]

    def __str__(self) -> str:
        return ":".join([self.name, *(f"{number:g}" for number in self.numbers)])


def parse(text: str) -> tuple[Term, ...]:
    """The terms of "name:number:number+name+…", in their order; "none" has none.

    Raises:
        ValueError: what follows a colon is no number, a term is empty, or one is there twice.
    """
    if not isinstance(text, str):
        raise ValueError(f"data.augment={text!r} must be a string such as none, crop_flip or crop:4+flip+cutout:8")
    if text == "none":
        return ()
    terms = tuple(_term(part, text) for part in text.split("+"))
    names = [term.name for term in terms]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise ValueError(f"data.augment={text!r} has the term {twice!r} twice: write it once")
    return terms


def _term(part: str, text: str) -> Term:
    name, *numbers = part.strip().split(":")
    if not name:
        raise ValueError(
            f"data.augment={text!r} has an empty term: write terms with + between, as in crop:4+flip, or none"
        )
    try:
        values = tuple(float(number) for number in numbers)
    except ValueError:
        values = (math.nan,)
    if not all(map(math.isfinite, values)):
        raise ValueError(
            f"data.augment={text!r}: in the term {part!r} only numbers can follow the name, as in crop:4; between "
            "terms stands +, as in crop:4+flip"
        )
    return Term(name, values)
