"""Properties that hold for every model: one row in descriptors.py gets all of these."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import models
from cs231n_jax.models import base, functional, registry
from tests.descriptors import MODELS, images

QUICK = ("mlp", "resnet8", "wrn28_10")


def compiled_rows(slow, without=()):
    """The rows of a test that compiles a program for each; those of which `slow` is true are left to the slow run."""
    marked = [pytest.param(row, marks=pytest.mark.slow if slow(row) else (), id=str(row)) for row in MODELS]
    return pytest.mark.parametrize("row", [row for row in marked if row.id not in without])


# `repeated` makes the blocks of all families; these have plain layers, statistics, noise and several paths. By default
# plain layers, and statistics with noise.
REMAT_NAMES = ("alexnet", "stochastic_resnet110", "densenet40_12", "fractalnet20", *QUICK)
# With a gradient in training by default: statistics, noise, units that are off, and words about an image; that a layer
# passes a gradient on is tested with it in tests/ops.
TRAINED = (*QUICK, "stochastic_resnet110", "captioner_lstm")


def not_quick(row):
    return str(row) not in QUICK


def rows_of(names, quick):
    """The rows of these names; those not in `quick` are left to the slow run."""
    marked = [(row, () if str(row) in quick else pytest.mark.slow) for row in MODELS if str(row) in names]
    return pytest.mark.parametrize("row", [pytest.param(row, marks=marks, id=str(row)) for row, marks in marked])


# Googlenets compile for long: the one with LRN is in the test of gradients in inference alone.
light_rows = compiled_rows(lambda row: row.slow, without=("googlenet-lrn",))
few_rows = compiled_rows(not_quick)


@functools.cache
def drawn(row):
    x = jnp.asarray(images(row))
    return functional.init(row.model(), 0, x), x


@functools.cache
def trained(row):
    """Of one training batch: the names of the features in order, the features, the new state, the batch's moments."""
    (params, state), x = drawn(row)
    names, asking = [], {"batch_moments": {}} if "batch_stats" in state else {}

    def run(params, state, x, key):
        apply = functools.partial(functional.apply, row.model(), train=True, method="features")
        features, new = apply(params, {**state, **asking}, x, key=key)
        names.extend(features)
        return features, new, new.pop("batch_moments", {})

    return names, *jax.jit(run)(params, state, x, jax.random.key(0))


def build(row):
    """The model with drawn parameters, and as running statistics those of the batch, moved a little.

    With the statistics of a new model the signal vanishes in a GoogLeNet, whose kernels are drawn from N(0, 0.01²).
    """
    (params, state), x = drawn(row)

    def move(moments):
        return {"mean": moments["mean"] + 0.1 * jnp.sqrt(moments["var"]), "var": 1.1 * moments["var"]}

    moments = jax.tree.map(move, trained(row)[3], is_leaf=lambda node: "var" in node)
    return row.model(), params, {**state, "batch_stats": moments} if "batch_stats" in state else state, x


def cast(tree, dtype):
    """All but integers."""
    return jax.tree.map(lambda a: a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree)


def scores(row, x):
    """The shape of the logits: ten for each image or text, or for each token where a text is written."""
    text = x.shape if row.reads_tokens else (*x.shape[:1], 3)  # captions of three tokens, where none is given
    return (*(text if row.writes else x.shape[:1]), 10)


@functools.cache
def evaluated(row):
    """In inference: the names of the features in order, and the features."""
    model, params, state, x = build(row)
    names = []

    def run(params, state, x):
        features = functional.apply(model, params, state, x, method="features")[0]
        names.extend(features)
        return features

    return names, jax.jit(run)(params, state, x)


def weighted(logits):
    """One number of scores, to which each adds another share."""
    return jnp.sum(jnp.asarray(np.random.default_rng(1).standard_normal(logits.shape)) * jnp.sin(logits))


def test_every_family_has_a_row():
    families = {variant.module for variant in registry.VARIANTS.values()}
    assert families == {registry.VARIANTS[row.name].module for row in MODELS}


@light_rows
def test_output_is_finite_logits(row):
    _, _, _, x = build(row)
    features = evaluated(row)[1]
    assert features["logits"].shape == scores(row, x)
    assert all(bool(jnp.isfinite(value).all()) for value in features.values())
    assert len(np.unique(features["logits"])) > 10, "the logits should depend on the image"


