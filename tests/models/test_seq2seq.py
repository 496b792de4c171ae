"""The translator against numpy, whatever it is padded with, whatever it is batched with, step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import models
from cs231n_jax.models import functional
from tests.references import attention as reference
from tests.rows import but_for

SIZES = {"hidden": 6, "embedding": 4, "num_classes": 9, "source_size": 8}
SCORES = ("none", "dot", "general", "additive")
NAMES = [f"seq2seq_{cell}{'' if score == 'none' else '_' + score}" for cell in ("lstm", "gru") for score in SCORES]
QUICK = ("seq2seq_lstm", "seq2seq_gru_dot", "seq2seq_lstm_general", "seq2seq_gru_additive")
every_model = pytest.mark.parametrize("name", but_for(QUICK, NAMES))
every_score = pytest.mark.parametrize(
    "name", but_for(["seq2seq_gru_dot"], ["seq2seq_lstm", "seq2seq_gru_dot", *NAMES[2:4]])
)
LENGTHS = np.array([5, 1, 3], np.int32)
SOURCE = np.random.default_rng(0).integers(0, 8, (3, 5), np.int32)
TARGET = np.random.default_rng(1).integers(0, 9, (3, 4), np.int32)


def drawn(name):
    """The model and parameters of float64, larger than those that training begins with."""
    model = models.create(name, **SIZES)
    params, _ = functional.init(model, 0, jnp.asarray(SOURCE))
    return model, jax.tree.map(lambda x: 2 * x.astype(jnp.float64), params)


def run(model, params, source, target, lengths):
    return jax.jit(lambda *given: functional.apply(model, params, {}, *given, method="features")[0])(
        source, target, lengths
    )


@every_model
def test_logits_and_weights_are_the_reference(name, x64):
    model, params = drawn(name)
    found = run(model, params, SOURCE, TARGET, LENGTHS)
    plain = jax.tree.map(np.asarray, params)
    for n, length in enumerate(LENGTHS):
        logits, weights = reference.translator(plain, SOURCE[n, :length], TARGET[n], model.cell, model.score)
        np.testing.assert_allclose(found["logits"][n], logits, rtol=1e-10, atol=1e-12)
        if weights is not None:
            np.testing.assert_allclose(found["alignment"][n, :, :length], weights, rtol=1e-10)
            assert not np.any(found["alignment"][n, :, length:])
    assert ("alignment" in found) == (model.score != "none")


@every_score
def test_padding_and_company_change_no_number(name, x64):
    model, params = drawn(name)
    together = run(model, params, SOURCE, TARGET, LENGTHS)["logits"]
    longer = np.concatenate([SOURCE, np.full((3, 4), 7, np.int32)], 1)
    longer[1, 1:] = 5
    np.testing.assert_allclose(run(model, params, longer, TARGET, LENGTHS)["logits"], together, rtol=1e-12, atol=1e-12)
    for n, length in enumerate(LENGTHS):
        alone = run(model, params, SOURCE[n : n + 1, :length], TARGET[n : n + 1], LENGTHS[n : n + 1])["logits"]
        np.testing.assert_allclose(alone, together[n : n + 1], rtol=1e-12, atol=1e-12)


@every_score
def test_steps_over_several_hypotheses_are_the_whole(name, x64):
    model, params = drawn(name)
    beams = np.stack([TARGET, TARGET[:, ::-1]], 1).reshape(6, 4)
    (memory, carry), _ = functional.apply(model, params, {}, *map(jnp.asarray, (SOURCE, LENGTHS)), method="encode")
    carry = jax.tree.map(lambda x: jnp.repeat(x, 2, 0), carry)
    step = jax.jit(lambda carry, token: functional.apply(model, params, {}, carry, token, memory, method="step")[0])
    logits = []
    for t in range(4):
        found, carry = step(carry, beams[:, t])
        logits.append(found)
    for i, target in enumerate((TARGET, TARGET[:, ::-1])):
        whole = run(model, params, SOURCE, target, LENGTHS)["logits"]
        np.testing.assert_allclose(np.stack(logits, 1)[i::2], whole, rtol=1e-12, atol=1e-12)


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match="hidden=7 must be even"):
        models.create("seq2seq_gru", hidden=7)
    with pytest.raises(ValueError, match="embedding=0 leaves both halves nothing to read: give the size"):
        models.create("seq2seq_gru", embedding=0)
    with pytest.raises(ValueError, match="is fixed to 'dot' by the name"):
        models.create("seq2seq_gru_dot", score="none")
    model = models.create("seq2seq_lstm", **SIZES)
    with pytest.raises(ValueError, match=r"seq2seq_lstm takes tokens, integers \[N, L\]"):
        functional.init(model, 0, jnp.zeros((2, 3)))
