"""experiments.alignments: what is drawn are the weights of the words that were found."""

import signal
import sys
import time

import jax
import numpy as np
import pytest

from cs231n_jax.config import Config, to_json
from cs231n_jax.data import DataConfig, open_source
from cs231n_jax.models import ModelConfig
from cs231n_jax.tasks import registry
from cs231n_jax.tasks.base import TaskConfig
from cs231n_jax.train import record, snapshots
from cs231n_jax.train.assemble import assemble
from cs231n_jax.train.generate_many import Settings
from cs231n_jax.train.signals import Interrupted
from experiments import alignments
from tests.programs import Started
from tests.references import attention as reference
from tests.rows import but_for

DATA = DataConfig(name="translation_grammar:40", batch_size=8)


def small_model(info):
    sizes = {"num_classes": info.num_classes, "source_size": info.vocabularies["source"].size}
    return ModelConfig(name="seq2seq_gru_additive", options={"hidden": 8, "embedding": 6, **sizes})


def test_the_picture_shows_the_weights_of_each_word(tmp_path):
    source = open_source(DATA, "eval")
    task = registry.build(TaskConfig(name="translation"), small_model(source.info), DATA, source.info)
    examples = source[np.arange(3)]
    params, state = task.init(0, examples)
    params = {name: dict(tree) for name, tree in params.items()}
    params["decoder"]["vector"] = 40 * params["decoder"]["vector"]
    found = alignments.aligned(task, (params, state), examples, Settings(beam=2, length=6))
    plain = {name: _plain(tree) for name, tree in params.items()}
    for i, (words, target, alpha) in enumerate(found):
        length = examples["source_length"][i]
        assert words == [*source.texts["source"][i].split(), "<eos>"]
        assert alpha.shape == (len(target), length)
        fed = [task.target.specials["<bos>"], *(_number(task.target, word) for word in target)]
        _, wanted = reference.translator(plain, examples["source"][i, :length], fed[:-1], "gru", "additive")
        np.testing.assert_allclose(alpha, wanted, atol=1e-4)
    assert alignments.draw(tmp_path / "a.png", found).read_bytes().startswith(b"\x89PNG")
    (places, target, alpha), *_ = alignments.numbered(found)
    assert places == [str(place) for place in range(1, len(found[0][0]) + 1)]
    assert (target, alpha.tobytes()) == (found[0][1], found[0][2].tobytes())


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc whether a signal is caught yet")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_program_before_the_picture(number, tmp_path):
    info = open_source(DATA, "train").info
    config = Config(task=TaskConfig(name="translation"), model=small_model(info), data=DATA)
    record.write_json(tmp_path / "config.json", to_json(config))
    assembly = assemble(config)
    params, _ = assembly.task.init(0, assembly.batch_shapes)
    snapshots.save_weights(tmp_path, 1, jax.device_get(params), {}, {})
    process = Started("alignments", f"--workdir={tmp_path}")
    until = time.monotonic() + 120
    while not process.handles(signal.SIGTERM) and time.monotonic() < until:
        time.sleep(0.005)
    process.send(number)
    ended = process.end(120)
    said = "interrupted before the picture, of which nothing is kept; the same command finishes it"
    assert (ended.returncode, ended.stderr, ended.stdout.strip()) == (75, "", said)
    assert not (tmp_path / "alignments.png").exists()


@pytest.mark.parametrize("looks", but_for((1,), range(3)))
def test_a_wish_to_stop_is_heeded_between_the_steps(looks):
    source = open_source(DATA, "eval")
    task = registry.build(TaskConfig(name="translation"), small_model(source.info), DATA, source.info)
    examples, answers = source[np.arange(2)], iter([False] * looks + [True])
    with pytest.raises(Interrupted, match="before the picture"):
        alignments.aligned(task, task.init(0, examples), examples, Settings(2, 4), lambda: next(answers))
    assert not list(answers)


def test_an_empty_translation_has_no_share_and_an_empty_place(tmp_path):
    weights = np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)
    found = [(["a", "<eos>"], [], weights[:0]), (["a", "<eos>"], ["b", "<eos>"], weights)]
    assert [alignments.told(target, alpha) for _, target, alpha in found] == [
        "0 tokens",
        "2 tokens, 0.62 of the weight in one place",
    ]
    assert alignments.draw(tmp_path / "a.png", found).read_bytes().startswith(b"\x89PNG")


def _plain(tree):
    return {
        name: _plain(leaf) if isinstance(leaf, dict) else np.asarray(leaf, np.float64) for name, leaf in tree.items()
    }


def _number(words, piece):
    return words.specials.get(piece) or words.encode(piece)[0]


@pytest.mark.parametrize("piece", ["<eos>", "dog"])
def test_pieces_are_words_or_the_names_of_marks(piece):
    words = open_source(DataConfig(name="translation_grammar:40"), "train").info.vocabularies["source"]
    assert alignments.pieces(words, np.array([_number(words, piece)])) == [piece]