@few_rows
def test_every_parameter_has_a_gradient_in_inference(row, x64):
    model, *arrays = build(row)
    params, state, x = cast(arrays, jnp.float64)

    # batch statistics make each batch's mean gradient vanish exactly, running ones do not; without any, a pass in
    # training has the auxiliary heads too
    train = not state

    def loss(params):
        features, _ = functional.apply(model, params, state, x, train=train, noise=False, method="features")
        return sum(weighted(value) for name, value in features.items() if name in heads)

    heads = ("logits", *model.auxiliary)
    grads = jax.jit(jax.grad(loss))(params)
    for path, g in jax.tree_util.tree_flatten_with_path(grads)[0]:
        name = functional.path_name(path)
        if train or base.stage_of(name) not in model.auxiliary:  # those are in the test of gradients in training
            assert float(jnp.abs(g).max()) > 1e-8, name


@compiled_rows(lambda row: str(row) not in TRAINED, without=("googlenet-lrn",))
def test_every_parameter_has_a_gradient_in_training(row, x64):
    """With batch statistics and noise: for one key or another, since each draw may switch parts off."""
    model, *arrays = build(row)
    params, state, x = cast(arrays, jnp.float64)

    def loss(params, key):
        features, _ = functional.apply(model, params, state, x, key=key, train=True, method="features")
        return sum(weighted(features[head]) for head in ("logits", *model.auxiliary))

    gradient, largest = jax.jit(jax.grad(loss)), None
    for key in jax.random.split(jax.random.key(0), 24):
        size = jax.tree.map(lambda g: float(jnp.abs(g).max()), gradient(params, key))
        largest = size if largest is None else jax.tree.map(max, largest, size)
        named = {functional.path_name(path): g for path, g in jax.tree_util.tree_flatten_with_path(largest)[0]}
        none = {path for path, g in named.items() if g <= 1e-8}
        if none == normalized_biases(named):
            return
    pytest.fail(f"without a gradient: {sorted(none ^ normalized_biases(named))}")


def normalized_biases(paths):
    """Biases in front of a batch norm, which takes out the batch's mean: torchvision's VGGs have them."""
    return {path for path in paths if path.endswith("/bias") and path.replace("/conv", "/norm") in set(paths) - {path}}


@rows_of(("mlp", "lenet5", "lenet5-1998", "resnet8"), quick=("mlp", "lenet5"))
def test_jit_equals_eager_and_evaluation_is_deterministic(row):
    model, params, state, x = build(row)
    eager, same_state = functional.apply(model, params, state, x)
    again, _ = functional.apply(model, params, state, x)
    assert np.array_equal(eager, again)
    assert jax.tree.structure(same_state) == jax.tree.structure(state)
    np.testing.assert_allclose(evaluated(row)[1]["logits"], eager, rtol=1e-5, atol=1e-5)


@few_rows
def test_bfloat16_stays_close(row):
    model, params, state, x = build(row)
    full = evaluated(row)[1]["logits"]
    # a model computes in the dtype of its input, or of its parameters where that is integers
    params, x = (cast(params, jnp.bfloat16), x) if row.reads_tokens else (params, cast(x, jnp.bfloat16))
    half = jax.jit(lambda x: functional.apply(model, params, state, x)[0])(x)
    assert half.dtype == jnp.bfloat16
    run = functools.partial(functional.apply, model, params, state, key=jax.random.key(0), train=True)
    _, new = jax.eval_shape(run, x)
    assert {leaf.dtype for leaf in jax.tree.leaves(new)} <= {jnp.dtype(jnp.float32)}
    # bf16 has 8 bits: 2^-8 a rounding, a few roundings a layer
    np.testing.assert_allclose(half.astype(jnp.float32), full, atol=0.15 * float(jnp.abs(full).max()))


@light_rows
def test_training_updates_statistics_and_only_those(row):
    (_, state), _ = drawn(row)
    _, features, new, _ = trained(row)
    assert all(bool(jnp.isfinite(value).all()) for value in features.values())
    assert jax.tree.structure(new) == jax.tree.structure(state)
    for old_leaf, new_leaf in zip(jax.tree.leaves(state), jax.tree.leaves(new)):
        assert old_leaf.shape == new_leaf.shape
        assert not np.array_equal(old_leaf, new_leaf)


