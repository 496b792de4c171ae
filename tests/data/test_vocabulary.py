"""Vocabularies: text to numbers and back, the same on every machine."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cs231n_jax.data import vocabulary
from cs231n_jax.data.text_config import TextConfig, Tokens
from cs231n_jax.data.tokenization import words_13a

TEXTS = (
    "Der Mann öffnet die Tür; die Tür ist rot.",
    "It's 3.5 km -- or so, isn't it?",
    "наука 东京 é\u0301",
    "the the the",
)
text = st.text(max_size=40)


def built(tokens, texts=TEXTS, **options):
    if tokens is Tokens.BYTE_PAIRS:
        pytest.importorskip("tokenizers")
        options = {"most": 300, **options}
    return vocabulary.build(texts, TextConfig(tokens=tokens, **options))


@pytest.mark.parametrize("tokens", Tokens)
def test_what_training_has_comes_back(tokens):
    words = built(tokens)
    for sentence in TEXTS:
        expected = {Tokens.WORDS: " ".join(words_13a(sentence)), Tokens.SPACES: " ".join(sentence.split())}
        assert words.decode(words.encode(sentence)) == expected.get(tokens, sentence)
        assert all(len(vocabulary.SPECIALS) <= token < words.size for token in words.encode(sentence))


@given(text)
def test_any_text_comes_back_from_characters_that_are_known(sentence):
    words = built(Tokens.CHARACTERS, [sentence])
    assert words.decode(words.encode(sentence)) == sentence


@given(text)
def test_any_text_comes_back_from_byte_pairs(sentence):
    words = built_once()
    assert words.decode(words.encode(sentence)) == sentence
    assert all(len(vocabulary.SPECIALS) <= token < words.size for token in words.encode(sentence))


_BUILT = []


def built_once():
    if not _BUILT:
        _BUILT.append(built(Tokens.BYTE_PAIRS))
    return _BUILT[0]


@given(text)
def test_cutting_words_again_changes_nothing(sentence):
    """So a score over decoded words counts the tokens that were learned."""
    words = built(Tokens.WORDS, [sentence])
    assert words.encode(words.decode(words.encode(sentence))) == words.encode(sentence)


@given(st.lists(text, max_size=4), text)
def test_what_is_not_known_is_one_unknown_token(texts, sentence):
    words = built(Tokens.SPACES, texts)
    seen = {word for known in texts for word in known.split()}
    unknown = words.specials[vocabulary.UNKNOWN]
    specials = set(vocabulary.SPECIALS)
    assert [token != unknown for token in words.encode(sentence)] == [w in seen - specials for w in sentence.split()]
    assert words.decode([unknown, words.specials[vocabulary.END]]) == vocabulary.SHOWN


@pytest.mark.parametrize("tokens", Tokens)
def test_no_text_can_write_a_special_token(tokens):
    words = built(tokens, [*TEXTS, *vocabulary.SPECIALS * 9])
    for name in vocabulary.SPECIALS:
        forbidden = set(words.specials.values()) - {words.specials[vocabulary.UNKNOWN]}
        assert not forbidden & set(words.encode(f"a {name} b"))
    assert words.decode([words.specials[name] for name in vocabulary.SPECIALS[:3]]) == ""


def test_the_frequent_come_first_and_the_rare_are_left_out():
    texts = ["b a c b", "c b", "D"]
    assert built(Tokens.SPACES, texts).entries == (*vocabulary.SPECIALS, "b", "c", "D", "a")
    assert built(Tokens.SPACES, texts, min_count=2).entries[4:] == ("b", "c")
    assert built(Tokens.SPACES, texts, most=5).entries[4:] == ("b",)
    lowered = built(Tokens.SPACES, texts, lowercase=True)
    assert lowered.encode("d D") == [lowered.entries.index("d")] * 2


@pytest.mark.parametrize("tokens", Tokens)
@pytest.mark.parametrize("lowercase", [False, True])
def test_a_vocabulary_is_kept_as_json(tokens, lowercase):
    words = built(tokens, lowercase=lowercase)
    again = vocabulary.from_json(json.loads(json.dumps(words.to_json())))
    assert (again.size, again.specials) == (words.size, words.specials)
    assert [again.encode(sentence) for sentence in TEXTS] == [words.encode(sentence) for sentence in TEXTS]
    assert vocabulary.fingerprint(again) == vocabulary.fingerprint(words)
    assert vocabulary.fingerprint(words) != vocabulary.fingerprint(built(tokens, ["other"], lowercase=lowercase))


def test_byte_pairs_are_learned_alike_by_any_number_of_threads():
    pytest.importorskip("tokenizers")
    program = (
        "import os, sys; os.environ['RAYON_NUM_THREADS'] = sys.argv[1]\n"
        "from cs231n_jax.data import vocabulary, sentiment_grammar\n"
        "from cs231n_jax.data.text_config import TextConfig, Tokens\n"
        "texts = [sentiment_grammar.review(0, 'train', i).text for i in range(300)]\n"
        "config = TextConfig(tokens=Tokens.BYTE_PAIRS, most=400)\n"
        "print(vocabulary.fingerprint(vocabulary.build(texts, config)))"
    )
    runs = [
        subprocess.run([sys.executable, "-c", program, threads], capture_output=True, text=True) for threads in "112"
    ]
    assert all(run.returncode == 0 for run in runs), runs
    assert len({run.stdout for run in runs}) == 1


def test_a_frequent_word_is_one_byte_pair():
    words = built(Tokens.BYTE_PAIRS, ["lower lower lowest newer"] * 50, most=290)
    assert len(words.encode("lower")) == 1 < len(words.encode("wolre"))
    assert words.size <= 290


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (TextConfig(tokens=Tokens.BYTE_PAIRS), "most is 0; byte pairs need a size, 260"),
        (TextConfig(most=4), "most is 4; 4 are special already"),
    ],
)
def test_impossible_sizes_are_explained(config, message):
    with pytest.raises(ValueError, match=message):
        vocabulary.build(TEXTS, config)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_count": 0}, "min_count is 0; it must be at least 1"),
        ({"most": -1}, "most is -1"),
        ({"longest": -1}, "longest is -1"),
        ({"languages": "de"}, "languages is 'de'; write two of them as de-en"),
        ({"buckets": "12,12"}, "buckets is '12,12'; write lengths"),
        ({"buckets": "0,4"}, "buckets is '0,4'"),
        ({"buckets": "4;8"}, "buckets is '4;8'"),
    ],
)
def test_wrong_fields_are_explained(options, message):
    with pytest.raises(ValueError, match=message):
        TextConfig(**options).validate()


def test_what_is_no_vocabulary_is_explained():
    for values in ({}, {"tokens": "letters", "lowercase": False, "entries": []}, {"tokens": "words", "lowercase": 0}):
        with pytest.raises(ValueError, match="this is no vocabulary"):
            vocabulary.from_json(values)


def test_a_missing_library_is_explained(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ModuleNotFoundError, match=r"byte pairs need the library tokenizers, .*; pip install"):
        vocabulary.build(TEXTS, TextConfig(tokens=Tokens.BYTE_PAIRS, most=300))
