"""Made-up reviews of films whose label follows from what they mean: negation, contrast, degrees and hearsay.

    value(phrase)  = ±1 (slightly), ±2 (plain), ±3 (very); with "not" in front the sign is turned
    A and B        = value(A) + value(B)
    A but B, although A , B, B even though A   = value(B)
    hearsay, remarks                           = 0

A review is positive where the values of its clauses add up to more than 0, negative where to less; none adds up to 0.
Every word is about as frequent in reviews of either label, so a bag of words cannot get far.
"""

from __future__ import annotations

from typing import NamedTuple

from cs231n_jax.data.made_up import Chance, draw

CLASSES = ("negative", "positive")
EXAMPLES = 8000
# fmt: off
ASPECTS = (
    "plot", "story", "acting", "music", "ending", "dialogue", "photography", "cast", "script", "direction", "pacing",
    "score", "humour", "lighting", "editing", "opening", "villain", "hero", "romance", "styling",
)
GOOD = (
    "good", "great", "brilliant", "moving", "clever", "funny", "charming", "gripping", "fresh", "superb", "honest",
    "delightful",
)
BAD = (
    "bad", "dull", "awful", "clumsy", "silly", "boring", "weak", "tedious", "shallow", "dreadful", "stale",
    "predictable",
)
# fmt: on
DEGREES = (("slightly", 1), ("somewhat", 1), ("", 2), ("", 2), ("very", 3), ("really", 3), ("absolutely", 3))
NEGATIONS = ("not", "never", "hardly")
TELLERS = ("my sister", "a friend", "the poster", "one critic", "everybody", "the trailer")
REMARKS = (
    "i saw it on a rainy evening",
    "it runs for two hours",
    "we sat in the last row",
    "it is set in a small town",
    "the director is from norway",
    "it was shown at a festival",
)


class Review(NamedTuple):
    """A text with its label, 0 or 1."""

    text: str
    label: int


class Part(NamedTuple):
    """Words, and what they are worth."""

    text: str
    value: int


def review(seed: int, split: str, index: int) -> Review:
    """Example `index` of a split, a function of the arguments alone; no text is in two splits."""
    return draw(_review, lambda example: example.text, seed, split, index)


def _review(chance: Chance) -> Review:
    while True:
        parts = [_judgement(chance) for _ in range(1 + chance.percent(40))]
        for percent, make in ((30, _hearsay), (30, _remark)):
            if chance.percent(percent):
                parts.insert(chance.below(len(parts) + 1), make(chance))
        value = sum(part.value for part in parts)
        if value:
            return Review(" . ".join(part.text for part in parts) + " .", int(value > 0))


def _judgement(chance: Chance) -> Part:
    a, b = _clause(chance), _clause(chance)
    kind = chance.below(10)
    if kind < 2:
        return a
    if kind < 5:
        return Part(f"{a.text} and {b.text}", a.value + b.value)
    if kind < 8:
        return Part(f"{a.text} but {b.text}", b.value)
    if kind < 9:
        return Part(f"although {a.text} , {b.text}", b.value)
    return Part(f"{b.text} even though {a.text}", b.value)


def _clause(chance: Chance) -> Part:
    sign = chance.one((-1, 1))
    word = chance.one(GOOD if sign > 0 else BAD)
    degree, strength = chance.one(DEGREES)
    negated = strength > 1 and chance.percent(40)
    words = ("the", chance.one(ASPECTS), "was", chance.one(NEGATIONS) if negated else "", degree, word)
    return Part(" ".join(filter(None, words)), -sign * strength if negated else sign * strength)


def _hearsay(chance: Chance) -> Part:
    return Part(f"{chance.one(TELLERS)} had called it {chance.one(GOOD + BAD)}", 0)


def _remark(chance: Chance) -> Part:
    return Part(chance.one(REMARKS), 0)
