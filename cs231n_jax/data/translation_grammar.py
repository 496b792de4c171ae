"""Made-up translations between two small languages that put things in another order and agree in other ways.

The source is a kind of English. In the target

    a sentence   subject – place – object – (na) verb – time          ("na": not)
    a noun       relative clause – noun – adjectives – determiner      ("ke" ends the relative clause)
    a place      noun – postposition

Adjectives and determiners agree with the noun in gender and number; verbs agree with their subject in number in every
tense, where the source shows number in the present tense alone. Each source sentence has one translation.
"""

from __future__ import annotations

from typing import NamedTuple

from cs231n_jax.data.made_up import Chance, draw

EXAMPLES = 8000


class Pair(NamedTuple):
    """A sentence and its translation."""

    source: str
    target: str


class Noun(NamedTuple):
    """One, several, the stem in the target and the vowel of its gender."""

    singular: str
    plural: str
    stem: str
    gender: str


class Verb(NamedTuple):
    """Third person, other persons, past, and the stem in the target."""

    singular: str
    plural: str
    past: str
    stem: str


class Phrase(NamedTuple):
    """A noun with all that belongs to it, in both languages."""

    source: str
    target: str
    plural: bool


def _rows(kind, text: str) -> tuple:
    return tuple(kind(*row.split()) for row in text.strip().split("\n"))


NOUNS: tuple[Noun, ...] = _rows(
    Noun,
    """dog dogs kan o
cat cats fel a
bird birds avi o
horse horses ek a
child children pu o
woman women gin a
man men vir o
girl girls nen a
teacher teachers magi o
farmer farmers agr a
house houses dom a
garden gardens hort o
tree trees arb o
road roads vi a
boat boats nav a
letter letters skrib o
apple apples pom a
picture pictures bild o""",
)
VERBS: tuple[Verb, ...] = _rows(
    Verb,
    """sees see saw vid
hears hear heard ud
finds find found trov
follows follow followed seg
chases chase chased kac
loves love loved am
helps help helped jut
carries carry carried port
watches watch watched gard
draws draw drew des
knows know knew kon
forgets forget forgot oblit""",
)
ADJECTIVES = {  # and their stems in the target
    "red": "rub",
    "small": "pik",
    "old": "vet",
    "young": "jun",
    "white": "alb",
    "quick": "rap",
    "sad": "trist",
    "kind": "bon",
}
DETERMINERS = {  # by number: (source, stem in the target)
    False: (("the", "il"), ("a", "un"), ("this", "kest"), ("every", "omn")),
    True: (("the", "il"), ("two", "du"), ("these", "kest"), ("some", "kelk")),
}
PLACES = (("near", "ap"), ("behind", "dor"), ("under", "sub"), ("in front of", "davan"), ("beside", "lat"))
TIMES = {  # by tense
    "present": (("today", "odi"), ("every day", "semper")),
    "past": (("yesterday", "jer"), ("last year", "an pasat")),
    "future": (("tomorrow", "deman"), ("next week", "septan vent")),
}
ENDINGS = {"present": ("at", "ant"), "past": ("avit", "avan"), "future": ("ur", "urun")}  # of verbs: one, several


def pair(seed: int, split: str, index: int) -> Pair:
    """Example `index` of a split, a function of the arguments alone; no source sentence is in two splits."""
    return draw(_pair, lambda example: example.source, seed, split, index)


def _pair(chance: Chance) -> Pair:
    tense = chance.one(tuple(TIMES))
    subject, thing = _phrase(chance, relative=20), _phrase(chance, relative=30)
    verb, verb_there = _verb(chance, tense, subject.plural, negated=chance.percent(25))
    source, target = [subject.source, verb, thing.source], [subject.target, "", thing.target, verb_there]
    if chance.percent(40):
        word, there = chance.one(PLACES)
        where = _phrase(chance, relative=0)
        source.append(f"{word} {where.source}")
        target[1] = f"{where.target} {there}"
    if chance.percent(50):
        word, there = chance.one(TIMES[tense])
        source.insert(0, f"{word} ,")
        target.append(there)
    return Pair(*(" ".join(filter(None, words)) + " ." for words in (source, target)))


def _phrase(chance: Chance, relative: int) -> Phrase:
    """A noun; in `relative` of a hundred cases one that does or did something to another."""
    plural, noun = chance.percent(45), chance.one(NOUNS)
    determiner, stem = chance.one(DETERMINERS[plural])
    adjectives = sorted({chance.one(tuple(ADJECTIVES)) for _ in range(chance.one((0, 0, 1, 1, 2)))})
    ending = noun.gender + "s" * plural
    source = [determiner, *adjectives, noun.plural if plural else noun.singular]
    target = [noun.stem + ending, *(ADJECTIVES[word] + ending for word in adjectives), stem + ending]
    if chance.percent(relative):
        verb, verb_there = _verb(chance, chance.one(("present", "past")), plural, negated=False)
        thing = _phrase(chance, relative=0)
        source += ["that", verb, thing.source]
        target = [thing.target, verb_there, "ke", *target]
    return Phrase(" ".join(source), " ".join(target), plural)


def _verb(chance: Chance, tense: str, plural: bool, negated: bool) -> tuple[str, str]:
    verb = chance.one(VERBS)
    there = verb.stem + ENDINGS[tense][plural]
    if negated:
        helping = {"present": "do" if plural else "does", "past": "did", "future": "will"}[tense]
        return f"{helping} not {verb.plural}", f"na {there}"
    present = verb.plural if plural else verb.singular
    return {"present": present, "past": verb.past, "future": f"will {verb.plural}"}[tense], there