@light_rows
def test_features_are_the_stages_then_the_logits(row):
    model, params, _, _ = build(row)
    assert [n for n in evaluated(row)[0] if n not in model.auxiliary] == [*model.stages, "pre_logits", "logits"]
    assert set(trained(row)[0]) == {*evaluated(row)[0], *model.auxiliary}
    owners = {base.stage_of(functional.path_name(path)) for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]}
    assert owners <= {*model.stages, "head", *model.auxiliary}


@compiled_rows(lambda row: row.slow)
def test_initialisation_depends_on_the_leaf_alone(row):
    ((params, state), x), model = drawn(row), row.model()
    again = functional.init(model, 0, x)
    other = functional.init(model, 1, x)
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves((params, state)), jax.tree.leaves(again)))
    kernels = [np.array_equal(a, b) for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(other[0])) if a.ndim > 1]
    assert not any(kernels)
    if row.options.get("variant") == "1998":
        return  # ten digits are all it knows
    wider = functional.init(row.model(num_classes=11), 0, x)[0]
    for (path, a), b in zip(jax.tree_util.tree_flatten_with_path(params)[0], jax.tree.leaves(wider)):
        if a.shape == b.shape:
            assert np.array_equal(a, b), functional.path_name(path)
        else:
            read = ("stem", "layer1/input", "decoder/embedding") if row.writes else ()
            assert functional.path_name(path).startswith(("head", "aux1/fc2", "aux2/fc2", *read))


@compiled_rows(lambda row: row.slow)
def test_specs_do_not_depend_on_the_short_cuts_of_initialisation(row):
    """The shapes that a model was initialised with are those that it computes with."""
    (params, _), x = drawn(row)
    batch = jax.ShapeDtypeStruct((2, *x.shape[1:]), x.dtype)
    model, key = row.model(), jax.random.key(0)
    state = functional.init(model, 0, batch)[1]
    out = jax.eval_shape(lambda x: functional.apply(model, params, state, x, key=key, train=True)[0], batch)
    assert out.shape == scores(row, batch)


@few_rows
def test_freezing_every_stage_leaves_nothing_random(row):
    model, params, state, x = build(row)
    frozen = row.model(frozen=model.stages)
    run = jax.jit(lambda p, s, x, key: functional.apply(frozen, p, s, x, key=key, train=True, method="features"))
    features, new = run(params, state, x, jax.random.key(0))
    last = model.stages[-1]
    np.testing.assert_allclose(features[last], evaluated(row)[1][last], rtol=1e-5, atol=1e-5)
    kept = dict(jax.tree_util.tree_flatten_with_path(state.get("batch_stats"))[0])
    for path, leaf in jax.tree_util.tree_flatten_with_path(new.get("batch_stats"))[0]:
        if not {"aux1", "aux2"} & set(functional.path_name(path).split("/")):
            assert np.array_equal(leaf, kept[path]), functional.path_name(path)


@rows_of(REMAT_NAMES, quick=("mlp", "stochastic_resnet110"))
def test_remat_changes_no_number(row):
    model, params, state, x = build(row)
    key = jax.random.key(3)

    def gradient(remat):
        run = functools.partial(functional.apply, row.model(remat=remat), key=key, train=True, method="features")

        def loss(p):
            features, new = run(p, state, x)
            return sum(jnp.sum(jnp.sin(features[head])) for head in ("logits", *model.auxiliary)), new

        return jax.jit(jax.grad(loss, has_aux=True))

    plain, again = gradient(False)(params), gradient(True)(params)
    for (path, a), b in zip(jax.tree_util.tree_flatten_with_path(plain)[0], jax.tree.leaves(again)):
        # the two programs fuse, and so round, differently
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-4 * float(jnp.abs(a).max()) + 1e-6, err_msg=str(path))


def test_frozen_stage_keeps_its_statistics():
    model = models.create("resnet8", width=4, frozen=("stem", "stage1"))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((4, 8, 8, 3)).astype(np.float32))
    params, state = functional.init(model, 0, x)
    run = jax.jit(lambda p, s, x: functional.apply(model, p, s, x, key=jax.random.key(0), train=True))
    _, new = run(params, state, x)
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
        ("resnet20", {"blocks": (9, 9, 9)}, "is fixed to .* by the name"),
        ("resnet20", {"frozen": ("stag1",)}, "did you mean 'stage1'"),
    ],
)
def test_wrong_names_are_named(name, options, message):
    with pytest.raises(ValueError, match=message):
        models.create(name, **options)


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
