"""Sources of sentences and clips: made-up data, a user's files, and what their arrays hold."""

import numpy as np
import pytest

from cs231n_jax import data
from cs231n_jax.data import lines, vocabulary
from cs231n_jax.data.text_config import TextConfig, Tokens


def opened(name, part="train", text=None, **options):
    return data.open_source(data.DataConfig(name=name, text=text or TextConfig(), **options), part)


def everything(source):
    return source[np.arange(len(source))]


@pytest.mark.parametrize("text", [TextConfig(), TextConfig(tokens=Tokens.CHARACTERS, longest=100)])
def test_reviews_are_tokens_with_a_length_and_a_label(text):
    train, evaluation = opened("sentiment_grammar:60", text=text), opened("sentiment_grammar:60", "eval", text)
    assert (len(train), len(evaluation), evaluation.info.split) == (60, 12, "test")
    assert train.info.classes == evaluation.info.classes == ("negative", "positive")
    assert train.info.vocabularies["token"].to_json() == evaluation.info.vocabularies["token"].to_json()
    for source in (train, evaluation):
        batch, words = everything(source), source.info.vocabularies["token"]
        assert {name: array.dtype for name, array in batch.items()} == dict.fromkeys(batch, np.int32)
        for row, length, sentence in zip(batch["token"], batch["length"], source.texts["token"]):
            assert not row[length:].any()
            assert words.encode(sentence)[-source.info.shapes["token"][0] :] == row[:length].tolist()


def test_pairs_have_marks_and_their_texts():
    for part in ("train", "eval"):
        source = opened("translation_grammar:60", part)
        batch, words = everything(source), source.info.vocabularies
        assert batch["source"].shape == batch["target"].shape
        for i in range(len(source)):
            ids = {name: batch[name][i, : batch[f"{name}_length"][i]].tolist() for name in words}
            end = words["target"].specials[vocabulary.END]
            assert ids["source"] == [*words["source"].encode(source.texts["source"][i]), end]
            begin = words["target"].specials[vocabulary.BEGIN]
            assert ids["target"] == [begin, *words["target"].encode(source.texts["target"][i]), end]
            if part == "train":
                assert words["target"].decode(ids["target"]) == source.texts["target"][i]
        assert source.info.num_classes == words["target"].size


def test_the_default_sizes():
    assert [len(opened("moving_shapes:20", part)) for part in ("train", "eval")] == [20, 4]
    assert len(opened("moving_shapes:20", "eval", eval_split="validation")) == 2


def test_clips_have_pixels_and_labels_a_frame():
    train, evaluation = opened("moving_shapes:30"), opened("moving_shapes:30", "eval")
    batch = everything(train)
    assert batch["video"].shape == (30, 10, 32, 32, 1)
    assert batch["frame_label"].shape == (30, 10)
    np.testing.assert_array_equal(batch["label"], batch["frame_label"][:, 0])
    np.testing.assert_allclose(evaluation.info.mean, batch["video"].mean() / 255)
    np.testing.assert_allclose(evaluation.info.std, batch["video"].std() / 255)
    assert data.DataConfig().statistics(train.info) == (train.info.mean, train.info.std)


def test_evaluation_with_buckets_has_the_short_first_with_their_texts():
    text = TextConfig(buckets="12,20,40")
    source = opened("translation_grammar:200", "eval", text)
    batch = everything(source)
    longest = np.maximum(batch["source_length"], batch["target_length"])
    assert np.all(np.diff(longest) >= 0)
    words = source.info.vocabularies["source"]
    for row, length, sentence in zip(batch["source"], batch["source_length"], source.texts["source"]):
        assert row[: length - 1].tolist() == words.encode(sentence)
    plain = opened("translation_grammar:200", "eval")
    assert sorted(plain.texts["source"]) == sorted(source.texts["source"])
    assert plain.info.fingerprint != source.info.fingerprint


