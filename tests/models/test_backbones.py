"""A network as the eyes of another: its own numbers, without what lies behind the stage."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import inspect, models
from cs231n_jax.models import backbones, functional
from cs231n_jax.models.base import stage_of

SMALL = {"backbone": "resnet8", "stage": "stage2", "embedding": 4, "hidden": 5, "num_classes": 7}
IMAGES = np.random.default_rng(0).standard_normal((3, 8, 8, 3)).astype(np.float32)


@functools.cache
def drawn(stage="stage2"):
    model = models.create("captioner_rnn", **{**SMALL, "stage": stage})
    return model, *functional.init(model, 0, IMAGES)


def alone(params, state):
    """The whole network with the drawn parameters, and others behind the stage."""
    network = models.create("resnet8")
    own, statistics = functional.init(network, 1, IMAGES)
    return (
        network,
        own | params["backbone"],
        {"batch_stats": statistics["batch_stats"] | state["batch_stats"]["backbone"]},
    )


@pytest.mark.parametrize("train", [False, True])
def test_it_says_what_the_network_says_and_keeps_its_statistics(train):
    model, params, state = drawn()
    run = jax.jit(functools.partial(functional.apply, train=train, noise=False, method="features"), static_argnums=0)
    features, new = run(model, params, state, IMAGES)
    network, *variables = alone(params, state)
    wanted, moved = run(network, *variables, IMAGES)
    np.testing.assert_allclose(features["backbone"], wanted["stage2"].reshape(3, 16, 32), rtol=1e-6, atol=1e-6)
    for name, tree in new["batch_stats"]["backbone"].items():
        for ours, theirs in zip(jax.tree.leaves(tree), jax.tree.leaves(moved["batch_stats"][name]), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    same = jax.tree.map(np.array_equal, new, state)
    assert all(jax.tree.leaves(same)) != train


def test_what_lies_behind_the_stage_is_not_there():
    for stage, parts in (("stem", {"stem"}), ("stage2", {"stem", "stage1", "stage2"})):
        _, params, state = drawn(stage)
        for tree in (params, state["batch_stats"]):
            assert {stage_of(name) for name in tree["backbone"]} == parts
    _, params, _ = drawn("pre_logits")
    assert {stage_of(name) for name in params["backbone"]} == {"stem", "stage1", "stage2", "stage3"}


def test_moments_are_left_where_they_are_asked_for():
    model, params, state = drawn()
    run = jax.jit(functools.partial(functional.apply, train=True, noise=False), static_argnums=0)
    _, new = run(model, params, {**state, "batch_moments": {}}, IMAGES)
    network, own, statistics = alone(params, state)
    _, wanted = run(network, own, {**statistics, "batch_moments": {}}, IMAGES)
    assert set(new["batch_moments"]["backbone"]) == set(state["batch_stats"]["backbone"])
    for name, tree in new["batch_moments"]["backbone"].items():
        for ours, theirs in zip(jax.tree.leaves(tree), jax.tree.leaves(wanted["batch_moments"][name]), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_its_layers_are_in_the_table():
    model, *_ = drawn()
    layers = {layer.path: layer for layer in inspect.layers(model, jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32))}
    own = {f"backbone/{layer.path}": layer for layer in inspect.layers(models.create("resnet8"), IMAGES[:1])}
    seen = {path for path in layers if path.startswith("backbone/")}
    assert seen == {path for path in own if stage_of(path.removeprefix("backbone/")) in ("stem", "stage1", "stage2")}
    assert all(layers[path].multiply_adds == own[path].multiply_adds for path in seen)


def test_features_that_are_given_are_places():
    vector, maps = np.ones((2, 6), np.float32), np.ones((2, 3, 4, 5), np.float32)
    for given, shape in ((vector, (1, 6)), (maps, (12, 5))):
        model = models.create("attention_captioner", hidden=4, embedding=3, num_classes=7)
        params, _ = functional.init(model, 0, given)
        run = functools.partial(functional.apply, model, method="features")
        features, _ = jax.eval_shape(run, params, {}, given)
        assert features["alignment"].shape == (2, 3, shape[0])
        assert params["alignment"]["kernel"].shape[0] == shape[1]
        assert "backbone" not in features


@pytest.mark.parametrize(
    ("network", "stage", "shape", "grid"),
    [
        ("none", "", (2, 3, 5, 7), (3, 5)),
        ("none", "", (2, 7), (1, 1)),
        ("lenet5", "stage1", (2, 32, 48, 3), (14, 22)),  # 5×5 without padding, and every other place
        ("lenet5", "pre_logits", (2, 32, 32, 3), (1, 1)),
    ],
)
def test_places_lie_in_rows_and_columns(network, stage, shape, grid):
    assert backbones.grid(network, stage, shape) == grid


def test_a_frozen_backbone_keeps_its_statistics():
    _, params, state = drawn()
    frozen = models.create("captioner_rnn", **SMALL, frozen=("backbone",))
    run = jax.jit(functools.partial(functional.apply, frozen, train=True, noise=False))
    _, new = run(params, state, IMAGES)
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, new, state)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "resnet_20"}, r"backbone='resnet_20' of model 'vqa_product' .*did you mean 'resnet20'"),
        ({"backbone": "captioner_rnn"}, "must be 'none' or a network of images"),
        (
            {"backbone": "resnet8", "stage": "stage_1"},
            r"has no stage 'stage_1' \(did you mean 'stage1'\?\); it has stem",
        ),
        ({"backbone": "resnet8"}, "has no stage ''"),
        ({"stage": "stage1"}, "stage='stage1' of model 'vqa_product' must be '' where backbone is 'none'"),
        ({"embedding": 0}, "embedding=0"),
    ],
)
def test_what_there_is_not_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        models.create("vqa_product", **options)


def test_images_that_do_not_fit_are_named():
    lenet = models.create("vqa_product", backbone="lenet5", stage="stage1")
    with pytest.raises(ValueError, match=r"^vqa_product takes images of at least 16×16, got 9×9"):
        functional.init(lenet, 0, jnp.zeros((2, 9, 9, 3)))
    with pytest.raises(ValueError, match=r"^vqa_product takes features \[N, D\] or .* got shape \[2, 3, 4\]"):
        functional.init(models.create("vqa_product"), 0, jnp.zeros((2, 3, 4)))


def test_a_backbone_that_lacks_parameters_is_named():
    model, params, state = drawn()
    lacking = {**params, "backbone": {name: tree for name, tree in params["backbone"].items() if name != "stem_conv"}}
    with pytest.raises(ValueError, match="params lack backbone/stem_conv"):
        functional.apply(model, lacking, state, jnp.asarray(IMAGES))
