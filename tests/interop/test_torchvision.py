"""torchvision's models, filled with a formula, give the same logits here; export and import are inverse."""

import functools
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import models
from cs231n_jax.interop import names, torchvision
from cs231n_jax.models import functional, registry
from tests.golden import pattern
from tests.rows import one_in

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "torchvision.npz")
LOGITS = [key for key in GOLDEN.files if re.fullmatch(r"\w+/\d+", key)]
DEFAULT = ("squeezenet/224", "resnet18/64")  # the others hold tens of millions of weights or compile for long


def state_dict(name, **options):
    """What the pattern fills torch's model with, for the shapes of ours."""
    specs = functional.specs(models.create(name, **options), image(224))
    flat = jax.tree_util.tree_flatten_with_path(specs, is_leaf=lambda x: hasattr(x, "scale"))[0]
    table = names.NAMES[name]
    paths = [(functional.path_name(path).split("/", 1)[1], spec.shape) for path, spec in flat]
    return {table.torch_name(path): fill(table.torch_name(path), shape) for path, shape in paths}


def fill(name, shape):
    return pattern.fill(name, torchvision._torch_shape(shape))


def image(side):
    return jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)


@functools.cache
def images(side):
    return jnp.asarray(pattern.images(2, side).transpose(0, 2, 3, 1))


def assert_close(actual, expected):
    """Within 1e-4 of the largest logit: both sides add up in float32, in different orders."""
    np.testing.assert_allclose(np.asarray(actual)[:, ::8], expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_golden_values_cover_every_table_of_torchvision():
    cifar = {f"resnet{depth}" for depth in (8, 14, 20, 32, 44, 56, 110, 1202)}
    elsewhere = {"squeezenet1_0"}  # its golden values are those of its authors, in test_caffe.py
    assert {key.split("/")[0] for key in LOGITS} == set(names.NAMES) - cifar - elsewhere
    families = {registry.VARIANTS[key.split("/")[0]].module for key in LOGITS if key.endswith("/224")}
    assert families == {registry.VARIANTS[name].module for name in names.NAMES}


@pytest.mark.parametrize("key", [pytest.param(k, marks=() if k in DEFAULT else pytest.mark.slow) for k in LOGITS])
def test_logits_are_those_of_torchvision(key):
    name, side = key.split("/")
    params, state = torchvision.load(name, state_dict(name))
    run = jax.jit(lambda p, s, x: functional.apply(models.create(name), p, s, x)[0])
    assert_close(run(params, state, images(int(side))), GOLDEN[key])


@pytest.mark.slow
def test_auxiliary_logits_are_those_of_torchvision():
    """In training mode: batch statistics in all layers, no dropout."""
    params, state = torchvision.load("googlenet", state_dict("googlenet"))
    model = models.create("googlenet")
    run = jax.jit(lambda p, s, x: functional.apply(model, p, s, x, train=True, noise=False, method="features")[0])
    features = run(params, state, images(224))
    for head in ("logits", *model.auxiliary):
        assert_close(features[head], GOLDEN[f"googlenet/224/train/{head}"])


NARROW = {
    "alexnet": {"scale": 0.0625, "hidden": 5},
    "vgg13": {"width": 2, "hidden": 5},
    "vgg16_bn": {"width": 2, "hidden": 5},
    "googlenet": {"scale": 0.0625},
    "resnet18": {"width": 3},
    "wide_resnet50_2": {"width": 3},
    "densenet169": {"growth": 3, "stem_width": 5},
    "squeezenet": {"scale": 0.0625},
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in ("alexnet", "vgg16_bn", "resnet18") else pytest.mark.slow) for n in NARROW],
)
def test_export_then_load_is_the_identity(name):
    options = {**NARROW[name], "num_classes": 7}
    variables = functional.init(models.create(name, **options), 0, image(224))
    again = torchvision.load(name, torchvision.export(name, *variables, **options), **options)
    assert jax.tree.structure(again) == jax.tree.structure(variables)
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(variables), jax.tree.leaves(again)))


@pytest.mark.parametrize("name", one_in(3, [(name,) for name in sorted(names.NAMES)]))
def test_every_leaf_has_a_torch_name_of_its_own(name):
    specs = functional.specs(models.create(name), image(registry.VARIANTS[name].input_shape[0]))
    flat = jax.tree_util.tree_flatten_with_path(specs, is_leaf=lambda x: hasattr(x, "scale"))[0]
    found = [names.NAMES[name].torch_name(functional.path_name(path).split("/", 1)[1]) for path, _ in flat]
    assert len(set(found)) == len(found)


