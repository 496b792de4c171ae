"""What can be said and asked about a scene: captions whose words point at objects, questions with one right answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from cs231n_jax.data.made_up import Chance
from cs231n_jax.data.scenes import COLOURS, RELATIONS, SHAPES, SIZES, Scene, Thing, related

CAPTIONS = 5  # a scene
NOWHERE = -1  # of a word that names no object


class Caption(NamedTuple):
    """A sentence, and for each of its words the number of the object that it names, or −1."""

    text: str
    things: tuple[int, ...]


class Question(NamedTuple):
    """A question, its answer, and its type: a key of `TYPES`."""

    text: str
    answer: str
    type: str


def captions(made: Scene, chance: Chance) -> tuple[Caption, ...]:
    """Five true sentences about a scene."""
    return tuple(_caption(made, chance) for _ in range(CAPTIONS))


def questions(made: Scene, chance: Chance) -> tuple[Question, ...]:
    """One question of each type."""
    return tuple(Question(*make(made.things, chance), kind) for kind, make in TYPES.items())


def _caption(made: Scene, chance: Chance) -> Caption:
    """One object, or two and how they stand to each other."""
    first = chance.below(len(made.things))
    start = [("there", NOWHERE), ("is", NOWHERE)] if chance.percent(50) else []
    words = [*start, *_named(made, first, chance)]
    beside = [
        (second, relation)
        for second, other in enumerate(made.things)
        for relation in RELATIONS
        if second != first and related(made.things[first], other, relation)
    ]
    if beside and chance.percent(75):
        second, relation = chance.one(beside)
        words += [(word, NOWHERE) for word in relation.split()]
        words += _named(made, second, chance)
    words.append((".", NOWHERE))
    texts, things = zip(*words)
    return Caption(" ".join(texts), things)


def _named(made: Scene, number: int, chance: Chance) -> list[tuple[str, int]]:
    thing = made.things[number]
    size = [(thing.size, number)] if chance.percent(40) else []
    return [("a", NOWHERE), *size, (thing.colour, number), (thing.shape, number)]


def _exist(things: tuple[Thing, ...], chance: Chance) -> tuple[str, str]:
    """Half of the objects asked for are there; the others share colour or shape with one that is."""
    thing = chance.one(things)
    there = {(other.colour, other.shape) for other in things}
    colour, shape = thing.colour, thing.shape
    if chance.percent(50):
        absent = [(colour, other) for other in SHAPES] + [(other, shape) for other in COLOURS]
        colour, shape = chance.one([pair for pair in absent if pair not in there] or [(colour, shape)])
    return f"is there a {colour} {shape} ?", _yes((colour, shape) in there)


def _count(things: tuple[Thing, ...], chance: Chance) -> tuple[str, str]:
    if chance.percent(50):
        shape = chance.one(SHAPES)
        return f"how many {_several(shape)} are there ?", str(sum(thing.shape == shape for thing in things))
    size = chance.one(tuple(SIZES))
    return f"how many {size} things are there ?", str(sum(thing.size == size for thing in things))


def _query(things: tuple[Thing, ...], chance: Chance) -> tuple[str, str]:
    """Colour, shape or size of an object that the rest of its description tells from the others."""
    asked = [(f"what size is the {thing.colour} {thing.shape} ?", thing.size) for thing in things[:1]]
    for thing in things:
        if sum(other.shape == thing.shape for other in things) == 1:
            asked.append((f"what colour is the {thing.shape} ?", thing.colour))
        if sum(other.colour == thing.colour for other in things) == 1:
            asked.append((f"what shape is the {thing.colour} thing ?", thing.shape))
    return chance.one(asked)


def _compare(things: tuple[Thing, ...], chance: Chance) -> tuple[str, str]:
    a, b = chance.one(SHAPES), chance.one(SHAPES[1:])
    b = SHAPES[0] if a == b else b
    counts = [sum(thing.shape == shape for thing in things) for shape in (a, b)]
    if counts[0] == counts[1]:
        return f"are there as many {_several(a)} as {_several(b)} ?", _yes(True)
    word = chance.one(("more", "fewer", "as many"))
    right = {"more": counts[0] > counts[1], "fewer": counts[0] < counts[1], "as many": False}[word]
    return f"are there {word} {_several(a)} {'as' if word == 'as many' else 'than'} {_several(b)} ?", _yes(right)


def _relation(things: tuple[Thing, ...], chance: Chance) -> tuple[str, str]:
    """How two objects stand to each other: as asked in half of the cases, and the other way round in the others."""
    first = chance.one(things)
    second = chance.one([thing for thing in things if thing != first])
    held = [relation for relation in RELATIONS if related(first, second, relation)]
    relation = chance.one(held) if held else chance.one(tuple(RELATIONS))
    if held and chance.percent(50):
        first, second = second, first
    text = f"is the {first.colour} {first.shape} {relation} the {second.colour} {second.shape} ?"
    return text, _yes(related(first, second, relation))


def _several(shape: str) -> str:
    return "crosses" if shape == "cross" else f"{shape}s"


def _yes(right: bool) -> str:
    return "yes" if right else "no"


TYPES: dict[str, Callable[[tuple[Thing, ...], Chance], tuple[str, str]]] = {
    "exist": _exist,
    "count": _count,
    "query": _query,
    "compare": _compare,
    "relation": _relation,
}
