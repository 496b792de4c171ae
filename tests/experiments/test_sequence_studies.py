"""How the studies of texts and clips count."""

import math

import numpy as np
import pytest

from experiments.studies import sst2, video


def test_a_sentence_turns_by_a_word_and_not_by_a_part_of_one():
    texts = ["It is Not good .", "nothing but noise", "a knot , a button , notable", "did n't work", ""]
    np.testing.assert_array_equal(sst2.turns(texts), [True, True, False, True, False])
    assert all(f"{word}," in sst2.study.__doc__ or f"{word};" in sst2.study.__doc__ for word in sst2.TURNING)


def test_a_row_is_compared_with_the_unigrams_sentence_by_sentence():
    turning = np.array([True, False, True, True, True])
    split = sst2.Split((), np.zeros(5), turning)
    right = np.array([[1, 0, 1, 0, 1], [1, 1, 0, 0, 1]], bool)
    base = np.array([[1, 0, 0, 1, 0]], bool)
    row = sst2._row("LSTM", "test", "turning", right, base, split)
    differences = np.array([0.0, 0.5, -1.0, 1.0])  # of the four that turn: shares of the seeds 1, 1/2, 0, 1
    assert row["number"] == 4
    assert row["accuracy (%)"] == pytest.approx(62.5)
    assert row["± binomial"] == pytest.approx(100 * math.sqrt(0.625 * 0.375 / 4))
    assert row["± seeds"] == pytest.approx(12.5)  # 75 % and 50 %
    assert row["beside (points)"] == pytest.approx(12.5)
    assert row["± beside"] == pytest.approx(100 * differences.std(ddof=1) / 2)
    others = sst2._row("unigrams", "test", "others", base, base, split)
    assert (others["number"], others["accuracy (%)"]) == (1, 0)
    assert "beside (points)" not in others


@pytest.mark.parametrize(
    ("gain", "error", "who"),
    [(2.1, 1.0, "the LSTM wins"), (-2.1, 1.0, "the unigrams win"), (1.9, 1.0, "neither wins")],
)
def test_who_wins_is_a_matter_of_two_errors(gain, error, who):
    assert sst2.verdict(gain, error) == who


def test_clips_are_compared_one_by_one():
    lstm, other = np.array([[1, 1, 1, 0], [1, 1, 0, 0]]), np.array([[0.1, 0.2, 0.3, 0.4]])
    row = video._row("clip", "one frame", other, lstm)
    differences = np.array([0.9, 0.8, 0.2, -0.4])
    assert row["accuracy (%)"] == pytest.approx(25)
    assert row["LSTM beyond (points)"] == pytest.approx(37.5)
    assert row["± beyond"] == pytest.approx(100 * differences.std(ddof=1) / 2)
    assert video.told(row) == "+37.5 ± 30.1"
    assert "LSTM beyond (points)" not in video._row("clip", "LSTM", lstm, lstm)
