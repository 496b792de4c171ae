"""How the studies of pictures with texts count."""

import math

import numpy as np
import pytest

from cs231n_jax.data import DataConfig
from cs231n_jax.data.scene_language import TYPES
from cs231n_jax.data.scenes import COLOURS, SHAPES, Scene, Thing
from cs231n_jax.metrics import Pointing
from experiments.configs import scenes as recipe
from experiments.studies import pointing, vqa


def test_rows_are_means_over_seeds_and_margins_are_taken_question_by_question():
    kinds = np.array([*TYPES, "exist"])
    right = np.array([[1, 0, 1, 0, 1, 1], [1, 1, 0, 0, 1, 0]], float)
    row = vqa._row("attention", right, kinds)
    assert row["all (%)"] == pytest.approx(100 * 7 / 12)
    assert row["± seeds"] == pytest.approx(100 * (4 / 6 - 3 / 6) / 2)
    assert row["exist (%)"] == pytest.approx(75)
    assert row["count (%)"] == pytest.approx(50)
    assert row["compare (%)"] == 0
    base = np.array([[0, 0, 1, 0, 1, 0]], float)
    differences = np.array([1, 0.5, -0.5, 0, 0, 0.5])
    gain, error = vqa._margin(right, base)
    assert gain == pytest.approx(100 * differences.mean())
    assert error == pytest.approx(100 * differences.std(ddof=1) / math.sqrt(6))


def test_the_prior_is_the_most_frequent_answer_of_training():
    config = vqa._short("stacked")
    source = vqa.open_source(config.data, "eval")
    (right,) = vqa._prior(config, source)
    assert right.tolist() == [float(answer == "yes") for answer in source.texts["label"]]


def sentences():
    config = recipe.get_config("attention")
    config.data = DataConfig(name="scenes:40")
    return pointing.given(config)


def test_what_a_caption_names_is_found_in_its_words_alone():
    said = sentences()
    assert len(said) == 40
    for sentence in said:
        things, absent = pointing.things_of(sentence.words, sentence.scene)
        assert (things, absent) == (tuple(sentence.things), 0)
        for word, number in zip(sentence.words, things):
            if number >= 0:
                thing = sentence.scene.made.things[number]
                assert word in (thing.size, thing.colour, thing.shape)


def test_things_that_are_not_there_are_counted_and_name_nothing():
    scene = sentences()[0].scene
    there = {(thing.colour, thing.shape) for thing in scene.made.things}
    colour, shape = next((c, s) for c in COLOURS for s in SHAPES if (c, s) not in there)
    words = ["a", "small", colour, shape, "above", "a", scene.made.things[1].colour, scene.made.things[1].shape, colour]
    assert pointing.things_of(words, scene) == ((-1, -1, -1, -1, -1, -1, 1, 1, -1), 1)
    assert pointing.things_of([], scene) == ((), 0)


def test_attention_on_the_thing_is_a_hit_for_every_kind_of_word():
    said = sentences()
    alpha = np.zeros((40, 14, 64))
    for number, sentence in enumerate(said):
        for place, thing in enumerate(sentence.things):
            row, column = sentence.scene.made.things[thing][-2:]
            alpha[number, place, row // 8 * 8 + column // 8] = thing >= 0
    found = pointing.scored(pointing.Looked(said, alpha))
    assert set(found) == {"all", "size", "colour", "shape"}
    assert all(each.score == 1 for each in found.values())
    assert sum(found[kind].words for kind in ("size", "colour", "shape")) == found["all"].words > 100
    assert found["all"].chance == pytest.approx(4 / 64)


def test_hits_are_means_over_seeds_with_their_error():
    row = pointing._row("given", "all", [Pointing(1.0, 0.25, 10), Pointing(0.5, 0.25, 12)], [0.2, 0.3])
    assert (row["hits (%)"], row["± seeds"], row["times chance"], row["number"]) == pytest.approx((75, 25, 3, 11))
    assert row["any thing (%)"] == pytest.approx(25)
    assert pointing._row("given", "all", [Pointing(1.0, 0.25, 10)], [0.2])["± seeds"] == ""


def test_any_thing_of_the_picture_hits_the_named_one_once_in_so_many_and_where_they_share_a_place():
    said = sentences()
    found = pointing.any_thing(pointing.Looked(said, np.zeros((40, 14, 64))))
    assert set(found) == {"all", "size", "colour", "shape"}
    shares = [1 / len(each.scene.made.things) for each in said for thing in each.things if thing >= 0]
    assert found["all"] == pytest.approx(np.mean(shares))  # no two things of a scene share a place
    assert 1 / 6 < found["all"] < 1 / 3
    close = Scene((Thing("large", "red", "disk", 7, 7), Thing("large", "blue", "disk", 11, 7)), 0)
    pictured = said[0].scene._replace(made=close)
    both = pointing.Looked([pointing.Said(pictured, ("red", "the"), (0, -1))], np.zeros((1, 2, 64)))
    assert pointing.any_thing(both) == pytest.approx({"all": (1 + 4 / 6) / 2, "colour": (1 + 4 / 6) / 2})