def test_long_pairs_are_left_out_of_training_and_cut_in_evaluation():
    text = TextConfig(longest=12)
    train, evaluation = opened("translation_grammar:200", text=text), opened("translation_grammar:200", "eval", text)
    assert 0 < len(train) < 200
    assert len(evaluation) == 40
    for source in (train, evaluation):
        assert source.info.shapes["source"][0] <= 12
    assert max(len(sentence.split()) for sentence in evaluation.texts["source"]) > 12
    with pytest.raises(ValueError, match="no pair of translation_grammar:9 has at most 3 tokens"):
        opened("translation_grammar:9", text=TextConfig(longest=3))


def test_long_reviews_keep_their_ends():
    source = opened("sentiment_grammar:60", text=TextConfig(longest=5))
    batch = everything(source)
    assert batch["token"].shape == (60, 5)
    decoded = source.info.vocabularies["token"].decode(batch["token"][0])
    assert source.texts["token"][0].endswith(decoded)


def test_buckets_that_hold_too_little_are_explained():
    with pytest.raises(ValueError, match=r"buckets='4,8' ends with 8: add a longer one, or set data.text.longest to 8"):
        opened("sentiment_grammar:60", text=TextConfig(buckets="4,8"))


def test_what_the_vocabulary_is_changes_the_fingerprint():
    prints = {
        opened("sentiment_grammar:30", text=text).info.fingerprint
        for text in (TextConfig(), TextConfig(min_count=2), TextConfig(tokens=Tokens.CHARACTERS))
    }
    assert len(prints) == 3


@pytest.fixture
def files(tmp_path):
    def write(**texts):
        for name, rows in texts.items():
            (tmp_path / name.replace("_", ".")).write_text("\n".join(rows) + "\n", encoding="utf-8")
        return str(tmp_path)

    return write


def test_two_files_are_pairs_line_by_line(files):
    directory = files(all_de=[f"ein Wort {i}" for i in range(20)], all_en=[f"a word {i}" for i in range(20)])
    train, evaluation = (opened("parallel:all.de:all.en", part, dir=directory) for part in ("train", "eval"))
    assert train.texts["source"] == tuple(f"ein Wort {i}" for i in range(18))
    assert evaluation.texts["target"] == ("a word 18", "a word 19")


def test_files_by_split(files):
    directory = files(train_de=["a b", "c"], train_en=["x y", "z"], test_de=["c", "d"], test_en=["z", "w"])
    name = "parallel:{split}.de:{split}.en"
    train, evaluation = (opened(name, part, dir=directory) for part in ("train", "eval"))
    assert (train.texts["target"], evaluation.texts["target"]) == (("x y", "z"), ("z", "w"))
    unknown = train.info.vocabularies["source"].specials[vocabulary.UNKNOWN]
    assert everything(evaluation)["source"][1, 0] == unknown
    with pytest.raises(ValueError, match="has no split 'valid'"):
        opened(name, "eval", dir=directory, eval_split="valid")


def test_files_that_do_not_fit_are_explained(files, tmp_path):
    directory = files(a_de=["a", "b", "c"], a_en=["x", "y"], b_de=["a"], b_en=["x"])
    with pytest.raises(ValueError, match=r"a\.de has 3 lines and .*a\.en 2: line k of one must be the translation"):
        opened("parallel:a.de:a.en", dir=directory)
    with pytest.raises(ValueError, match=r"b\.de has 1 lines"):
        opened("parallel:b.de:b.en", dir=directory)
    with pytest.raises(FileNotFoundError, match=r"c\.de does not exist"):
        opened("parallel:c.de:a.en", dir=directory)
    (tmp_path / "d.en").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ValueError, match=r"d\.en is no text in UTF-8"):
        opened("parallel:a.de:d.en", dir=directory)
    for name in ("parallel:a.de", "parallel:{split}.de:a.en", "parallel:a:b:c"):
        with pytest.raises(ValueError, match=r"does not name two files; write parallel:SOURCE:TARGET, with \{split\}"):
            opened(name, dir=directory)


def test_lines_are_those_of_an_editor(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffone\u2028still one\x0cand\x85so\r\n\nthree\n".encode())
    assert lines.read(path) == ["one\u2028still one\x0cand\x85so", "", "three"]
    path.write_bytes(b"")
    assert lines.read(path) == []