def test_flattened_maps_change_their_order():
    """torch flattens channels, rows, columns; we rows, columns, channels."""
    weight = np.arange(2 * 3 * 49, dtype=np.float32).reshape(2, 3, 7, 7)
    kernel = torchvision._from_torch(weight.reshape(2, -1), 7)
    maps = np.random.default_rng(0).standard_normal((3, 7, 7)).astype(np.float32)
    ours, theirs = maps.transpose(1, 2, 0).reshape(-1) @ kernel, weight.reshape(2, -1) @ maps.reshape(-1)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    np.testing.assert_array_equal(torchvision._to_torch(kernel, 7), weight.reshape(2, -1))


def test_published_densenet_files_have_older_names():
    options = {"growth": 3, "stem_width": 5}
    variables = functional.init(models.create("densenet121", **options), 0, image(224))
    exported = torchvision.export("densenet121", *variables, **options)
    older = {re.sub(r"(denselayer\d+\.(norm|conv))([12])", r"\1.\3", key): value for key, value in exported.items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in older
    again = torchvision.load("densenet121", older, **options)
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(variables), jax.tree.leaves(again)))


def test_a_key_given_twice_is_refused():
    weights = state_dict("resnet18", width=4)
    with pytest.raises(ValueError, match=r"hold fc.bias twice, once as module.fc.bias"):
        torchvision.load("resnet18", {**weights, "module.fc.bias": weights["fc.bias"]}, width=4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.astype(np.complex64), r"^bn1\.weight is complex \(complex64\)"),
        (
            lambda w: np.where(np.arange(len(w)) < 3, np.nan, w),
            r"^bn1\.weight holds 3 of 4 numbers that are not finite",
        ),
        (lambda w: np.full_like(w, np.inf), r"^bn1\.weight holds 4 of 4 numbers"),
        (lambda w: np.full(w.shape, 1e300), r"^bn1\.weight holds 4 of 4 numbers that are not finite in float32"),
        (lambda w: np.full(w.shape, "one"), r"^bn1\.weight is of type <U3"),
    ],
)
def test_weights_that_no_model_computes_with_are_named(change, message):
    options = {"width": 4, "num_classes": 3}
    weights = state_dict("resnet18", **options)
    with pytest.raises(ValueError, match=message):
        torchvision.load("resnet18", {**weights, "bn1.weight": change(weights["bn1.weight"])}, **options)


def test_export_refuses_what_is_not_finite():
    options = {"width": 4, "num_classes": 3}
    params, state = torchvision.load("resnet18", state_dict("resnet18", **options), **options)
    params["head"]["bias"] = params["head"]["bias"].at[0].set(jnp.nan)
    with pytest.raises(ValueError, match=r"^params/head/bias holds 1 of 3 numbers"):
        torchvision.export("resnet18", params, state, **options)


def test_counters_of_batches_belong_to_a_batch_norm():
    options = {"width": 4, "num_classes": 3}
    weights, count = state_dict("resnet18", **options), np.array(7)
    known = {"bn1.num_batches_tracked": count, "module.layer1.0.bn1.num_batches_tracked": count}
    torchvision.load("resnet18", {**weights, **known}, **options)
    for stray in ("foo.num_batches_tracked", "conv1.num_batches_tracked", "num_batches_tracked"):
        with pytest.raises(ValueError, match=f"no place for {stray}"):
            torchvision.load("resnet18", {**weights, **known, stray: count}, **options)


def test_export_checks_shapes():
    params, model_state = torchvision.load("resnet18", state_dict("resnet18", width=4), width=4)
    with pytest.raises(ValueError, match=r"params/head/bias has shape \[1000\], .* needs \[5\]"):
        torchvision.export("resnet18", params, model_state, width=4, num_classes=5)


def test_learned_slopes_have_no_place_in_torch_s_networks():
    model, image = models.create("resnet8"), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    weights = torchvision.export("resnet8", *functional.init(model, 0, image))
    torchvision.load("resnet8", weights, activation="elu")
    with pytest.raises(ValueError, match=r"nothing like stage1_block1/norm1/prelu/slope: take the model with its own"):
        torchvision.load("resnet8", weights, activation="prelu")


def test_mismatches_are_named():
    options = NARROW["googlenet"]
    variables = functional.init(models.create("googlenet", **options), 0, image(224))
    exported = torchvision.export("googlenet", *variables, **options)
    with pytest.raises(
        ValueError, match=r"aux1\.fc2\.bias has shape \[1000\], googlenet needs \[10\] for aux1/fc2/bias"
    ):
        torchvision.load("googlenet", exported, **options, num_classes=10)
    with pytest.raises(ValueError, match=r"no place for aux1.conv.bn.bias \[8\].*aux_heads=False"):
        torchvision.load("googlenet", exported, **options, aux_heads=False)
    without = {k: v for k, v in exported.items() if k[:3] != "aux"}
    with pytest.raises(ValueError, match=r"lack aux1\..*aux_heads=False"):
        torchvision.load("googlenet", without, **options)
    params, _ = torchvision.load("googlenet", without, **options, aux_heads=False)
    assert "aux1" not in params
