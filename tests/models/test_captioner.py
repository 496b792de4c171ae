"""The captioners against the published losses, against numpy, and step by step; they learn 50 captions by heart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import models, optim
from cs231n_jax.data.made_up import Chance
from cs231n_jax.data.scene_language import captions
from cs231n_jax.data.scenes import scene
from cs231n_jax.models import functional
from cs231n_jax.ops import losses
from tests.references import vision_language as reference
from tests.rows import but_for

SIZES = {"hidden": 6, "embedding": 4, "num_classes": 9}
NAMES = ("captioner_rnn", "captioner_lstm", "attention_captioner")
every_model = pytest.mark.parametrize("name", NAMES)
one_model = pytest.mark.parametrize("name", but_for(["attention_captioner"], NAMES))
MAPS = np.random.default_rng(0).standard_normal((3, 2, 3, 5))
TARGET = np.random.default_rng(1).integers(0, 9, (3, 4), np.int32)


def drawn(name, **options):
    """The model and parameters of float64, larger than those that training begins with."""
    model = models.create(name, **SIZES, **options)
    params, _ = functional.init(model, 0, MAPS.astype(np.float32))
    random = np.random.default_rng(2)
    return model, jax.tree.map(lambda x: jnp.asarray(2 * np.float64(x) + 0.1 * random.standard_normal(x.shape)), params)


@pytest.mark.parametrize(
    ("cell", "low", "high", "published"), [("rnn", -1.5, 0.3, 9.83235591003), ("lstm", -0.5, 1.7, 9.82445935443)]
)
def test_the_losses_of_the_assignment(cell, low, high, published, x64):
    """With every parameter and the features evenly spread: the sum over tokens that are no padding, by caption."""
    n, d, steps, size = 10, 20, 13, 3
    model = models.create(f"captioner_{cell}", num_classes=size, embedding=30, hidden=40)
    features = jnp.linspace(low, high, n * d, dtype=jnp.float64).reshape(n, d)
    tokens = (np.arange(n * steps) % size).reshape(n, steps)
    shapes, _ = functional.shapes(model, features)
    params = jax.tree.map(lambda x: jnp.linspace(-1.4, 1.3, x.size, dtype=jnp.float64).reshape(x.shape), shapes)
    logits, _ = functional.apply(model, params, {}, features, jnp.asarray(tokens[:, :-1]))
    nats = losses.softmax_cross_entropy(logits, jnp.asarray(tokens[:, 1:]))
    assert float((np.asarray(nats) * (tokens[:, 1:] != 0)).sum() / n) == pytest.approx(published, abs=1e-9)


@pytest.mark.parametrize(("options", "std"), [({}, 1 / 16), ({"embedding_std": 0.01}, 0.01)])
def test_the_deviation_of_the_first_word_vectors(options, std):
    model = models.create("captioner_rnn", **SIZES | {"embedding": 256, "num_classes": 1000}, **options)
    params, _ = functional.init(model, 0, MAPS.astype(np.float32))
    assert np.std(params["decoder"]["embedding"]) == pytest.approx(std, rel=0.01)


@every_model
def test_logits_and_weights_are_the_reference(name, x64):
    model, params = drawn(name)
    run = jax.jit(lambda *given: functional.apply(model, params, {}, *given, method="features")[0])
    found, plain = run(MAPS, TARGET), jax.tree.map(np.asarray, params)
    for n, places in enumerate(MAPS.reshape(3, 6, 5)):
        if model.attentive:
            logits, weights = reference.attention_captioner(plain, places, TARGET[n])
            np.testing.assert_allclose(found["alignment"][n], weights, rtol=1e-10)
        else:
            logits = reference.captioner(plain, places, TARGET[n], model.cell)
        np.testing.assert_allclose(found["logits"][n], logits, rtol=1e-10, atol=1e-12)
    assert ("alignment" in found) == model.attentive
    if model.attentive:
        np.testing.assert_allclose(found["alignment"].sum(-1), np.ones((3, 4)), rtol=1e-12)


@one_model
def test_steps_over_several_hypotheses_are_the_whole(name, x64):
    model, params = drawn(name)
    beams = np.stack([TARGET, TARGET[:, ::-1]], 1).reshape(6, 4)
    (memory, carry), _ = functional.apply(model, params, {}, jnp.asarray(MAPS), method="encode")
    carry = jax.tree.map(lambda x: jnp.repeat(x, 2, 0), carry)
    step = jax.jit(lambda carry, token: functional.apply(model, params, {}, carry, token, memory, method="step")[0])
    logits = []
    for t in range(4):
        shapes = jax.tree.map(lambda x: (x.shape, x.dtype), carry)
        found, carry = step(carry, beams[:, t])
        assert jax.tree.map(lambda x: (x.shape, x.dtype), carry) == shapes
        logits.append(found)
    for i, target in enumerate((TARGET, TARGET[:, ::-1])):
        whole, _ = functional.apply(model, params, {}, jnp.asarray(MAPS), jnp.asarray(target))
        np.testing.assert_allclose(np.stack(logits, 1)[i::2], whole, rtol=1e-12, atol=1e-12)


@one_model
def test_in_bfloat16_a_step_keeps_its_carry_in_float32(name):
    model = models.create(name, **SIZES)
    maps = jnp.asarray(MAPS, jnp.bfloat16)
    params, _ = functional.init(model, 0, maps)
    narrow = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
    (memory, carry), _ = functional.apply(model, narrow, {}, maps, method="encode")
    logits, after = functional.apply(model, narrow, {}, carry, jnp.asarray(TARGET[:, 0]), memory, method="step")[0]
    assert logits.dtype == jnp.bfloat16
    assert {x.dtype for x in jax.tree.leaves((carry, after))} == {jnp.dtype("float32")}


@pytest.mark.slow
@pytest.mark.parametrize(("cell", "decay", "most"), [("rnn", 0.95, 0.1), ("lstm", 0.995, 0.5)])
def test_fifty_captions_are_learned_by_heart(cell, decay, most, optimised):
    """As in the assignment: 50 epochs of two batches, Adam at 5e-3, the rate times `decay` an epoch.

    Its features and captions are of COCO; here features are drawn, and the captions are those of made-up scenes, in a
    vocabulary as large as there.
    """
    texts = [captions(scene(0, "train", i), Chance("captions", i))[0].text.split() for i in range(50)]
    words = {word: 4 + 41 * i for i, word in enumerate(sorted({word for text in texts for word in text}))}
    rows = [[1, *(words[word] for word in text), 2] for text in texts]
    tokens = np.zeros((50, max(map(len, rows))), np.int32)
    for row, target in zip(rows, tokens):
        target[: len(row)] = row
    features = np.random.default_rng(0).standard_normal((50, 512)).astype(np.float32)
    model = models.create(f"captioner_{cell}")
    params, _ = functional.init(model, 0, features)
    optimizer = optim.adam(lambda step: 5e-3 * jnp.asarray(decay) ** (step // 2).astype(jnp.float32))
    state = optimizer.init(params)

    def loss(params, which):
        logits, _ = functional.apply(model, params, {}, features[which], tokens[which, :-1])
        nats = losses.softmax_cross_entropy(logits, tokens[which, 1:])
        return jnp.where(tokens[which, 1:] != 0, nats, 0.0).sum() / len(which)

    @jax.jit
    def update(params, state, which):
        value, gradient = jax.value_and_grad(loss)(params, which)
        updates, state = optimizer.update(gradient, state, params)
        return optim.apply_updates(params, updates), state, value

    features, tokens = jnp.asarray(features), jnp.asarray(tokens)
    order, found = np.random.default_rng(1), []
    for _ in range(50):
        for which in np.split(order.permutation(50), 2):
            params, state, value = update(params, state, jnp.asarray(which))
            found.append(float(value))
    assert found[0] == pytest.approx(np.log(1004) * (np.mean([len(row) for row in rows]) - 1), rel=0.15)
    assert np.mean(found[-2:]) < most
