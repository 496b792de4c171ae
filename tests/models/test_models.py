"""Properties that hold for every model: one row in descriptors.py gets all of these."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import models
from cs231n_jax.models import functional, registry
from tests.descriptors import MODELS, images

rows = pytest.mark.parametrize("row", MODELS, ids=lambda row: row.name)


def build(row, dtype=np.float32):
    model = models.create(row.name, **row.options)
    x = jnp.asarray(images(row, dtype))
    params, state = functional.init(model, 0, x)
    if dtype == np.float64:
        params, state = jax.tree.map(lambda a: a.astype(jnp.float64), (params, state))
    return model, params, state, x


def test_every_family_has_a_row():
    families = {variant.module for variant in registry.VARIANTS.values()}
    assert families == {registry.VARIANTS[row.name].module for row in MODELS}


@pytest.mark.parametrize("name", models.names())
def test_parameter_count_is_the_published_one(name):
    assert models.parameter_count(name) == registry.VARIANTS[name].parameters


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        ("resnet20", {"shortcut": "B"}, 272_474),
        ("resnet110", {"shortcut": "B"}, 1_730_714),
        ("resnet20", {"num_classes": 100}, 275_572),
        ("resnet110", {"num_classes": 100}, 1_733_812),
    ],
)
def test_parameter_count_with_options(name, options, count):
    assert models.parameter_count(name, **options) == count


@rows
def test_output_is_finite_logits_and_evaluation_is_deterministic(row):
    model, params, state, x = build(row)
    first, same_state = functional.apply(model, params, state, x)
    again, _ = functional.apply(model, params, state, x)
    assert first.shape == (x.shape[0], 10)
    assert bool(jnp.isfinite(first).all())
    assert np.array_equal(first, again)
    assert jax.tree.structure(same_state) == jax.tree.structure(state)


@rows
def test_every_parameter_has_a_gradient(row, x64):
    model, params, state, x = build(row, np.float64)
    weights = jnp.asarray(np.random.default_rng(1).standard_normal((x.shape[0], 10)))
    # batch statistics make each batch's mean gradient vanish exactly, running ones do not
    state = jax.tree.map(lambda a: a + 0.1, state)

    def loss(params):
        logits, _ = functional.apply(model, params, state, x)
        return jnp.sum(weights * jnp.sin(logits))

    grads = jax.jit(jax.grad(loss))(params)
    for path, g in jax.tree_util.tree_flatten_with_path(grads)[0]:
        assert float(jnp.abs(g).max()) > 1e-8, functional.path_name(path)


@rows
def test_jit_equals_eager(row):
    model, params, state, x = build(row)
    eager, _ = functional.apply(model, params, state, x)
    jitted = jax.jit(lambda p, s, x: functional.apply(model, p, s, x)[0])(params, state, x)
    np.testing.assert_allclose(jitted, eager, rtol=1e-5, atol=1e-5)


@rows
def test_bfloat16_stays_close(row):
    model, params, state, x = build(row)
    full, _ = functional.apply(model, params, state, x)
    half = jax.jit(lambda x: functional.apply(model, params, state, x)[0])(x.astype(jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    # bf16 has 8 bits: 2^-8 a rounding, a few roundings a layer
    np.testing.assert_allclose(half.astype(jnp.float32), full, atol=0.15 * float(jnp.abs(full).max()))


@rows
def test_training_updates_statistics_and_only_those(row):
    model, params, state, x = build(row)
    _, new = functional.apply(model, params, state, x, key=jax.random.key(0), train=True)
    assert jax.tree.structure(new) == jax.tree.structure(state)
    for old_leaf, new_leaf in zip(jax.tree.leaves(state), jax.tree.leaves(new)):
        assert old_leaf.shape == new_leaf.shape
        assert not np.array_equal(old_leaf, new_leaf)


@rows
def test_features_end_in_the_logits(row):
    model, params, state, x = build(row)
    features, _ = functional.apply(model, params, state, x, method="features")
    logits, _ = functional.apply(model, params, state, x)
    assert list(features)[-2:] == ["pre_logits", "logits"]
    np.testing.assert_array_equal(features["logits"], logits)


@rows
def test_initialisation_depends_on_the_leaf_alone(row):
    model, params, state, x = build(row)
    again = functional.init(model, 0, x)
    other = functional.init(model, 1, x)
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves((params, state)), jax.tree.leaves(again)))
    wider = models.create(row.name, **{**row.options, "num_classes": 11})
    for (path, a), b in zip(
        jax.tree_util.tree_flatten_with_path(params)[0], jax.tree.leaves(functional.init(wider, 0, x)[0])
    ):
        if not functional.path_name(path).startswith("head"):
            assert np.array_equal(a, b), functional.path_name(path)
    kernels = [
        np.array_equal(a, b) for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(other[0])) if a.ndim > 1
    ]
    assert not any(kernels)


def test_frozen_stage_keeps_its_statistics():
    model = models.create("resnet8", width=4, frozen=("stem", "stage1"))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((4, 8, 8, 3)).astype(np.float32))
    params, state = functional.init(model, 0, x)
    _, new = functional.apply(model, params, state, x, key=jax.random.key(0), train=True)
    changed = {
        name
        for name in state["batch_stats"]
        if not np.array_equal(
            jax.tree.leaves(state["batch_stats"][name])[0], jax.tree.leaves(new["batch_stats"][name])[0]
        )
    }
    assert changed == {"stage2_block1", "stage3_block1"}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet_20", {}, "did you mean 'resnet20'"),
        ("resnet20", {"shortcat": "B"}, "did you mean 'shortcut'"),
        ("resnet20", {"depth": 56}, "is fixed to 20 by the name"),
    ],
)
def test_wrong_names_are_named(name, options, message):
    with pytest.raises(ValueError, match=message):
        models.create(name, **options)


@pytest.mark.parametrize(
    ("name", "options", "shape", "message"),
    [
        ("resnet20", {"shortcut": "C"}, (1, 8, 8, 3), "neither 'A'"),
        ("lenet5", {}, (1, 8, 8, 1), "at least 16"),
    ],
)
def test_wrong_values_are_named(name, options, shape, message):
    with pytest.raises(ValueError, match=message):
        functional.init(models.create(name, **options), 0, jax.ShapeDtypeStruct(shape, jnp.float32))


def test_a_key_is_required_exactly_when_noise_is_on():
    row = MODELS[0]
    model, params, state, x = build(row)
    with pytest.raises(ValueError, match="noise is on"):
        functional.apply(model, params, state, x, train=True)
    with pytest.raises(ValueError, match="noise is off"):
        functional.apply(model, params, state, x, key=jax.random.key(0))


def test_missing_and_misshapen_parameters_are_named():
    model, params, state, x = build(MODELS[0])
    lacking = {k: v for k, v in params.items() if k != "head"}
    with pytest.raises(ValueError, match="params lack head/kernel"):
        functional.apply(model, lacking, state, x)
    wrong = {**params, "head": {**params["head"], "kernel": jnp.zeros((2, 3))}}
    with pytest.raises(ValueError, match="head/kernel with shape"):
        functional.apply(model, wrong, state, x)
