"""BLEU and chrF against sacrebleu, stored and live, and against the formula in exact fractions."""

import json
import random
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cs231n_jax import metrics
from cs231n_jax.data import tokenization
from cs231n_jax.metrics import bleu_score
from tests.golden import make_text_metrics as golden
from tests.references import bleu as reference

STORED = json.loads(golden.FILE.read_text())
CLOSE = {"rel": 1e-9, "abs": 1e-9}
words = st.text("abc", max_size=9).map(list)
segments = st.tuples(words, st.lists(words, min_size=1, max_size=3))


@pytest.mark.parametrize("name", golden.corpora())
def test_bleu_equals_sacrebleus_stored_scores(name):
    hypotheses, references = golden.corpora()[name]
    for case, stored in zip(golden.BLEU_CASES, STORED[name]["bleu"], strict=True):
        assert metrics.bleu(hypotheses, references, **case).scores == pytest.approx(stored, **CLOSE)


def test_the_stored_scores_are_those_of_the_installed_sacrebleu():
    pytest.importorskip("sacrebleu")
    made = golden.make()
    for name, scores in STORED.items():
        for metric, values in scores.items():
            np.testing.assert_allclose(made[name][metric], values, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", golden.corpora())
def test_chrf_equals_the_stored_scores(name):
    pytest.importorskip("sacrebleu")
    hypotheses, references = golden.corpora()[name]
    ours = [metrics.chrf(hypotheses, references, **case).score for case in golden.CHRF_CASES]
    assert ours == pytest.approx(STORED[name]["chrf"], **CLOSE)


@given(st.lists(segments, min_size=1, max_size=4))
def test_bleu_is_the_formula(corpus):
    hypotheses, references = map(list, zip(*corpus))
    joined = [" ".join(tokens) for tokens in hypotheses], [[" ".join(r) for r in refs] for refs in references]
    ours = metrics.bleu(*joined, tokenize="none", smoothing="none")
    expected = [reference.bleu(hypotheses, references, order) for order in (1, 2, 3, 4)]
    assert ours.scores == pytest.approx(expected, **CLOSE)
    assert float(ours) == ours.score == ours.scores[-1]


@given(st.lists(segments, min_size=2, max_size=6), st.integers(1, 5))
def test_counts_of_parts_add_up(corpus, cut):
    found = [bleu_score.counts(*segment) for segment in corpus]
    parts = [sum(part[1:], part[0]) for part in (found[:cut], found[cut:]) if part]
    assert sum(parts[1:], parts[0]) == sum(found[1:], found[0])


def test_the_papers_example_of_clipping():
    """Papineni et al. 2002, example 2 and section 2.1.1: 2/7 of "the" seven times."""
    references = [["the cat is on the mat", "there is a cat on the mat"]]
    found = metrics.bleu(["the the the the the the the"], references, smoothing="none")
    assert found.precisions[0] == pytest.approx(200 / 7)
    first = "it is a guide to action which ensures that the military always obeys the commands of the party"
    second = "it is to insure the troops forever hearing the activity guidebook that party direct"
    several = [
        "it is a guide to action that ensures that the military will forever heed party commands",
        "it is the guiding principle which guarantees the military forces always being under the command of the party",
        "it is the practical guide for the army always to heed the directions of the party",
    ]
    unigrams, bigrams = zip(*(metrics.bleu([text], [several]).precisions[:2] for text in (first, second)))
    assert unigrams == pytest.approx((100 * 17 / 18, 100 * 8 / 14))
    assert bigrams == pytest.approx((100 * 10 / 17, 100 * 1 / 13))


def test_a_score_says_what_it_is():
    found = metrics.bleu(["a b"], [["a b", "b"]], lowercase=True, tokenize="char", smoothing="floor", max_order=2)
    assert found.signature == "BLEU-2|refs:2|case:lc|tok:char|smooth:floor[0.1]"
    assert metrics.bleu(["a"], ["b"]).signature == "BLEU-4|refs:1|case:mixed|tok:13a|smooth:exp"
    assert metrics.bleu(["a", "b"], ["b", ["a", "b"]]).signature.split("|")[1] == "refs:var"
    pytest.importorskip("sacrebleu")
    assert metrics.chrf(["a"], ["b"]).signature.startswith("chrF2|nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|")
    assert metrics.chrf(["a"], ["b"], word_order=2).signature.startswith("chrF++2|")


@pytest.mark.parametrize("name", tokenization.TOKENIZERS)
def test_tokens_are_those_of_sacrebleu(name):
    bleu = pytest.importorskip("sacrebleu.metrics.bleu")
    theirs, ours = bleu._get_tokenizer(name)(), tokenization.tokenizer(name)
    chance = random.Random(0)
    symbols = [chr(code) for code in range(32, 127)] + ["\n", "-\n", "&amp;", "&lt;", "<skipped>", "ß", "京", "\u3000"]
    for _ in range(500):
        line = "".join(chance.choices([*symbols, *"0123456789.,- "], k=12))
        assert ours(line) == theirs(line.rstrip()).split()


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((["a"], []), {}, "there are 1 hypotheses and 0 entries of references"),
        (([], []), {}, "there are 0 hypotheses"),
        (("a", ["a"]), {}, "must be lists with an entry a sentence, got one string"),
        ((["a", "b"], ["a", []]), {}, "hypothesis 1 has no reference"),
        ((["a"], ["a"]), {"tokenize": "14a"}, "no tokenization '14a'; choose from 13a, char, none"),
        ((["a"], ["a"]), {"smoothing": "add"}, "no smoothing 'add'; choose from none, floor, add-k, exp"),
        ((["a"], ["a"]), {"smoothing": "floor", "smoothing_value": -1.0}, "smoothing_value is -1.0"),
        ((["a"], ["a"]), {"max_order": 0}, "an order from 1 on, got 1 and 0"),
    ],
)
def test_what_cannot_be_scored_is_explained(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        metrics.bleu(*arguments, **options)


def test_chrf_without_its_library_is_explained(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics.chrf", None)
    with pytest.raises(ModuleNotFoundError, match=r"chrF needs sacrebleu, .*; pip install sacrebleu"):
        metrics.chrf(["a"], ["a"])
