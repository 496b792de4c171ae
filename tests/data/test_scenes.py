"""Made-up scenes: what is drawn, said and asked agrees with what is there."""

import itertools
import re
from collections import Counter

import numpy as np
import pytest

from cs231n_jax import data
from cs231n_jax.data import scene_language, scenes
from cs231n_jax.data.made_up import Chance
from cs231n_jax.data.scenes import COLOURS, SHAPES, SIZES, Scene, Thing
from cs231n_jax.data.text_config import TextConfig

SINGULAR = {"crosses": "cross", **{f"{shape}s": shape for shape in SHAPES}}
MADE = [scenes.scene(0, "train", index) for index in range(150)]


def test_a_scene_has_three_to_six_objects_apart_and_of_different_kinds():
    for made in MADE:
        assert 3 <= len(made.things) <= 6
        assert len({(thing.colour, thing.shape) for thing in made.things}) == len(made.things)
        covered = np.zeros((scenes.SIDE, scenes.SIDE), int)
        for top, left, bottom, right in (thing.box for thing in made.things):
            assert min(top, left) >= 0
            assert max(bottom, right) <= scenes.SIDE
            covered[top:bottom, left:right] += 1
        assert covered.max() == 1


@pytest.mark.parametrize(("size", "colour", "shape"), list(itertools.product(SIZES, COLOURS, SHAPES)))
def test_an_object_has_its_colour_within_its_box_and_nowhere_else(size, colour, shape):
    thing = Thing(size, colour, shape, 20, 40)
    picture = scenes.render(Scene((thing,), 3))
    rows, columns = np.nonzero((picture == COLOURS[colour]).all(-1))
    assert (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1) == thing.box
    ground = picture[~(picture == COLOURS[colour]).all(-1)]
    assert (ground.min(), ground.max()) == (64, 111)


def test_shapes_differ_in_every_size():
    for size in SIZES:
        drawn = [scenes.render(Scene((Thing(size, "red", shape, 20, 20),), 0)).tobytes() for shape in SHAPES]
        assert len(set(drawn)) == len(SHAPES)


def test_relations_are_what_they_say():
    a, left, low = (Thing("small", "red", "disk", row, column) for row, column in ((30, 40), (32, 10), (60, 38)))
    assert scenes.related(left, a, "left of")
    assert scenes.related(a, left, "right of")
    assert scenes.related(a, low, "above")
    assert scenes.related(low, a, "below")
    held = [(x, y, r) for x, y in itertools.permutations((a, left, low), 2) for r in scenes.RELATIONS]
    assert sum(scenes.related(*each) for each in held) == 4  # the two others stand askew
    assert not scenes.related(a, a._replace(column=49), "left of")  # too near


def test_captions_are_true_and_their_words_point_at_what_they_name():
    others = {"there", "is", "a", ".", *" ".join(scenes.RELATIONS).split()}
    for index, made in enumerate(MADE):
        for text, numbers in scene_language.captions(made, Chance(index)):
            for word, number in zip(text.split(), numbers, strict=True):
                assert word in (others if number == scene_language.NOWHERE else made.things[number][:3])
            named = list(dict.fromkeys(number for number in numbers if number >= 0))
            relation = next((r for r in scenes.RELATIONS if f" {r} " in text), None)
            assert len(named) == 1 + bool(relation)
            assert not relation or scenes.related(*(made.things[number] for number in named), relation)


def answered(made: Scene, question: str) -> str:
    """The answer to a question, found from its words alone."""

    def there(words: str) -> list[Thing]:
        wanted = [SINGULAR.get(word, word) for word in words.split() if word not in ("thing", "things")]
        return [thing for thing in made.things if all(word in thing[:3] for word in wanted)]

    def yes(right: bool) -> str:
        return "yes" if right else "no"

    patterns = {
        r"is there a (.+) \?": lambda what: yes(bool(there(what))),
        r"how many (.+) are there \?": lambda what: str(len(there(what))),
        r"what (size|colour|shape) is the (.+) \?": lambda field, what: getattr(*there(what), field),
        r"are there more (\w+) than (\w+) \?": lambda a, b: yes(len(there(a)) > len(there(b))),
        r"are there fewer (\w+) than (\w+) \?": lambda a, b: yes(len(there(a)) < len(there(b))),
        r"are there as many (\w+) as (\w+) \?": lambda a, b: yes(len(there(a)) == len(there(b))),
        r"is the (\w+ \w+) (left of|right of|above|below) the (\w+ \w+) \?": (
            lambda a, r, b: yes(scenes.related(*there(a), *there(b), r))
        ),
    }
    for pattern, answer in patterns.items():
        if found := re.fullmatch(pattern, question):
            return answer(*found.groups())
    raise AssertionError(question)


