"""Where attention points, against a count of pixels."""

import numpy as np
import pytest

from cs231n_jax.metrics import pointing
from cs231n_jax.metrics.pointing_score import covered

GRID, IMAGE = (4, 3), (16, 15)


def by_pixels(box):
    """Which of the cells have a pixel of the box."""
    picture = np.zeros(IMAGE, bool)
    picture[box[0] : box[2], box[1] : box[3]] = True
    return np.array([picture[4 * r : 4 * r + 4, 5 * c : 5 * c + 5].any() for r in range(4) for c in range(3)])


def boxes(count):
    random = np.random.default_rng(0)
    first = np.stack([random.integers(0, side - 1, count) for side in IMAGE], 1)
    last = np.stack([random.integers(start + 1, side + 1) for start, side in zip(first.T, IMAGE)], 1)
    return np.concatenate([first, last], 1)


def test_the_cells_of_a_box_are_those_with_its_pixels():
    given = boxes(40)
    np.testing.assert_array_equal(covered(given, GRID, IMAGE), [by_pixels(box) for box in given])


def test_hits_and_chance_are_counted_word_by_word():
    given = boxes(30)
    weights = np.random.default_rng(1).random((30, 12))
    found = pointing(weights, given, GRID, IMAGE)
    inside = [by_pixels(box) for box in given]
    assert found.words == 30
    assert float(found) == pytest.approx(np.mean([cells[w.argmax()] for cells, w in zip(inside, weights)]))
    assert found.chance == pytest.approx(np.mean([cells.sum() / 12 for cells in inside]))
    assert 0 < found.score < 1
    best = np.array(inside, float) + 0.01 * weights
    assert pointing(best, given, GRID, IMAGE).score == 1


def test_guessing_is_right_by_chance():
    given, weights = boxes(40).repeat(100, 0), np.random.default_rng(2).random((4000, 12))
    found = pointing(weights, given, GRID, IMAGE)
    assert found.score == pytest.approx(found.chance, abs=0.03)  # four standard errors


@pytest.mark.parametrize(
    ("weights", "given"), [((3, 11), (3, 4)), ((3, 12), (2, 4)), ((0, 12), (0, 4)), ((3, 12), (3, 3))]
)
def test_what_does_not_belong_together_is_named(weights, given):
    with pytest.raises(ValueError, match="do not belong to words over 4×3 cells"):
        pointing(np.zeros(weights), np.zeros(given), GRID, IMAGE)
