"""The lecture's arithmetic of convolutional nets, from the package's models."""

import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import inspect, models
from cs231n_jax.models import functional
from experiments import studies
from experiments.studies import alexnet_stem, inception_cost, receptive_field, small_nets, vgg_budget
from experiments.studies.small_nets import Chain, Step

STUDIES = studies.registry()


@pytest.mark.parametrize("channels", [4, 64])
def test_three_small_kernels_see_what_a_large_one_sees(channels):
    rows = {name: receptive_field._row(name, channels) for name in receptive_field.KERNELS}
    assert {row["field"] for row in rows.values()} == {row["field by formula"] for row in rows.values()} == {7}
    assert rows["three 3×3"]["weights"] == rows["three 3×3"]["multiply-adds a pixel"] == 27 * channels**2
    assert rows["one 7×7"]["weights"] == rows["one 7×7"]["multiply-adds a pixel"] == 49 * channels**2
    assert [row["activations a pixel"] for row in rows.values()] == [3 * channels, channels]


def test_the_field_of_a_unit_is_wider_than_its_reach():
    assert receptive_field.reach(np.ones((1, 1))) == 0
    corners = np.zeros((3, 3))
    corners[[0, 0, 2, 2], [0, 2, 0, 2]] = 0.25
    assert receptive_field.reach(corners) == pytest.approx(2**0.5)
    found = receptive_field.gradient_map(receptive_field.chain((3, 3), 4), 2)
    assert found.sum() == pytest.approx(1)
    inside = slice(receptive_field.SIDE // 2 - 2, receptive_field.SIDE // 2 + 3)
    assert found[inside, inside].sum() == pytest.approx(1)


def test_the_slides_inception_module():
    naive = inception_cost.multiplications(inception_cost.Naive(), inception_cost.SLIDE_IMAGE)
    reduced = inception_cost.multiplications(inception_cost.Reduced(), inception_cost.SLIDE_IMAGE)
    assert sorted(naive.values()) == [25_690_112, 346_816_512, 481_689_600]
    assert sum(naive.values()) == 854_196_224
    assert sorted(reduced.values()) == [12_845_056] * 3 + [25_690_112, 86_704_128, 120_422_400]
    assert sum(reduced.values()) == 271_351_808
    assert inception_cost.counted_twice(reduced, 358) == {"3×3": 358_055_936}
    assert inception_cost.counted_twice(reduced, 300) == {}
    outputs = (
        functional.outputs(net, inception_cost.SLIDE_IMAGE)
        for net in (inception_cost.Naive(), inception_cost.Reduced())
    )
    assert [output.shape for output in outputs] == [(1, 28, 28, 672), (1, 28, 28, 480)]


@pytest.mark.slow
def test_the_modules_of_googlenet_are_those_of_the_whole_net():
    """Weights of each module without biases, as in the paper's layout."""
    published = (163_328, 388_096, 375_552, 448_512, 509_440, 604_672, 867_328, 1_042_432, 1_442_816)
    rows = inception_cost._modules()
    side = [int(row["pixels"].partition("×")[0]) for row in rows]
    assert side == [28, 28, 14, 14, 14, 14, 14, 7, 7]
    assert [row["with 1×1: multiplications"] for row in rows] == [n * s * s for n, s in zip(published, side)]
    assert [row["with 1×1: channels out"] for row in rows] == [256, 480, 512, 512, 512, 528, 832, 832, 1024]
    assert all(row["naive: multiplications"] > 1.5 * row["with 1×1: multiplications"] for row in rows)


@pytest.mark.slow
def test_where_vgg_keeps_its_numbers(tmp_path):
    numbers = STUDIES["vgg_budget"](tmp_path, True).numbers
    assert numbers["parameters"] == models.parameter_count("vgg16") == 138_357_544
    assert numbers["weights"] == 138_344_128
    assert numbers["activations"] == 15_237_608
    assert numbers["MB an image"] == pytest.approx(60.95, abs=0.005)
    assert numbers["MiB an image"] == pytest.approx(58.1, abs=0.05)
    assert numbers["fc1: weights"] == 102_760_448
    assert numbers["share of fc1 in the weights (%)"] == pytest.approx(74.3, abs=0.05)
    assert numbers["multiply-adds"] / 1e9 == pytest.approx(15.470, abs=5e-4)
    rows = {row["layer"]: row for row in vgg_budget.budget()}
    assert len(rows) == 1 + 13 + 5 + 3
    assert rows["stage1 pool"]["output"] == "112×112×64"
    assert rows["stage5 pool"]["output"] == "7×7×512"


@pytest.mark.slow
def test_alexnets_first_layer(tmp_path):
    result = STUDIES["alexnet_stem"](tmp_path, True)
    numbers = result.numbers
    assert numbers["alexnet's filters (pixels)"] == 11
    assert numbers["alexnet's first layer: neurons"] == 290_400
    assert numbers["alexnet's first layer: parameters if none were shared"] == 105_705_600
    assert numbers["alexnet's first layer: parameters"] == numbers["11×11, stride 4: parameters"] == 34_944
    assert numbers["alexnet's first layer: multiply-adds"] == numbers["11×11, stride 4: multiply-adds"] == 290_400 * 363
    assert numbers["11×11, stride 4: side of the output"] == 55
    assert numbers["places of an 11×11 window with stride 4 on 224 pixels"] == 54.25
    for row in result.rows:
        for where in ("first layer", "pooling", "second layer"):
            assert row[f"field after the {where}"] == row[f"field after the {where}, formula"]
    fields = [[row["field after the first layer"], row["field after the pooling"]] for row in result.rows]
    assert fields == [[11, 19], [7, 15], [7, 11]]
    assert result.sentence.startswith("Refuted: AlexNet's first filters are 11×11 ")


def test_a_chain_is_counted_by_hand():
    model = Chain(steps=(Step(5, 2, 1, 6), Step(2, 2), Step(3, 1, 0, 4)), use_bias=True)
    first, second = inspect.layers(model, small_nets.image(13, 13, 3))
    assert (first.output, first.parameters, first.multiply_adds) == ((1, 6, 6, 6), 456, 36 * 450)
    assert (second.output, second.parameters, second.multiply_adds) == ((1, 1, 1, 4), 220, 216)
    assert small_nets.field(model.steps) == 5 + 1 * 2 + 2 * 4
    images = jnp.ones((2, 13, 13, 3))
    params, state = functional.init(model, 0, images)
    assert functional.apply(model, params, state, images)[0].shape == (2, 1, 1, 4)


def test_alexnets_stems_are_compared_at_one_size():
    assert alexnet_stem.STEMS[alexnet_stem.PAPER].steps[0] == Step(11, 4, 0, 96)
    assert {stem.steps[0].width for stem in alexnet_stem.STEMS.values()} == {96}
