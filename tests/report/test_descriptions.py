"""The page of described pictures: what stands in it, and that nothing in it is taken for markup."""

import re

import numpy as np
import pytest

from cs231n_jax.report.descriptions import Alternative, Described, Look, page, shade
from tests.pages import read, unpacked

RANDOM = np.random.default_rng(0)
PICTURE = RANDOM.integers(0, 256, (6, 8, 3)).astype(np.uint8)
FOUND = (
    Alternative("a <b>red</b> disk & more", -1.25, -2.5, True),
    Alternative('a "blue" one', -1.5, -3.0, True),
    Alternative("a disk without end", -1.0, -4.0, False),
)
LOOKS = [Look(word, RANDOM.uniform(0, 1, (2, 3))) for word in ("a", "<b>red</b>", "disk")]
SEEN = Described("image <7>", PICTURE, FOUND, ("somebody's <script>alert(1)</script> words", ""), LOOKS)
BLIND = Described("image 8", PICTURE[..., :1], FOUND[:1])


def test_everything_told_is_on_the_page_as_text():
    title, (seen, blind) = read(page("Captions of <a>", "of <everything>", [SEEN, BLIND]))
    assert title == "Captions of <a>"
    assert (seen.name, blind.name) == ("image <7>", "image 8")
    assert seen.caption == blind.caption == FOUND[0].text
    assert seen.alternatives == [
        ("-1.250", "-2.500", FOUND[0].text),
        ("-1.500", "-3.000", FOUND[1].text),
        ("-1.000", "-4.000", f"{FOUND[2].text} … (cut)"),
    ]
    assert seen.references == [SEEN.references[0], "(nothing)"]
    assert seen.words == ["a", "<b>red</b>", "disk"]
    assert (blind.references, blind.words, blind.maps) == ([], [], [])


def test_nothing_told_is_markup_and_nothing_is_elsewhere():
    text = page("<i>", "<u>", [SEEN])
    assert not re.search(r"<(?:script|b|u)\b|https?:|//", re.sub(r"base64,[\w+/=]+", "", text))
    assert set(re.findall(r'(?:src="|url\()(\w+:\w+/\w+)', text)) == {"data:image/png"}
    assert 'lang="en"' in text


@pytest.mark.parametrize("channels", [0, 1, 3, 4])
def test_pictures_are_kept_to_the_bit(channels):
    picture = RANDOM.integers(0, 256, (5, 4, channels) if channels else (5, 4)).astype(np.uint8)
    _, (shown,) = read(page("", "", [Described("", picture, FOUND)]))
    np.testing.assert_array_equal(unpacked(shown.picture), picture[..., 0] if channels == 1 else picture)


def test_a_map_is_a_shade_over_the_picture_clear_where_the_word_looked_most():
    text = page("", "", [SEEN])
    _, (shown,) = read(text)
    assert text.count(shown.picture) == 2, "once by itself, and once below all maps"
    assert len(shown.maps) == 3
    for look, (source, told) in zip(LOOKS, shown.maps):
        grey, opacity = np.moveaxis(unpacked(source), -1, 0)
        assert not grey.any()
        wanted = 255 * 0.7 * (1 - look.weights / look.weights.max())
        np.testing.assert_allclose(opacity, wanted, atol=0.5)
        row, column = np.argwhere(look.weights == look.weights.max())[0] + 1
        assert told.startswith(f"“{look.word}” looked most, ")
        assert told.endswith(f"at row {row} of 2, column {column} of 3")


def test_weights_that_are_all_the_same_leave_the_picture_clear():
    assert not shade(np.full((2, 2), 0.25)).any()


def test_an_empty_caption_is_said_to_be_one():
    _, (shown,) = read(page("", "", [Described("", PICTURE, (Alternative("", 0.0, 0.0, True),))]))
    assert shown.caption == "(nothing)"
