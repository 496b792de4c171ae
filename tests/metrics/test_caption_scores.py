"""CIDEr-D, ROUGE-L and the accuracy of answers against stored values of their reference code, and by hand."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cs231n_jax import metrics
from cs231n_jax.metrics.rouge_score import longest_common_subsequence
from cs231n_jax.metrics.vqa_score import normalized
from tests.golden import make_caption_metrics as golden

STORED = json.loads(golden.FILE.read_text())
CLOSE = {"rel": 1e-9, "abs": 1e-9}


@pytest.mark.parametrize("name", golden.corpora())
def test_scores_are_those_of_the_reference_code(name):
    hypotheses, references = golden.corpora()[name]
    cider = metrics.cider(hypotheses, references, tokenize="none")
    rouge = metrics.rouge(hypotheses, references, tokenize="none")
    assert cider.each == pytest.approx(STORED[name]["cider"], **CLOSE)
    assert rouge.each == pytest.approx(STORED[name]["rouge"], **CLOSE)
    assert float(cider) == pytest.approx(sum(cider.each) / len(cider.each))
    assert float(rouge) == pytest.approx(sum(rouge.each) / len(rouge.each))


def test_cider_of_two_images_by_hand():
    """Of two images every n-gram of one has idf ln 2, so the vectors are counts and a copy scores 10 in all orders."""
    references = [["a b c d"], ["e f g h"]]
    assert metrics.cider(["a b c d", "x"], references, tokenize="none").each == pytest.approx((10.0, 0.0))
    half = metrics.cider(["a b", "x"], references, tokenize="none").each[0]
    similarity = (2 / math.sqrt(2 * 4) + 1 / math.sqrt(1 * 3)) / 4
    assert half == pytest.approx(10 * similarity * math.exp(-(2**2) / 72))


def test_signatures_name_all_that_changes_a_score():
    given = (["A b.", "c"], [["a b."], ["c", "d"]])
    assert metrics.cider(*given, lowercase=True).signature == "CIDEr-D|sigma:6|images:2|case:lc|tok:13a"
    assert metrics.rouge(*given, tokenize="char").signature == "ROUGE-L|beta:1.2|case:mixed|tok:char"
    assert metrics.rouge(*given, lowercase=True).each == pytest.approx((100.0, 100.0))


def test_a_sentence_without_tokens_scores_nothing():
    for score in (metrics.cider, metrics.rouge):
        assert score(["", "a b"], [["a b"], [""]]).each == (0.0, 0.0)


@given(st.text("ab", max_size=7), st.text("ab", max_size=7))
def test_the_longest_common_subsequence_is_the_longest(a, b):
    def subsequences(text):
        found = {""}
        for letter in text:
            found |= {some + letter for some in found}
        return found

    expected = max(len(some) for some in subsequences(a) & subsequences(b))
    assert longest_common_subsequence(a, b) == expected


def test_answers_are_normalized_as_in_the_reference_code():
    for answer, stored in zip(golden.ANSWERS, STORED["normalized"], strict=True):
        assert normalized(answer) == stored.replace("'", ""), answer


def test_ten_people_agree_as_in_the_reference_code():
    answers, people = zip(*golden.questions())
    found = metrics.vqa(answers, people, types=["a", "b", "b"])
    expected = STORED["vqa"]
    assert float(found) == pytest.approx(sum(expected) / 3)
    assert found.by_type == pytest.approx({"a": expected[0], "b": (expected[1] + expected[2]) / 2})
    assert found.counts == {"a": 1, "b": 2}


def test_one_answer_a_question_is_right_or_wrong_and_none_is_left_out():
    found = metrics.vqa(["Two", "a cat", ""], ["2", "dog", "zebra"], known=["2", "dog", "cat"])
    assert (found.score, found.unknown) == (pytest.approx(1 / 3), 1)
    assert found.counts == {"all": 3}
    assert found.signature == "VQA accuracy|answers:1|normalized"
    assert metrics.vqa(["x"], [["x", "y"]]).score == 0.5


@pytest.mark.parametrize(
    ("answers", "people", "types"), [([], [], ()), (["a"], [], ()), (["a"], ["a"], ("x", "y")), (["a"], [[]], ())]
)
def test_numbers_that_do_not_fit_are_refused(answers, people, types):
    with pytest.raises(ValueError, match=r"question"):
        metrics.vqa(answers, people, types)
