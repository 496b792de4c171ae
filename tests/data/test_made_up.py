"""Generators of reviews, translations and clips: their labels, their splits, and what a simple model cannot see."""

import itertools
from collections import Counter

import numpy as np
import pytest

from cs231n_jax.data import moving_shapes, sentiment_grammar, translation_grammar
from cs231n_jax.data.base import DataConfig
from cs231n_jax.data.made_up import Chance, size
from cs231n_jax.metrics import bleu
from tests.references import sentiment, translation

SPLITS = ("train", "validation", "test")


def some(make, split, count=400, seed=0):
    return [make(seed, split, index) for index in range(count)]


def test_choices_are_even_and_depend_on_the_key_alone():
    drawn = [Chance("a", 1).below(7) for _ in range(3)]
    assert len(set(drawn)) == 1
    stream = Chance("a", 2)
    counts = np.bincount([stream.below(7) for _ in range(7000)])
    assert np.all(np.abs(counts - 1000) < 5 * np.sqrt(7000 / 7 * 6 / 7))
    assert [Chance("a", 3).below(1000) for _ in range(1)] != [Chance("a", 4).below(1000) for _ in range(1)]


@pytest.mark.parametrize(
    ("make", "content"),
    [
        (sentiment_grammar.review, lambda example: example.text),
        (translation_grammar.pair, lambda example: example.source),
        (moving_shapes.clip, lambda example: example.video[0].tobytes()),
    ],
)
def test_splits_share_nothing_and_examples_depend_on_seed_and_index(make, content):
    contents = {split: {content(example) for example in some(make, split)} for split in SPLITS}
    contents["other seed"] = {content(example) for example in some(make, "train", seed=1)}
    for split in SPLITS[1:]:
        assert not contents[split] & (contents["train"] | contents["other seed"])
    assert not contents["validation"] & contents["test"]
    assert contents["train"] != contents["other seed"]
    assert content(make(0, "train", 7)) == content(some(make, "train", 8)[7])


def test_reviews_mean_what_their_labels_say():
    good, bad = set(sentiment_grammar.GOOD), set(sentiment_grammar.BAD)
    for review in some(sentiment_grammar.review, "train", 1000):
        value = sentiment.value(review.text, good, bad)
        assert value != 0
        assert (value > 0) == review.label, review
    labels = [review.label for review in some(sentiment_grammar.review, "train", 1000)]
    assert abs(np.mean(labels) - 0.5) < 5 * 0.5 / np.sqrt(1000)


def test_a_bag_of_words_cannot_tell_the_label():
    """Printed: the accuracy of a logistic regression on word counts, with which recurrent models are compared."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    train = some(sentiment_grammar.review, "train", 3000)
    test = some(sentiment_grammar.review, "test", 1000)
    counter = CountVectorizer(token_pattern=r"\S+")
    words, model = counter.fit_transform([review.text for review in train]), LogisticRegression(max_iter=1000)
    model.fit(words, [review.label for review in train])
    accuracy = model.score(counter.transform([review.text for review in test]), [review.label for review in test])
    print(f"bag of words, logistic regression on {len(train)} reviews: {accuracy:.3f} of {len(test)}")
    assert 0.5 < accuracy < 0.65


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("the dog sees two cats .", "kano ilo felas duas vidat ."),
        ("the dogs see the cat .", "kanos ilos fela ila vidant ."),
        ("yesterday , the dogs saw a white cat .", "kanos ilos fela alba una vidavan jer ."),
        ("a girl does not know these kind old men .", "nena una viros bonos vetos kestos na konat ."),
        (
            "next week , some birds that heard the child will find the tree in front of this house .",
            "puo ilo udavan ke avios kelkos doma kesta davan arbo ilo trovurun septan vent .",
        ),
    ],
)
def test_translations_by_hand(source, target):
    """Worked out from the rules in the file's docstring and the table of words."""
    assert translation.translate(source, translation_grammar) == target


def test_every_source_has_one_translation():
    pairs = [pair for split in SPLITS for pair in some(translation_grammar.pair, split, 1000)]
    translated = [translation.translate(pair.source, translation_grammar) for pair in pairs]
    assert translated == [pair.target for pair in pairs]
    assert bleu(translated, [pair.target for pair in pairs]).score == pytest.approx(100)
    for side, least in (("source", 100), ("target", 150)):
        assert len({word for pair in pairs for word in getattr(pair, side).split()}) > least


@pytest.mark.parametrize("motion", range(1, 8))
def test_a_single_frame_says_nothing_of_the_motion(motion):
    """Over all places to begin at, a frame shows the same pictures equally often, whatever the motion."""

    def pictures(motion):
        script = moving_shapes.Script("cross", 3, 200, 0, 0, 5, (motion,) * moving_shapes.FRAMES)
        places = itertools.product(range(0, moving_shapes.SIDE, 2), range(0, moving_shapes.SIDE, 2))
        clips = (moving_shapes.render(script._replace(row=row, column=column)) for row, column in places)
        return Counter(clip.video[6].tobytes() for clip in clips)

    assert pictures(motion) == pictures(0)


def test_shapes_move_as_their_labels_say():
    for clip in some(moving_shapes.clip, "train", 60):
        assert clip.video.shape == (10, 32, 32, 1)
        assert clip.video.dtype == np.uint8
        assert clip.label == clip.frame_label[0]
        shape = clip.video[..., 0] >= 128
        for before, after, motion in zip(shape, shape[1:], clip.frame_label[1:]):
            direction, speed = moving_shapes.CLASSES[motion].split()
            axis, sign = {"right": (1, 1), "left": (1, -1), "down": (0, 1), "up": (0, -1)}[direction]
            np.testing.assert_array_equal(np.roll(before, sign * int(speed), axis), after)


def test_half_of_the_clips_turn():
    clips = some(moving_shapes.clip, "train", 300)
    turned = np.mean([len(set(clip.frame_label.tolist())) > 1 for clip in clips])
    assert abs(turned - 0.5) < 5 * 0.5 / np.sqrt(300)
    assert np.all(np.bincount([clip.label for clip in clips], minlength=8) > 15)


def test_the_name_says_how_many_and_which():
    assert size(DataConfig(name="moving_shapes"), 2000, "test") == (400, 0)
    assert size(DataConfig(name="moving_shapes:50"), 2000, "train") == (50, 0)
    assert size(DataConfig(name="moving_shapes:50:7"), 2000, "validation") == (5, 7)
    for name in ("moving_shapes:0", "moving_shapes:x", "moving_shapes:1:2:3"):
        with pytest.raises(ValueError, match="write moving_shapes, moving_shapes:EXAMPLES or"):
            size(DataConfig(name=name), 2000, "train")
