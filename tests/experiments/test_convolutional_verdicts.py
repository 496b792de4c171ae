"""The sentences of the studies of convolutional nets say what their numbers say, whatever these are."""

from collections import defaultdict

import numpy as np
import pytest

from experiments.studies import (
    alexnet_stem,
    auxiliary_heads,
    inception_cost,
    receptive_field,
    residual_at_init,
    vgg_budget,
)


def numbers(found):
    """What a sentence reads: what is given, and 1 for all else."""
    return defaultdict(lambda: 1.0, found)


@pytest.mark.parametrize(
    ("time", "said"),
    [
        ((0.30, 0.26, 0.34), "less than these say"),
        ((0.55, 0.50, 0.60), "as these say"),
        ((0.80, 0.70, 0.90), "more than these say"),
    ],
)
def test_a_time_is_less_where_its_interval_is(time, said):
    three, one = (f"{name}, C = {receptive_field.SHOWN}" for name in receptive_field.KERNELS)
    found = {f"{three}: field": 7, f"{one}: field": 7, f"{three}: weights": 27 * 64**2, f"{one}: weights": 49 * 64**2}
    sentence = receptive_field._sentence(numbers(found), time)
    assert sentence.startswith("Confirmed: ")
    assert f"({time[1]:.2f} to {time[2]:.2f}), {said}; but" in sentence
    assert receptive_field._sentence(numbers(found | {f"{three}: field": 5}), time).startswith("Refuted: ")


def test_the_slides_sum_is_confirmed_by_itself_alone():
    found = {"naive: multiplications": 854.2e6, "with 1×1: multiplications": 358.4e6}
    sentence = inception_cost._sentence(numbers(found), {}, (2.0, 1.5, 2.5))
    assert "(its 358 million: confirmed; the slide's sum is no sum with one convolution counted twice)" in sentence
    sentence = inception_cost._sentence(numbers(found | {"naive: multiplications": 900e6}), {"5×5": 358}, (2, 1.5, 2.5))
    assert "(the slide's 854 million: refuted)" in sentence
    assert "358, which counts the 5×5 convolution twice" in sentence


@pytest.mark.parametrize(("activations", "said"), [(24.1e6, "confirmed"), (15.2e6, "refuted")])
def test_the_activations_of_the_notes_are_confirmed_if_they_are_found(activations, said):
    largest = {"activations": "a", "weights": "b", "multiply-adds": "c"}
    sentence = vgg_budget._sentence(numbers({"activations": activations, "parameters": 200e6}), largest)
    assert f"the 24 million activations are {said}" in sentence
    assert sentence.startswith("The 138 million parameters are refuted")


@pytest.mark.parametrize(("filters", "said"), [(7.0, "Confirmed"), (11.0, "Refuted")])
def test_the_filters_of_the_notes_are_confirmed_if_they_are_found(filters, said):
    assert alexnet_stem._sentence(numbers({"alexnet's filters (pixels)": filters})).startswith(f"{said}: ")


@pytest.mark.parametrize(
    ("more", "said"),
    [([], "Refuted here"), (["stem"], "Confirmed in part"), (["stem", "stage4_a", "stage4_d"], "Confirmed")],
)
def test_heads_bring_gradient_to_the_parts_whose_gradient_they_lengthen(more, said):
    parts = ("stem", *auxiliary_heads.FEW)
    found = {f"a, {part}: start: ratio": 1.2 if part in more else 1.05 for part in parts}
    sentence = auxiliary_heads._sentence(numbers(found), ("a",), parts)
    assert sentence.startswith(f"{said}: ")
    assert f"more than 10 % to the gradient of {len(more)} of the 3 parts below them" in sentence


@pytest.mark.parametrize(
    ("residual", "plain", "spread", "said"),
    [
        (6.0, 89.0, 0.1, ("confirmed", "confirmed")),
        (16.7, 89.0, 0.1, ("confirmed", "refuted")),
        (16.7, 70.0, 0.1, ("refuted", "refuted")),
        (6.0, 87.2, 2.0, ("not decided", "not decided")),
    ],
)
def test_a_net_without_a_block_guesses_or_hardly_misses_it(residual, plain, spread, said):
    by_seed = spread * np.array([-1.0, 0.0, 1.0])
    found = {
        name: {residual_at_init.WHOLE: np.full(3, 5.0), "a": error + by_seed, "b": error + 1 + by_seed}
        for name, error in {"r": residual - 0.5, "p": plain - 0.5}.items()
    }
    summary = {
        f"{name}: {key}": value
        for name, errors in found.items()
        for key, value in residual_at_init._summary(errors).items()
    }
    sentence = residual_at_init._sentence(numbers(summary), found)
    assert f"only guesses (is within 4 points of it) is {said[0]}, " in sentence
    assert f"hardly misses one (loses at most 2 points) is {said[1]}; " in sentence
    error = f"{spread / 3**0.5:.1f}"
    assert (
        f"it loses {residual - 5:.1f} ± {error} points on average, the plain one {plain - 5:.1f} ± {error}." in sentence
    )
