"""The options `activation` and `ghost_batch` in every family: what they change, where their parameters are."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import models
from cs231n_jax.models import base, functional, registry
from cs231n_jax.ops import activations
from tests.descriptors import MODELS, images
from tests.rows import one_in

ROWS = {str(row): row for row in MODELS}
ACTIVATIONS = activations.NAMES
# One small member of every family; of VGG and of the residual networks also the other way to the activation.
MEMBERS = (
    "mlp",
    "lenet5",
    "lenet5-1998",
    "alexnet",
    "vgg11",
    "vgg13_bn_cifar",
    "nin_cifar",
    "googlenet_cifar",
    "resnet8",
    "stochastic_resnet110",
    "wrn28_10",
    "densenet40_12",
    "fractalnet20",
    "squeezenet",
    "convnet",
    "convnet-fractional",
    "fmp_digits",
    "lrcn",
)
# Every kind of place is there, but once, for each program has to be compiled six times.
SHALLOW = {
    "googlenet_cifar": {"modules": ("stage4_a", "stage4_d"), "aux_heads": True},
    "resnet8": {"blocks": (1, 1)},
    "stochastic_resnet110": {"blocks": (1, 1)},
    "densenet40_12": {"blocks": (1, 1), "bottleneck": True},
    "fractalnet20": {"widths": (4,), "columns": 2, "drop_rates": (0.1,)},
}
ROWS |= {name: ROWS[name]._replace(options={**ROWS[name].options, **options}) for name, options in SHALLOW.items()}
# With every activation; the others with one that has parameters of its own and one that has none.
EVERY = ("mlp", "lenet5-1998", "resnet8")
OTHERS = ("elu", "prelu")
PAIRS = [(name, a) for name in MEMBERS for a in (ACTIVATIONS if name in EVERY else OTHERS) if a != "relu"]

members = pytest.mark.parametrize("name", one_in(3, [(name,) for name in MEMBERS]))


def slopes(params):
    """path -> leaf of the learned slopes."""
    paths = {functional.path_name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]}
    return {path: leaf for path, leaf in paths.items() if path.endswith("slope")}


def shapes(row, **options):
    return functional.shapes(row.model(**options), jax.ShapeDtypeStruct(row.input_shape, jnp.float32))


@functools.cache
def run(name, activation):
    """Of one batch with batch statistics and without noise, in float64: the logits and the gradient, by path."""
    row = ROWS[name]
    model, x = row.model(activation=activation), jnp.asarray(images(row, np.float64))
    wide = functools.partial(jnp.asarray, dtype=jnp.float64)
    params, state = jax.tree.map(wide, functional.init(model, 0, x))

    def weighed(scores):
        return jnp.sum(np.random.default_rng(1).standard_normal(scores.shape) * jnp.sin(scores))

    def loss(params):
        features, _ = functional.apply(model, params, state, x, train=True, noise=False, method="features")
        return sum(weighed(features[head]) for head in ("logits", *model.auxiliary)), features

    gradient, features = jax.jit(jax.grad(loss, has_aux=True))(params)
    sizes = jax.tree.map(lambda g: float(jnp.abs(g).max()), gradient)
    named = {functional.path_name(path): size for path, size in jax.tree_util.tree_flatten_with_path(sizes)[0]}
    return np.asarray(features["logits"]), named


def is_quick(name, activation):
    return name == "mlp" or (name == "resnet8" and activation in OTHERS)


@pytest.mark.parametrize(
    ("name", "activation"),
    [pytest.param(*pair, marks=() if is_quick(*pair) else pytest.mark.slow) for pair in PAIRS],
)
def test_every_family_obeys_the_option(name, activation, x64):
    logits, gradient = run(name, activation)
    assert np.isfinite(logits).all()
    assert np.abs(logits - run(name, "relu")[0]).max() > 1e-9 * np.abs(logits).max()
    # A bias that batch norm takes out again has a gradient of roundings, 1e-16 of the others'; behind the 17 sigmoids
    # of a squeezenet 2e-11 of it are left.
    least = 1e-13 * max(gradient.values())
    without = {path for path, size in gradient.items() if not size > least}
    assert without == {path for path in gradient if in_front_of_batch_norm(path, gradient)}


def in_front_of_batch_norm(path, paths):
    return path.endswith("/bias") and "/conv" in path and path.replace("/conv", "/norm") in paths


def test_every_family_has_a_member():
    assert {registry.VARIANTS[ROWS[name].name].module for name in MEMBERS} == {
        row.module for row in registry.VARIANTS.values() if "activation" not in row.options
    }


@members
def test_learned_slopes_have_a_name_for_every_place(name, monkeypatch):
    """As many sets of slopes as places where another activation is computed, one number a channel, named by stages."""
    row, places = ROWS[name], []

    def counted(x):
        places.append(x.shape[-1])
        return activations.elu(x)

    model, (params, state) = row.model(activation="elu"), shapes(row, activation="elu")
    monkeypatch.setitem(activations._BY_NAME, "elu", counted)
    x = jax.ShapeDtypeStruct(row.input_shape, jnp.float32)
    call = functools.partial(functional.apply, model, train=True, noise=False)
    jax.eval_shape(call, params, state, x)
    learned, _ = shapes(row, activation="prelu")
    found = slopes(learned)
    assert sorted(leaf.shape for leaf in found.values()) == sorted((width,) for width in places)
    assert {base.stage_of(path) for path in found} <= {*model.stages, "head", *model.auxiliary}
    plain, _ = shapes(row, activation="relu")
    names = {functional.path_name(path) for path, _ in jax.tree_util.tree_flatten_with_path(learned)[0]}
    assert names - set(found) == {functional.path_name(p) for p, _ in jax.tree_util.tree_flatten_with_path(plain)[0]}


def test_slopes_start_at_a_quarter():
    model = models.create("resnet8", width=4, activation="prelu")
    params, _ = functional.init(model, 0, jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32))
    assert all((slope == 0.25).all() for slope in slopes(params).values())


def test_a_prelu_of_slope_zero_is_the_relu():
    """The same convolutions and statistics, so that the two differ in nothing but how they are computed."""
    row = ROWS["resnet8"]
    x = jnp.asarray(images(row))
    params, state = functional.init(row.model(activation="prelu"), 0, x)
    zero = lambda path, a: jnp.zeros_like(a) if functional.path_name(path).endswith("slope") else a  # noqa: E731
    zeroed = jax.tree_util.tree_map_with_path(zero, params)
    learned, _ = jax.jit(functools.partial(functional.apply, row.model(activation="prelu")))(zeroed, state, x)
    params, state = functional.init(row.model(), 0, x)
    plain, _ = jax.jit(functools.partial(functional.apply, row.model()))(params, state, x)
    np.testing.assert_allclose(learned, plain, rtol=1e-5, atol=1e-5 * float(jnp.abs(plain).max()))


def test_slopes_have_the_same_names_with_and_without_stochastic_depth():
    row = ROWS["stochastic_resnet110"]
    gated, plain = (shapes(row, activation="prelu", depth_drop_rate=rate)[0] for rate in (0.5, 0.0))
    assert gated == plain


def test_the_standard_activation_of_lenet_is_that_of_its_variant():
    x = jnp.asarray(images(ROWS["lenet5"]))

    def units(variant, activation):
        model = models.create("lenet5", padding=2, variant=variant, activation=activation)
        params, state = functional.init(model, 0, x)
        return jax.jit(functools.partial(functional.apply, model, method="features"))(params, state, x)[0]["fc1"]

    assert np.array_equal(units("modern", "standard"), units("modern", "relu"))
    # of small sums: 1.7159 · 2/3 = 1.144 times as large in each of the five layers before
    assert np.abs(units("1998", "standard")).max() > 1.5 * np.abs(units("1998", "tanh")).max()


def test_a_frozen_stage_keeps_the_activation():
    model = models.create("resnet8", frozen=("stage1",), activation="elu", ghost_batch=2)
    assert model.mode("stage1", True, True) == base.Mode(False, False, "elu", 2)
    assert model.mode("stage2", True, True) == base.Mode(True, True, "elu", 2)


# --- ghost batches ---


def test_ghost_batches_are_batches_side_by_side():
    row = ROWS["resnet8"]
    x = jnp.asarray(images(row))
    params, state = functional.init(row.model(), 0, x)
    train = functools.partial(functional.apply, train=True, noise=False)
    logits, new = jax.jit(functools.partial(train, row.model(ghost_batch=2)))(params, state, x)
    alone = jax.jit(functools.partial(train, row.model()))
    parts = [alone(params, state, x[part]) for part in (slice(0, 2), slice(2, 4))]
    np.testing.assert_allclose(logits, jnp.concatenate([part for part, _ in parts]), rtol=1e-5, atol=1e-5)
    mean = jax.tree.map(lambda a, b: (a + b) / 2, *(state for _, state in parts))
    for a, b in zip(jax.tree.leaves(new), jax.tree.leaves(mean), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    whole, _ = alone(params, state, x)
    assert not np.allclose(logits, whole, rtol=1e-2)


def test_moments_that_are_asked_for_are_those_of_the_whole_batch():
    """Statistics are re-estimated from these, so the variance between ghost batches belongs to them."""
    model = models.create("resnet8", width=4)
    x = jnp.asarray(images(ROWS["resnet8"])) * jnp.arange(1.0, 5.0).reshape(4, 1, 1, 1)
    params, state = functional.init(model, 0, x)
    asking = {**state, "batch_moments": {}}
    moments = {}
    for ghost in (0, 2):
        model = models.create("resnet8", width=4, ghost_batch=ghost)
        run = jax.jit(functools.partial(functional.apply, model, train=True, noise=False))
        moments[ghost] = run(params, asking, x)[1]["batch_moments"]["stem_norm"]
    for name in ("mean", "var"):
        np.testing.assert_allclose(moments[2][name], moments[0][name], rtol=1e-5, atol=1e-6)


def test_ghost_batches_are_for_training_alone():
    row = ROWS["resnet8"]
    variables, x = shapes(row), jax.ShapeDtypeStruct((3, *row.input_shape[1:]), jnp.float32)
    programs = [
        str(jax.make_jaxpr(functools.partial(functional.apply, row.model(ghost_batch=size)))(*variables, x))
        for size in (0, 2)
    ]
    assert programs[0] == programs[1]


def test_ghost_batches_that_do_not_divide_the_batch_are_named():
    row = ROWS["resnet8"]
    params, state = shapes(row)
    train = functools.partial(functional.apply, row.model(ghost_batch=3), train=True, noise=False)
    with pytest.raises(ValueError, match="ghost batches of 3 do not divide a batch of 4 examples: choose a divisor"):
        jax.eval_shape(train, params, state, jax.ShapeDtypeStruct(row.input_shape, jnp.float32))


@pytest.mark.parametrize(
    "row", one_in(5, [(row,) for row in MODELS if "ghost_batch" in models.options(row.name)]), ids=str
)
def test_a_model_without_batch_norm_refuses_ghost_batches(row):
    given = {key: value for key, value in row.options.items() if key in models.options(row.name)}
    if shapes(row)[1]:
        assert models.create(row.name, **given, ghost_batch=2).ghost_batch == 2
        return
    with pytest.raises(ValueError, match=rf"^ghost_batch=2 .* model '{row.name}' with these options has none"):
        models.create(row.name, **given, ghost_batch=2)