def test_questions_have_the_answer_that_the_scene_gives():
    counts: dict[str, Counter] = {kind: Counter() for kind in scene_language.TYPES}
    for index, made in enumerate(MADE):
        for question in scene_language.questions(made, Chance(index)):
            assert question.answer == answered(made, question.text), question
            counts[question.type][question.answer] += 1
    for kind in ("exist", "compare", "relation"):
        assert 0.35 < counts[kind]["yes"] / counts[kind].total() < 0.65
    assert len(counts["query"]) == len(COLOURS) + len(SHAPES) + len(SIZES)


def test_scenes_are_a_function_of_their_number_and_no_split_has_anothers():
    assert scenes.scene(0, "train", 7) == MADE[7]
    assert scenes.scene(1, "train", 7) != MADE[7]
    things = [{scenes.scene(0, split, i).things for i in range(100)} for split in ("train", "validation", "test")]
    assert len(set.union(*things)) == sum(map(len, things))


def opened(name: str, part="train", **text):
    return data.open_source(data.DataConfig(name=name, text=TextConfig(**text)), part)


def test_captions_as_a_data_set_share_their_pictures():
    source = opened("scenes:20")
    batch, words = source[np.arange(len(source))], source.info.vocabularies["target"]
    assert len(source) == 100
    assert batch["image"].shape == (100, 64, 64, 3)
    assert source.images.shape[0] == 20
    np.testing.assert_array_equal(batch["image"][5:10], np.repeat(source.images[1:2], 5, axis=0))
    for row, length, text in zip(batch["target"], batch["target_length"], source.texts["target"]):
        assert words.decode(row[:length]) == text
    assert len(opened("scenes:20", "eval")) == 20
    assert opened("scenes:20", "eval").info.mean == source.info.mean


def test_long_captions_are_counted_and_kept_in_evaluation():
    source, evaluation = opened("scenes:20", longest=9), opened("scenes:20", "eval", longest=9)
    left_out = source.noticed["captions of more than 9 tokens left out"]
    assert len(source) + left_out == 100
    assert left_out > 0
    assert len(evaluation) == 20
    assert "captions of more than 9 tokens cut" in evaluation.noticed
    with pytest.raises(ValueError, match="no caption of scenes:20 has at most 2 tokens"):
        opened("scenes:20", longest=2)


def test_the_first_captions_of_each_picture_can_be_trained_on_alone():
    whole, source = opened("scenes:20"), opened("scenes:20", captions=2)
    assert source.texts["target"] == tuple(text for i, text in enumerate(whole.texts["target"]) if i % 5 < 2)
    assert source.owner.tolist() == [i // 2 for i in range(40)]
    assert source.noticed == {"captions behind the first 2 of a picture left out": 60}
    assert source.info.vocabularies == whole.info.vocabularies
    assert len(opened("scenes:20", "eval", captions=2)) == 20
    both = opened("scenes:20", longest=9, captions=2)
    assert len(both) + both.noticed["captions of more than 9 tokens left out"] == 40


def test_an_answer_that_training_has_not_stays_in_evaluation():
    source = opened("scene_questions:40")
    config, asked = data.DataConfig(name="made", text=TextConfig(answers=2)), data.pictured.Asked
    pictures = data.pictured.Pictures(source.images, source.images)
    questions = [(0, asked("what is it ?", "dog")), (1, asked("", "cat", "odd")), (1, asked("strange words", "cow"))]
    training = [asked("what is it ?", "dog"), asked("is it ?", "cat"), asked("is it ?", "cat"), asked("is it ?", "owl")]
    made = data.pictured.questions(config, "eval", "test", pictures, questions, training)
    batch = made[np.arange(3)]
    assert made.info.classes == ("cat", "dog")
    assert batch["label"].tolist() == [1, 0, data.pictured.ABSENT]
    assert batch["length"].tolist() == [4, 1, 2]
    assert made.texts["label"] == ("dog", "cat", "cow")
    unknown = made.info.vocabularies["token"].specials["<unk>"]
    assert batch["token"][1:, 0].tolist() == [unknown, unknown]
    kept = data.pictured.questions(config, "train", "train", pictures, questions, training)
    assert len(kept) == 2
    left_out = "questions whose answer is not one of the 2 of training left out"
    assert kept.noticed == {left_out: 1, "empty questions": 1}
    said = "questions whose answer is not one of the 2 of training, counted as wrong"
    assert made.noticed == {said: 1, "empty questions": 1, "unknown words in questions": 2}
    config.text.longest = 3
    cut = data.pictured.questions(config, "eval", "test", pictures, questions, training)
    assert cut[np.arange(3)]["length"].tolist() == [3, 1, 2]
    assert cut.noticed == {**made.noticed, "questions of more than 3 tokens cut": 1}
    assert source.types[:5] == tuple(scene_language.TYPES)
