"""experiments.alignments: what is drawn are the weights of the words that were found."""

import numpy as np
import pytest

from cs231n_jax.data import DataConfig, open_source
from cs231n_jax.models import ModelConfig
from cs231n_jax.tasks import registry
from cs231n_jax.tasks.base import TaskConfig
from cs231n_jax.train.generate_many import Settings
from experiments import alignments
from tests.references import attention as reference


def test_the_picture_shows_the_weights_of_each_word(tmp_path):
    data = DataConfig(name="translation_grammar:40")
    source = open_source(data, "eval")
    sizes = {"num_classes": source.info.num_classes, "source_size": source.info.vocabularies["source"].size}
    model = ModelConfig(name="seq2seq_gru_additive", options={"hidden": 8, "embedding": 6, **sizes})
    task = registry.build(TaskConfig(name="translation"), model, data, source.info)
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
