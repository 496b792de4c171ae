"""Texts for a whole split: their order, their batches, their scores and files, and what stops them."""

import dataclasses
import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax.config import Config, to_json
from cs231n_jax.data import DataConfig, open_source
from cs231n_jax.data.text_config import TextConfig
from cs231n_jax.metrics import bleu, chrf
from cs231n_jax.models import ModelConfig
from cs231n_jax.tasks.base import TaskConfig
from cs231n_jax.tasks.generation import Generation, Inputs, Start
from cs231n_jax.train import generate_many, record, snapshots
from cs231n_jax.train.assemble import assemble
from cs231n_jax.train.generate import Settings as One
from cs231n_jax.train.generate import generate_snapshot
from cs231n_jax.train.generate_many import Settings, generate_split, generate_texts
from cs231n_jax.train.signals import Interrupted

SETTINGS = Settings(beam=3, length=12, batch_size=4)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A translator that has learned nothing, with eight sentences to translate."""
    path = tmp_path_factory.mktemp("many")
    data = DataConfig(name="translation_grammar:40", batch_size=8, text=TextConfig(buckets="12,16,40"))
    info = open_source(data, "train").info
    sizes = {"num_classes": info.num_classes, "source_size": info.vocabularies["source"].size}
    config = Config(
        task=TaskConfig(name="translation"),
        model=ModelConfig(name="seq2seq_gru_general", options={"hidden": 8, "embedding": 6, **sizes}),
        data=data,
    )
    record.write_json(path / "config.json", to_json(config))
    assembly = assemble(config)
    params, _ = assembly.task.init(0, assembly.batch_shapes)
    snapshots.save_weights(path, 1, jax.device_get(jax.tree.map(lambda x: 4 * x, params)), {}, {})
    return path


@pytest.fixture(scope="module")
def found(workdir):
    return generate_split(workdir, "test", SETTINGS)


def test_texts_are_in_the_order_of_the_data_and_those_of_each_sentence_alone(workdir, found):
    config = record.stored_config(workdir)
    plain = dataclasses.replace(config, data=dataclasses.replace(config.data, eval_split="test", text=TextConfig()))
    source = assemble(plain).eval_source
    assert len(found.texts) == len(source)
    assert (np.diff(source.arrays["source_length"]) < 0).any(), "they should not lie in the order of their lengths"
    for i in (0, len(source) - 1):
        _, (alone,) = generate_snapshot(workdir, One(source.texts["source"][i], length=12, beam=3))
        assert found.texts[i] == alone.text
    references = source.texts["target"]
    assert found.scores["bleu"].value == bleu(found.texts, references).score
    assert found.scores["bleu"].signature == "BLEU-4|refs:1|case:mixed|tok:13a|smooth:exp"
    assert found.scores["chrf"].value == chrf(found.texts, references).score


def test_files_hold_what_was_found(workdir, found):
    assert found.path.parent == workdir / "samples"
    assert found.path.read_text().splitlines() == found.texts
    written = json.loads(found.path.with_suffix(".json").read_text())
    assert written["scores"]["bleu"]["value"] == found.scores["bleu"].value
    assert (written["split"], written["snapshot"], written["beam"], written["texts"]) == ("test", 1, 3, 8)
    again = generate_split(workdir, "test", dataclasses.replace(SETTINGS, batch_size=8))
    assert again.texts == found.texts
    assert again.path != found.path


def test_lines_of_a_user_are_padded_and_one_may_be_longer_than_all_buckets(workdir, found):
    config = record.stored_config(workdir)
    source = assemble(dataclasses.replace(config, data=dataclasses.replace(config.data, eval_split="test"))).eval_source
    lines = [*source.texts["source"][:3], "", "the dog sees a cat " * 12]
    translated = generate_texts(workdir, lines, SETTINGS)
    assert len(translated.texts) == 5
    assert set(translated.texts[:3]) <= set(found.texts)
    assert not translated.scores
    with pytest.raises(ValueError, match="there is nothing to generate from"):
        generate_texts(workdir, [], SETTINGS)


@pytest.mark.slow
def test_a_signal_leaves_what_there_is_and_the_whole_takes_its_place(workdir):
    looks, settings = iter([False, True]), dataclasses.replace(SETTINGS, beam=2)
    with pytest.raises(Interrupted, match=r"interrupted after 4 of 8 texts, which are in .*\.partial\.txt"):
        generate_split(workdir, "test", settings, should_stop=lambda: next(looks))
    (partial,) = (workdir / "samples").glob("*.partial.txt")
    there = partial.read_text().splitlines()
    assert len(there) == 8
    found = generate_split(workdir, "test", settings)
    assert not partial.exists()
    assert found.path.name == partial.name.replace(".partial", "")
    assert all(text in ("", whole) for text, whole in zip(there, found.texts, strict=True))


def test_batches_hold_each_input_once_in_the_shortest_bucket_that_fits():
    lengths = np.array([3, 9, 2, 5, 20, 4, 2])
    given = Inputs(lambda which, length: {"x": np.zeros((len(which), length)), "which": which}, lengths, [""] * 7)
    made = list(generate_many.batches(given, (4, 10), 3))
    assert [which.tolist() for which, _, _ in made] == [[2, 6, 0], [5, 3, 1], [4]]
    assert [length for _, length, _ in made] == [4, 10, 20]
    assert [batch["x"].shape for _, _, batch in made] == [(3, 4), (3, 10), (3, 20)]
    assert made[-1][2]["which"].tolist() == [4, 4, 4]
    assert [length for _, length, _ in generate_many.batches(given, (), 7)] == [20]
    alike = given._replace(lengths=np.full(7, 3))
    assert [length for _, length, _ in generate_many.batches(alike, (4, 10), 5)] == [3, 3]


def test_what_cannot_be_generated_is_refused(workdir, monkeypatch):
    with pytest.raises(ValueError, match="beam is 0; it must be at least 1"):
        generate_split(workdir, "test", Settings(beam=0))
    with pytest.raises(FileNotFoundError, match="no snapshot 7 in"):
        generate_split(workdir, "test", SETTINGS, "7")

    class Continues:
        def generation(self):
            return Generation(lambda prompt: {}, lambda *given: Start(None, None, jnp.zeros(1), jnp.ones(1)), str)

    monkeypatch.setattr(generate_many, "assemble_here", lambda *given: SimpleNamespace(task=Continues()))
    with pytest.raises(ValueError, match="the task translation continues texts and has no inputs in a split"):
        generate_split(workdir, "test", SETTINGS)
