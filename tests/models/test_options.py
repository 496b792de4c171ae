"""What is refused: options of a wrong type, out of range or at odds with each other; batches that are none."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import models
from cs231n_jax.models import functional, registry
from cs231n_jax.ops import activations
from tests.descriptors import MODELS
from tests.rows import one_in


@pytest.mark.parametrize("name", models.names())
def test_every_option_has_a_type_that_is_checked(name):
    """The defaults pass; nothing of another type does, whatever the option."""
    free = models.options(name)
    model = models.create(name, **free)
    assert {key: getattr(model, key) for key in free} == free
    for key in free:
        for wrong in (None, {}, "no such value", b"1", 1.5j, float("nan"), [None], -1, -0.5, True):
            if isinstance(wrong, bool) and isinstance(free[key], bool):
                continue
            with pytest.raises(ValueError, match=rf"^option {key}=.* of model '{name}' must be|has no stage"):
                models.create(name, **{key: wrong})


@pytest.mark.parametrize(
    ("name", "option", "value", "message"),
    [
        (
            "resnet20",
            "num_classes",
            "abc",
            r"'abc' of model 'resnet20' must be an integer from 1 to .* as 10",
        ),
        ("resnet20", "num_classes", 1.5, "must be an integer"),
        ("resnet20", "num_classes", 1.0, "must be an integer"),
        ("resnet20", "width", None, "must be an integer"),
        ("resnet20", "width", 0, "must be an integer from 1"),
        ("resnet20", "width", 10**30, "must be an integer from 1 to 16,777,216"),
        ("resnet20", "frozen", 5, r"must be a tuple with each element a string, such as \('stage1',\)"),
        ("resnet20", "frozen", "stage1", r"frozen='stage1' .* must be a tuple .* \('stage1',\)"),
        ("resnet20", "zero_init_last", "maybe", "must be True or False"),
        ("resnet20", "zero_init_last", 1, "must be True or False"),
        ("resnet20", "remat", "yes", "must be True or False"),
        ("resnet20", "shortcut", "C", "must be one of 'A', 'B'"),
        ("resnet20", "depth_gate", "rows", "must be one of 'batch', 'row'"),
        ("resnet20", "depth_drop_rate", 2.0, "depth_drop_rate=2.0 .* must be a number from 0 to 1"),
        ("resnet20", "depth_drop_rate", "0.5", "must be a number"),
        ("resnet50", "version", "v2", "'v1.5'"),
        ("preresnet110", "shortcut", "C", "'A', 'B'"),
        ("wrn28_10", "drop_rate", 1.0, "must be a number from 0 and below 1"),
        ("googlenet", "kernel5", 4, "must be one of 1, 3, 5, 7"),
        ("googlenet", "norm", "none", "'lrn'"),
        ("googlenet", "aux_weight", -0.1, "from 0 to"),
        ("fractalnet20", "widths", 64, r"must be a tuple with each element an integer .* \(64, 128"),
        ("fractalnet20", "widths", (64, "a"), "each element an integer"),
        ("fractalnet20", "drop_rates", (0.0, 1.0), "each element a number from 0 and below 1"),
        ("fractalnet20", "global_rate", 2.0, "must be a number from 0 to 1"),
        ("fractalnet20", "columns", 11, "must be an integer from 1 to 10"),
        ("lenet5", "padding", -1, "must be an integer from 0"),
        ("lenet5", "variant", "1989", "'1998'"),
        ("lenet5", "activation", "step", "'prelu' or 'standard'"),
        ("resnet20", "activation", "step", "must be one of 'sigmoid', .*, 'prelu'"),
        ("resnet20", "ghost_batch", -1, "must be an integer from 0"),
        ("alexnet", "scale", 0, "must be a number above 0 and up to"),
        ("alexnet", "scale", float("nan"), "must be a number above 0"),
        ("alexnet", "variant", "caffe", "'torchvision', 'paper'"),
    ],
)
def test_a_wrong_value_says_what_is_allowed(name, option, value, message):
    with pytest.raises(ValueError, match=message):
        models.create(name, **{option: value})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lenet5", {"variant": "1998", "num_classes": 7}, "ten digits"),
        ("alexnet", {"variant": "paper", "scale": 0.123}, "12, 31, 47, 47, 31 channels"),
        ("fractalnet20", {"column": 4}, "the deepest"),
        ("fractalnet20", {"widths": (4, 4)}, "2 widths and 5 drop_rates"),
        ("fractalnet20", {"widths": (), "drop_rates": ()}, "0 widths and 0 drop_rates"),
    ],
)
def test_values_at_odds_are_named(name, options, message):
    with pytest.raises(ValueError, match=message):
        models.create(name, **options)


def test_lists_and_numbers_of_numpy_are_taken():
    model = models.create("resnet20", width=np.int64(4), depth_drop_rate=1, frozen=["stem"])
    assert (model.width, model.depth_drop_rate, model.frozen) == (4, 1.0, ("stem",))
    assert [type(v) for v in (model.width, model.depth_drop_rate)] == [int, float]
    assert hash(model) == hash(models.create("resnet20", width=4, depth_drop_rate=1.0, frozen=("stem",)))


@pytest.mark.parametrize("scale", [1e-3, 0.01])
@pytest.mark.parametrize("name", ["alexnet", "nin_cifar", "googlenet", "squeezenet"])
def test_no_layer_is_scaled_to_nothing(name, scale):
    assert models.parameter_count(name, scale=scale, num_classes=2) > 0


def test_activations_are_those_of_the_operators():
    for name in activations.NAMES:
        assert models.create("mlp", activation=name).activation == name
        assert models.create("lenet5", activation=name).activation == name


# --- images ---

LAYOUTS = [
    ("lenet5", {}, 16),
    ("lenet5", {"padding": 2}, 12),
    ("lenet5", {"variant": "1998", "padding": 1}, 14),
    ("alexnet", {}, 63),
    ("alexnet", {"variant": "paper"}, 67),
    ("vgg11", {}, 32),
    ("vgg19_bn_cifar", {}, 32),
    ("nin_cifar", {}, 6),
    ("nin_imagenet", {}, 55),
    ("googlenet", {}, 31),
    ("googlenet", {"norm": "lrn", "kernel5": 5}, 47),
    ("googlenet_cifar", {}, 4),
    ("googlenet_cifar", {"norm": "lrn"}, 6),
    ("resnet18", {}, 1),
    ("resnet20", {}, 1),
    ("preresnet110", {}, 1),
    ("densenet121", {}, 29),
    ("densenet40_12", {}, 4),
    ("fractalnet20", {}, 32),
    ("fractalnet20", {"widths": (4, 4), "drop_rates": (0.0, 0.0)}, 4),
    ("squeezenet", {}, 25),
    ("convnet", {}, 8),
    ("convnet", {"pooling": "fractional"}, 5),
    ("convnet", {"pooling": "fractional", "pool_overlap": False}, 1),
    ("fmp_digits", {}, 1),
]


def test_every_family_has_a_smallest_image():
    others = ("mlp", "char_lm", "seq2seq_lstm", "sentiment", "lrcn")  # of no images, or of several
    others += ("captioner_lstm", "attention_captioner", "vqa_product")  # of those that their backbone takes
    modules = {registry.VARIANTS[name].module for name in (*(name for name, _, _ in LAYOUTS), *others)}
    assert modules == {row.module for row in registry.VARIANTS.values()}


@pytest.mark.parametrize(("name", "options", "smallest"), one_in(4, LAYOUTS))
def test_the_smallest_image_is_the_smallest(name, options, smallest):
    model, channels = models.create(name, **options), registry.VARIANTS[name].input_shape[-1]
    features = functional.outputs(model, image(2, smallest, smallest + 3, channels), method="features")
    assert all(0 not in value.shape for value in features.values())
    if smallest == 1:
        return
    less = smallest - 1
    words = f"^{name} takes images of at least {smallest}×{smallest}, got {smallest}×{less}"
    with pytest.raises(ValueError, match=words):
        functional.init(model, 0, image(2, smallest, less, channels))
    with pytest.raises(ValueError, match=words):
        functional.specs(model, image(2, smallest, less, channels))
    unchecked = functools.partial(model.init, jax.random.key(0), method="forward")
    with pytest.raises(ValueError, match=r"covers|cannot be pooled"):  # some window really does not fit
        jax.eval_shape(unchecked, image(2, less, less, channels))


@pytest.mark.parametrize("row", one_in(3, [(row,) for row in MODELS]), ids=str)
def test_a_batch_without_examples_is_named(row):
    model, (_, *shape) = row.model(), row.input_shape
    dtype = jnp.dtype(registry.VARIANTS[row.name].dtype)
    none, one = (jax.ShapeDtypeStruct((n, *shape), dtype) for n in (0, 1))
    with pytest.raises(ValueError, match=rf"^\w+ (takes|got) .*\[0, {shape[0]}"):
        functional.init(model, 0, none)
    params, state = functional.shapes(model, one)
    with pytest.raises(ValueError, match=r"^\w+ (takes|got) .*\[0, "):
        jax.eval_shape(lambda x: functional.apply(model, params, state, x)[0], none)


@pytest.mark.parametrize(
    ("name", "options", "shape", "message"),
    [
        ("resnet20", {}, (32, 32, 3), r"^resnet20 takes images \[N, H, W, C\], got .* \[32, 32, 3\]"),
        ("resnet20", {}, (1, 32, 32, 0), r"^resnet20 got images of shape \[1, 32, 32, 0\]"),
        ("mlp", {}, (7,), r"^mlp takes \[N, ...\] .*got \[7\]"),
        ("char_lm", {}, (3, 8), r"^char_lm takes tokens, integers \[N, T\] .*got float32 of shape \[3, 8\]"),
        ("googlenet", {"transform_input": True}, (1, 32, 32, 1), "rescales 3 channels, got images with 1"),
    ],
)
def test_what_is_no_batch_of_images_is_named(name, options, shape, message):
    with pytest.raises(ValueError, match=message):
        functional.init(models.create(name, **options), 0, image(*shape))


def image(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)
