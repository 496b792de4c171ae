"""Answers about images against numpy, whatever questions are padded with; a label that is no answer."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import models
from cs231n_jax.models import functional
from cs231n_jax.tasks.classification import Classification
from tests.references import vision_language as reference
from tests.references.attention import softmax
from tests.rows import but_for

SIZES = {"hidden": 6, "embedding": 4, "num_classes": 5, "vocabulary": 8}
KINDS = ("question", "image", "product", "stacked", "stacked2", "stacked2, deep")
every_kind = pytest.mark.parametrize("kind", KINDS)
MAPS = np.random.default_rng(0).standard_normal((3, 2, 3, 5))
TOKENS = np.random.default_rng(1).integers(0, 8, (3, 4), np.int32)
LENGTHS = np.array([4, 1, 3], np.int32)


def drawn(kind):
    """The model and parameters of float64, larger than those that training begins with."""
    name, _, deep = kind.partition(", ")
    options = ({"attended": 7} if "stacked" in kind else {}) | ({"deep": True} if deep else {})
    model = models.create(f"vqa_{name}", **SIZES, **options)
    params, _ = functional.init(model, 0, MAPS.astype(np.float32))
    random = np.random.default_rng(2)
    return model, jax.tree.map(lambda x: jnp.asarray(2 * np.float64(x) + 0.1 * random.standard_normal(x.shape)), params)


def run(model, params, tokens=TOKENS):
    apply = jax.jit(lambda *given: functional.apply(model, params, {}, *given, method="features")[0])
    return apply(MAPS, tokens, LENGTHS)


def expected(model, params, n):
    """Logits and the weights of each hop."""
    places, tokens, params = MAPS[n].reshape(6, 5), TOKENS[n, : LENGTHS[n]], jax.tree.map(np.asarray, params)
    if model.kind == "stacked":
        return reference.stacked(params, places, tokens, model.hops)
    return reference.baseline(params, places, tokens, model.kind), []


@every_kind
def test_logits_and_weights_are_the_reference(kind, x64):
    model, params = drawn(kind)
    found = run(model, params)
    for n in range(3):
        logits, weights = expected(model, params, n)
        np.testing.assert_allclose(found["logits"][n], logits, rtol=1e-10, atol=1e-12)
        for k, wanted in enumerate(weights, 1):
            np.testing.assert_allclose(found[f"attention{k}"][n], wanted, rtol=1e-10)
    hops = [name for name in found if name.startswith("attention")]
    assert len(hops) == {"stacked": 1, "stacked2": 2}.get(kind.partition(",")[0], 0)
    assert ("fc2" in found) == (kind not in ("stacked", "stacked2"))
    for hop in hops:
        np.testing.assert_allclose(found[hop].sum(-1), np.ones(3), rtol=1e-12)


@pytest.mark.parametrize("kind", but_for(["question", "stacked2"], KINDS))
def test_padding_changes_no_number(kind, x64):
    model, params = drawn(kind)
    padded = np.concatenate([TOKENS, np.full((3, 2), 7, np.int32)], 1)
    padded[1, 1:] = 5
    np.testing.assert_array_equal(run(model, params, padded)["logits"], run(model, params)["logits"])


def test_each_baseline_sees_its_half_alone(x64):
    for kind, blind in (("question", 0), ("image", 1)):
        model, params = drawn(kind)
        given = [MAPS, TOKENS]
        apply = jax.jit(functools.partial(functional.apply, model))
        before = apply(params, {}, *given, LENGTHS)[0]
        given[blind] = given[blind][::-1].copy()
        after = apply(params, {}, *given, LENGTHS)[0]
        np.testing.assert_array_equal(before, after)


def test_an_image_of_nothing_has_a_finite_gradient(x64):
    model, params = drawn("product")
    nothing = jnp.zeros((3, 2, 3, 5))

    def total(params, maps):
        return functional.apply(model, params, {}, maps, jnp.asarray(TOKENS))[0].sum()

    for gradient in jax.tree.leaves(jax.jit(jax.grad(total, (0, 1)))(params, nothing)):
        assert np.isfinite(gradient).all()


def test_what_does_not_fit_is_named():
    model = models.create("vqa_stacked", **SIZES)
    for tokens, lengths, message in (
        (jnp.zeros((3, 4)), None, r"^vqa_stacked takes questions, integers \[N, T\], got float32 of shape \[3, 4\]"),
        (jnp.asarray(TOKENS), jnp.ones(2, jnp.int32), r"got lengths of shape \[2\] for 3 questions"),
    ):
        with pytest.raises(ValueError, match=message):
            functional.init(model, 0, jnp.asarray(MAPS), tokens, lengths)
    with pytest.raises(ValueError, match="is fixed to 2 by the name"):
        models.create("vqa_stacked2", hops=1)


# --- the task ---


def asked(**more):
    """A task over the maps, and a batch whose second label is no answer that there is."""
    model, params = drawn("stacked")
    task = Classification(model, (0.0,) * 5, (1.0,) * 5, dtype="float64", open_answers=True)
    batch = {"image": MAPS, "token": TOKENS, "length": LENGTHS, "label": np.array([2, -1, 0], np.int32), **more}
    return task, params, {name: jnp.asarray(value) for name, value in batch.items()}


@pytest.mark.parametrize("mask", [None, [1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
def test_an_answer_that_is_no_class_is_wrong_and_in_no_loss(mask, x64):
    task, params, batch = asked(**({} if mask is None else {"mask": np.array(mask, np.float32)}))
    counted = np.array(mask or [1.0, 1.0, 1.0]) > 0
    logits = [expected(task.model, params, n)[0] for n in range(3)]
    labels = np.asarray(batch["label"])
    nats = [-np.log(softmax(z))[label] for z, label in zip(logits, labels)]
    loss, (_, metrics) = jax.jit(functools.partial(task.loss, key=None, train=False))(params, {}, batch)
    known = [n for n in (0, 2) if counted[n]]
    assert loss.compute() == pytest.approx(np.mean([nats[n] for n in known]), rel=1e-10)
    right = [np.argmax(logits[n]) == labels[n] for n in np.flatnonzero(counted)]
    assert task.summarize(metrics) == pytest.approx({"loss": loss.compute(), "accuracy": np.mean(right)}, rel=1e-10)


def test_with_nothing_but_unknown_answers_nothing_moves(x64):
    task, params, batch = asked(label=np.full(3, -1, np.int32))

    def total(params):
        mean, _ = task.loss(params, {}, batch, key=jax.random.key(0), train=True)
        return mean.total, mean.count

    (value, count), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(params)
    assert float(value) == float(count) == 0
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient))
