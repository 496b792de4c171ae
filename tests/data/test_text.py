"""Text: streams, windows, vocabularies, and what is refused."""

import numpy as np
import pytest

from cs231n_jax import data
from cs231n_jax.data import text
from cs231n_jax.data.pipeline import Pipeline, eval_batches
from cs231n_jax.data.vocabulary import UNKNOWN, Listed

WORDS = "the quick brown fox jumps over the lazy dog\n" * 20


def opened(part="train", **options):
    return data.open_source(data.DataConfig(**{"name": "words.txt", "batch_size": 3, "window": 7, **options}), part)


@pytest.fixture(autouse=True)
def words(tmp_path, monkeypatch):
    (tmp_path / "words.txt").write_text(WORDS)
    monkeypatch.chdir(tmp_path)


def read(source, array):
    return Listed(source.info.classes).decode(array.reshape(-1))


def test_windows_of_a_stream_are_one_text_and_streams_follow_each_other():
    source = opened()
    train = WORDS[: len(WORDS) - len(WORDS) // 10]
    pipeline, (length, steps) = Pipeline(source, 3, 0), ((len(train) - 1) // 3, (len(train) - 1) // 3 // 7)
    assert (len(source), pipeline.steps_per_epoch) == (3 * steps, steps)
    batches = [pipeline.batch(step) for step in range(2 * steps)]
    for b in range(3):
        stream = train[b * length :]
        assert read(source, np.concatenate([batch["token"][b] for batch in batches[:steps]])) == stream[: steps * 7]
        seen = np.concatenate([batch["target"][b] for batch in batches[steps:]])  # the second epoch is the first
        assert read(source, seen) == stream[1 : steps * 7 + 1]
    assert [bool(batch["start"].all()) for batch in batches] == [True, *[False] * (steps - 1)] * 2
    assert not any(batch["start"].any() for batch in batches[1:steps])
    assert all(batch["counted"].all() for batch in batches)


def test_every_stream_begins_anew_at_its_own_turn(monkeypatch):
    monkeypatch.setattr(text, "ROW", 28)  # four windows
    source = opened()
    starts = source[np.arange(len(source))]["start"].reshape(-1, 3)
    assert starts[0].all()
    for b in range(3):
        assert np.flatnonzero(starts[1:, b]).tolist() == [k - 1 for k in range(1, len(starts)) if (k + b) % 4 == 0]
    rows = opened("eval", name="words.txt")
    assert rows[np.arange(len(rows))]["start"].all()


def test_processes_read_their_own_streams():
    def pipeline(**place):
        return Pipeline(opened(batch_size=4), 4, 0, **place)

    parts = [pipeline(process_index=i, process_count=2) for i in (0, 1)]
    for step in (0, 3):
        both = [part.batch(step) for part in parts]
        for name, array in pipeline().batch(step).items():
            np.testing.assert_array_equal(np.concatenate([batch[name] for batch in both]), array)


@pytest.mark.parametrize("length", [2, 1024, 1025, 1026, 2500])
def test_evaluation_counts_every_character_but_the_first_once(length, tmp_path):
    (tmp_path / "long.txt").write_text((WORDS * 40)[: 10 * length])
    source = opened("eval", name="long.txt", batch_size=1, window=2)
    expected = (WORDS * 40)[9 * length : 10 * length]
    seen = []
    for batch in eval_batches(source, 2):
        counted = batch["counted"] & (batch["mask"] > 0)[:, None]
        seen.append(read(source, batch["target"][counted]))
        assert batch["token"].shape[1] == text.ROW
    assert "".join(seen) == expected[1:]


def test_the_vocabulary_is_that_of_the_training_text(tmp_path):
    (tmp_path / "odd.txt").write_text("ab\n" * 30 + "aβ☃b\n" * 2, encoding="utf-8")
    train, evaluation = opened(name="odd.txt"), opened("eval", name="odd.txt")
    assert train.info.classes == evaluation.info.classes == (UNKNOWN, "\n", "a", "b")
    assert read(evaluation, np.array(Listed(evaluation.info.classes).encode("aβ☃b"))) == "a\ufffd\ufffdb"
    assert train.info.num_classes == 4


def test_the_text_of_python_is_stable_and_its_vocabulary_fixed():
    train, evaluation = (opened(part, name="python_docs", window=64) for part in ("train", "eval"))
    assert train.info.classes == text.ASCII
    assert train.info.num_classes == 97
    assert train.info.fingerprint != evaluation.info.fingerprint
    assert train.info.fingerprint == opened(name="python_docs", window=5, batch_size=7).info.fingerprint
    assert len(train) * 64 > 350_000
    assert 'The "assert" statement' in read(train, train[np.arange(0, 30, 3)]["token"])
    unknown = np.mean(train[np.arange(len(train))]["token"] == 0)
    assert 0 < unknown < 0.01


def test_real_tiny_shakespeare(tfds_dir):
    options = {"name": "tiny_shakespeare", "dir": str(tfds_dir), "window": 64, "batch_size": 64}
    train, evaluation = opened(**options), opened("eval", eval_split="validation", **options)
    assert train.info.num_classes == 66
    assert read(train, train[np.array([0])]["token"]).startswith("First Citizen:\nBefore we proceed any further")
    counted = sum(int(batch["counted"][batch["mask"] > 0].sum()) for batch in eval_batches(evaluation, 8))
    assert counted == 55_769
    assert len(train) == 64 * 245


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"name": "short.txt"}, ValueError, "short.txt train has 1 characters: there must be two at least"),
        ({"name": "none.txt"}, FileNotFoundError, "none.txt does not exist"),
        ({"name": "empty.txt"}, ValueError, "empty.txt train has 0 characters: there must be two"),
        ({"name": "bytes.txt"}, ValueError, "bytes.txt is no text in UTF-8"),
        ({"window": 0}, ValueError, "data.window is 0, and words.txt is text"),
        ({"window": -1}, ValueError, "data.window is -1"),
        ({"window": 300}, ValueError, "train has 792 characters, too few for 3 streams of a window of 300: lower"),
        ({"name": "digits"}, ValueError, "data.window is for text: .*; set it to 0 for digits"),
        ({"name": "notes.md"}, ValueError, "text: .* or a file NAME.txt; set it to 0 for notes.md"),
        ({"image_size": 8}, ValueError, "data.image_size is for folders"),
        ({"eval_split": "validation"}, ValueError, "has no split 'validation'"),
    ],
)
def test_what_is_refused(options, error, message, tmp_path):
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "short.txt").write_text("a")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(error, match=message):
        opened("eval" if "eval_split" in options else "train", **options)


def test_batches_are_a_window_of_every_stream():
    with pytest.raises(ValueError, match=r"is cut into 3 streams, .* take batches of 3, not 6"):
        Pipeline(opened(), 6, 0)
