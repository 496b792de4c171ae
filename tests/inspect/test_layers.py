"""Parameters, multiply-adds and activations against torchvision's figures and counts by hand."""

import jax
import jax.numpy as jnp
import pytest

from cs231n_jax import inspect, models
from cs231n_jax.models import registry
from tests.rows import but_for

# torchvision 0.29.1: weights.meta["_ops"], in 10⁹ multiply-adds of one 224×224 image
GIGA_MULTIPLY_ADDS = {
    "alexnet": 0.714,
    "vgg11": 7.609,
    "vgg13": 11.308,
    "vgg16": 15.470,
    "vgg19": 19.632,
    "vgg16_bn": 15.470,
    "googlenet": 1.498,
    "resnet18": 1.814,
    "resnet34": 3.664,
    "resnet50": 4.089,
    "resnet101": 7.801,
    "resnet152": 11.514,
    "wide_resnet50_2": 11.398,
    "wide_resnet101_2": 22.753,
    "densenet121": 2.834,
    "densenet161": 7.728,
    "densenet169": 3.360,
    "densenet201": 4.291,
    "squeezenet": 0.349,
}


def image(*shape):
    return jax.ShapeDtypeStruct((1, *shape), jnp.float32)


# By default plain layers, groups of parallel ones and sums; the deep ones are traced for seconds.
QUICK = ("alexnet", "vgg11", "resnet18", "resnet50", "squeezenet")


@pytest.mark.parametrize("name", but_for(QUICK, GIGA_MULTIPLY_ADDS))
def test_multiply_adds_are_those_of_torchvision(name):
    found = inspect.multiply_adds(models.create(name), image(224, 224, 3))
    assert found / 1e9 == pytest.approx(GIGA_MULTIPLY_ADDS[name], rel=0.01)


@pytest.mark.parametrize("name", ["lenet5", "wrn16_4", "fractalnet20", "nin_cifar", "char_gru"])
def test_both_tables_hold_every_parameter(name):
    row = registry.VARIANTS[name]
    model, shape = models.create(name), row.example()
    assert sum(parameter.count for parameter in inspect.parameters(model, shape)) == row.parameters
    assert sum(layer.parameters for layer in inspect.layers(model, shape)) == row.parameters


def test_lenet_by_hand():
    found = inspect.layers(models.create("lenet5"), image(32, 32, 1))
    assert [(layer.path, layer.kind, layer.output) for layer in found] == [
        ("stage1_conv", "Conv", (1, 28, 28, 6)),
        ("stage2_conv", "Conv", (1, 10, 10, 16)),
        ("fc1", "Dense", (1, 120)),
        ("fc2", "Dense", (1, 84)),
        ("head", "Dense", (1, 10)),
    ]
    assert [layer.multiply_adds for layer in found] == [117_600, 240_000, 48_000, 10_080, 840]
    assert [layer.activations for layer in found] == [4_704, 1_600, 120, 84, 10]


def test_lenet_1998_by_hand():
    """The published connections: C1 122,304 with biases counted, C3 151,600, of which we count multiply-adds."""
    model = models.create("lenet5", variant="1998")
    found = {layer.path: layer.multiply_adds for layer in inspect.layers(model, image(32, 32, 1))}
    assert found["stage1_conv"] + 28 * 28 * 6 == 122_304
    assert found["stage2_conv"] + 10 * 10 * 16 == 151_600


def test_grouped_convolutions_cost_less():
    both = (models.create("alexnet", variant=variant) for variant in ("paper", "ungrouped"))
    grouped, full = ({layer.path: layer for layer in inspect.layers(model, image(227, 227, 3))} for model in both)
    assert 2 * grouped["stage2/conv"].multiply_adds == full["stage2/conv"].multiply_adds
    assert grouped["stage3/conv"].multiply_adds == full["stage3/conv"].multiply_adds


def test_parameters_say_how_they_start():
    table = {p.path: p for p in inspect.parameters(models.create("resnet20"), image(32, 32, 3))}
    assert table["stem_conv/kernel"].shape == (3, 3, 3, 16)
    assert table["stem_conv/kernel"].start == "normal 0.118"  # √(2 / (9·16))
    assert table["stem_norm/scale"].start == "constant 1"
