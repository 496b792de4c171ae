"""The classifier of texts beside a slow one; padding has no part in any number."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import models
from cs231n_jax.config import Config, TrainConfig
from cs231n_jax.data import DataConfig
from cs231n_jax.models import ModelConfig, functional
from cs231n_jax.optim import OptimizerConfig
from cs231n_jax.tasks.base import TaskConfig
from cs231n_jax.train.assemble import assemble
from cs231n_jax.train.loop import Silent
from cs231n_jax.train.run import run
from cs231n_jax.train.sharding import MeshConfig
from tests.references import classifiers
from tests.rows import but_for

LENGTHS = np.array([7, 1, 4, 7, 2], np.int32)
TOKENS = np.random.default_rng(0).integers(0, 9, (5, 7), np.int32)


def network(**options):
    """A narrow one with parameters in float64, biases moved away from their start."""
    given = {"vocabulary": 9, "embedding": 3, "hidden": 4, "layers": 2, "num_classes": 3, **options}
    model = models.create("sentiment", **given)
    params, _ = functional.init(model, 0, TOKENS, LENGTHS)
    random = np.random.default_rng(1)
    return model, jax.tree.map(lambda a: jnp.asarray(np.float64(a) + 0.1 * random.standard_normal(a.shape)), params)


def logits(model, params, tokens, lengths):
    return jax.jit(lambda p, *x: functional.apply(model, p, {}, *x)[0])(params, tokens, lengths)


FORMS = [("lstm", "last", True, 3), ("gru", "mean", True, 3), ("lstm", "last", False, 0), ("rnn", "max", False, 3)]


@pytest.mark.parametrize(("cell", "pool", "bidirectional", "embedding"), but_for(FORMS[:2], FORMS))
def test_scores_are_those_of_each_text_by_itself(cell, pool, bidirectional, embedding, x64):
    model, params = network(cell=cell, pool=pool, bidirectional=bidirectional, embedding=embedding)
    plain = jax.tree.map(np.asarray, params)
    expected = [classifiers.text(cell, pool, row[:n], plain) for row, n in zip(TOKENS, LENGTHS)]
    np.testing.assert_allclose(logits(model, params, TOKENS, LENGTHS), expected, rtol=1e-12, atol=1e-12)
    whole = [classifiers.text(cell, pool, row, plain) for row in TOKENS]
    np.testing.assert_allclose(logits(model, params, jnp.asarray(TOKENS), None), whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("pool", but_for(["max"], ["last", "mean", "max"]))
def test_padding_changes_no_score_and_no_gradient(pool, x64):
    """Neither its length nor what it is made of, tokens that do not exist included."""
    model, params = network(pool=pool, layers=1)

    @jax.jit
    def of(params, tokens, lengths):
        scores = lambda p: functional.apply(model, p, {}, tokens, lengths)[0]  # noqa: E731
        return scores(params), jax.grad(lambda p: jnp.sum(jnp.sin(scores(p))))(params)

    found = []
    for width, padding in ((7, 0), (7, 999), (12, 8)):
        tokens = np.full((5, width), padding, np.int32)
        tokens[:, :7] = np.where(np.arange(7) < LENGTHS[:, None], TOKENS, padding)
        found.append(jax.tree.leaves(of(params, tokens, LENGTHS)))
    assert max(float(np.abs(leaf).max()) for leaf in found[0]) > 0.01
    for other in found[1:]:
        for a, b in zip(found[0], other):
            np.testing.assert_allclose(b, a, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("embedding", [0, 3])
def test_a_token_that_does_not_exist_is_not_a_number(embedding, x64):
    model, params = network(embedding=embedding, layers=1)
    found = logits(model, params, jnp.array([[0, 8], [0, 9], [0, -1]], jnp.int32), None)
    np.testing.assert_array_equal(np.isfinite(found).all(-1), [True, False, False])


def config_of(**changes):
    options = {"vocabulary": 101, "embedding": 8, "hidden": 16}
    parts = {
        "model": ModelConfig(name="sentiment", options=options),
        "data": DataConfig(name="sentiment_grammar:96", batch_size=32),
        "optimizer": OptimizerConfig(name="adam", learning_rate=0.02),
        "train": TrainConfig(steps="60", log_every="0", eval_every="0", save_every="0"),
        "mesh": MeshConfig(data=1),
    }
    return Config(**{**parts, **changes})


@pytest.mark.slow
def test_thirty_two_reviews_can_be_learned_by_heart(tmp_path):
    config = config_of(data=DataConfig(name="sentiment_grammar:32", eval_split="train", batch_size=32))
    config.model.options["vocabulary"] = 91
    assert run(config, tmp_path, {}, Silent(), time.time())["eval"]["accuracy"] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": ModelConfig(name="sentiment", options={"vocabulary": 5})}, "options.vocabulary=101"),
        ({"model": ModelConfig(name="sentiment", options={"vocabulary": 101, "num_classes": 5})}, "num_classes=2"),
        ({"model": ModelConfig(name="char_lm")}, "model char_lm reads starts, and sentiment_grammar:96 has token"),
        ({"model": ModelConfig(name="sentiment", options={"pool": "first"})}, "option pool='first'.* one of"),
        ({"task": TaskConfig(name="language_modelling")}, "reads starts, .*: set task.name=classification"),
        (
            {"data": DataConfig(name="sentiment_grammar:96", batch_size=32, augment="flip")},
            "'flip': there is none for tokens",
        ),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        assemble(config_of(**changes))


def test_a_batch_that_is_no_text_is_refused():
    model, params = network()
    with pytest.raises(ValueError, match="sentiment takes tokens, integers"):
        functional.apply(model, params, {}, np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match="give one a text"):
        functional.apply(model, params, {}, TOKENS, LENGTHS[:3])
