"""Text from a snapshot, of a model that knows one letter back: what is written, when, and what is refused."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax.config import Config, to_json
from cs231n_jax.tasks.generation import Generation, Start
from cs231n_jax.train import generate, record, snapshots
from cs231n_jax.train.generate import Settings, generate_snapshot
from cs231n_jax.train.signals import Interrupted

LETTERS = "abcd."
TABLE = np.random.default_rng(0).standard_normal((5, 5)).astype(np.float32)
SETTINGS = Settings(prompt="ab", samples=3, length=40, temperature=0.9, top_k=4, top_p=0.95)


class Bigrams:
    """Logits of a letter after a letter are a row of the parameters."""

    def generation(self):
        return Generation(self.read, self.start, lambda prompt, y: prompt + "".join(LETTERS[i] for i in y), stop=4)

    def read(self, prompt):
        if strange := set(prompt) - set(LETTERS):
            raise ValueError(f"the prompt has {min(strange)!r}: write with {LETTERS}")
        return {"prompt": np.array([[LETTERS.index(c) for c in prompt]], np.int32)}

    def start(self, params, model_state, batch):
        prompt = batch["prompt"]
        return Start(
            lambda carry, token: (params["table"][token], carry),
            jnp.zeros(len(prompt)),
            prompt,
            jnp.full(len(prompt), prompt.shape[1], jnp.int32),
        )


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    record.write_json(tmp_path / "config.json", to_json(Config()))
    for step in (1, 2):
        snapshots.save_weights(tmp_path, step, {"table": step * TABLE}, {}, {})
    monkeypatch.setattr(generate, "assemble_here", lambda config, should_stop: SimpleNamespace(task=Bigrams()))
    return tmp_path


def test_the_file_is_a_function_of_snapshot_and_settings(workdir, monkeypatch):
    path, texts = generate_snapshot(workdir, SETTINGS)
    content = path.read_bytes()
    assert path.parent == workdir / "samples"
    assert content.decode().startswith("# snapshot: 2\n# sha256: ")
    assert '# prompt: "ab"\n# samples: 3\n# length: 40\n# temperature: 0.9\n' in content.decode()
    assert len(texts) == 3
    assert len({text.text for text in texts}) > 1
    for i, text in enumerate(texts, 1):
        assert text.text.startswith("ab")
        assert len(text.text) == 2 + text.tokens
        assert text.ended == text.text.endswith(".")
        assert f"# {i}: {generate.describe(text)}\n{text.text}\n" in content.decode()
        scores = TABLE * 2 - np.log(np.exp(TABLE * 2).sum(1, keepdims=True))
        letters = [LETTERS.index(c) for c in text.text[1:]]
        assert text.log_prob == pytest.approx(sum(scores[a, b] for a, b in itertools.pairwise(letters)), rel=1e-5)
    path.unlink()
    monkeypatch.setattr(generate, "PIECE", 3)
    again, _ = generate_snapshot(workdir, SETTINGS)
    assert (again, again.read_bytes()) == (path, content)
    for other, step in ((replace(SETTINGS, seed=1), "2"), (replace(SETTINGS, top_k=0), "2"), (SETTINGS, "1")):
        assert generate_snapshot(workdir, other, step)[0] != path
    assert len(list((workdir / "samples").iterdir())) == 4


def test_a_signal_leaves_what_there_is_and_the_whole_takes_its_place(workdir, monkeypatch):
    monkeypatch.setattr(generate, "PIECE", 2)
    looks = iter([False, False, True])
    settings = replace(SETTINGS, temperature=2.0, top_p=1.0, length=500)
    with pytest.raises(Interrupted, match=r"after 4 of at most 500 tokens, which are in .*\.partial\.txt"):
        generate_snapshot(workdir, settings, should_stop=lambda: next(looks))
    (partial,) = (workdir / "samples").iterdir()
    begun = [line for line in partial.read_text().splitlines() if line.startswith("ab")]
    path, texts = generate_snapshot(workdir, settings)
    assert list((workdir / "samples").iterdir()) == [path]
    assert all(text.text.startswith(part) for text, part in zip(texts, begun, strict=True))


def test_a_beam_gives_its_best_first(workdir):
    settings = Settings(prompt="a", samples=2, length=12, beam=4)
    path, texts = generate_snapshot(workdir, settings)
    assert len(texts) == 2
    assert "# beam: 4\n" in path.read_text()
    scores = [text.log_prob / ((5 + text.tokens) / 6) ** 0.6 for text in texts]
    assert (not texts[0].ended, -scores[0]) <= (not texts[1].ended, -scores[1])
    (one,) = generate_snapshot(workdir, replace(settings, beam=1, samples=1))[1]
    (likeliest,) = generate_snapshot(workdir, replace(settings, beam=0, samples=1, temperature=0.0))[1]
    assert one == likeliest


def test_the_moving_average_is_taken_where_there_is_one(workdir, monkeypatch):
    wanted = replace(SETTINGS, average=True)
    with pytest.raises(ValueError, match="holds no moving average of the parameters: train with"):
        generate_snapshot(workdir, wanted)
    monkeypatch.setattr(snapshots, "load_average", lambda workdir, step: {"table": TABLE})
    assert generate_snapshot(workdir, wanted)[1] == generate_snapshot(workdir, SETTINGS, "1")[1]


def test_what_cannot_be_generated_is_refused(workdir, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="the prompt has 'x': write with abcd"):
        generate_snapshot(workdir, replace(SETTINGS, prompt="abx"))
    with pytest.raises(FileNotFoundError, match="no snapshot 7 in"):
        generate_snapshot(workdir, SETTINGS, "7")
    monkeypatch.undo()
    with pytest.raises(ValueError, match="a run of the task Classification does not generate"):
        generate_snapshot(workdir, SETTINGS)
    with pytest.raises(FileNotFoundError, match="holds no run"):
        generate_snapshot(tmp_path / "nowhere", SETTINGS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": 0}, "samples is 0; it must be at least 1"),
        ({"length": 0}, "length is 0; it must be at least 1"),
        ({"temperature": -1.0}, "temperature is -1"),
        ({"top_k": -1}, "top_k is -1"),
        ({"top_p": 0.0}, "top_p is 0"),
        ({"beam": -1}, "beam is -1; it must be at least 1, or 0"),
        ({"beam": 4, "top_p": 0.9}, "a beam search draws nothing: leave out"),
        ({"beam": 2, "samples": 3}, "samples is 3, but a beam of 2 finds no more than 2"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Settings(prompt="a", **changes).validate()
