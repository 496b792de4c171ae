"""Fractional max-pooling networks and the small test bed: sizes, counts, passes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import models
from cs231n_jax.models import fmp, functional
from tests.rows import but_for


def count(width, layers, channels, classes):
    """Kernels and biases of the convolutions and of the output, added up by hand."""
    widths = [channels, *(width * (n + 1) for n in range(layers + 2))]
    windows = [4] * (layers + 1) + [1]
    inner = sum(k * a * b + b for k, a, b in zip(windows, widths, widths[1:]))
    return inner + widths[-1] * classes + classes


@pytest.mark.parametrize(
    ("name", "sizes"),
    [("fmp_cifar10", (160, 12, 3, 10)), ("fmp_cifar100", (64, 12, 3, 100)), ("fmp_mnist", (32, 6, 1, 10))],
)
def test_parameters(name, sizes):
    assert models.parameter_count(name) == count(*sizes)


def test_images_of_the_papers_networks():
    """Sections 4.2 and 4.3: 36×36 for MNIST, 94×94 for CIFAR."""
    assert fmp.sides(6, 2**0.5) == (36, 25, 17, 11, 7, 4, 2)
    assert fmp.sides(12, 2 ** (1 / 3)) == (94, 74, 58, 45, 35, 27, 21, 16, 12, 9, 6, 4, 2)


@pytest.mark.parametrize("name", but_for(["fmp_mnist"], ["fmp_mnist", "fmp_cifar10_narrow"]))
def test_each_layer_has_the_side_that_was_planned(name):
    model = models.create(name)
    found = functional.outputs(model, jnp.zeros((2, 20, 30, 3)), method="features")
    sides = fmp.sides(model.layers, model.ratio)[1:]
    assert tuple(found[f"stage{n + 1}"].shape[1:] for n in range(model.layers)) == tuple(
        (side, side, model.width * (n + 1)) for n, side in enumerate(sides)
    )
    assert found["c2"].shape[1:3] == found["c1"].shape[1:3] == (1, 1)
    assert found["pre_logits"].shape == (2, model.width * (model.layers + 2))
    assert found["logits"].shape == (2, 10)


def test_larger_images_are_refused():
    with pytest.raises(ValueError, match="6 layers takes images of at most 36×36, got 37×20"):
        functional.specs(models.create("fmp_mnist"), jnp.zeros((2, 37, 20, 1)))


SMALLEST = [
    ({"pooling": "fractional"}, 5),
    ({"pooling": "fractional", "pool_overlap": False}, 1),
    ({}, 8),
    ({"pooling": "fractional", "pool_ratio": 1.9}, 8),
]


@pytest.mark.parametrize(("options", "smallest"), but_for(SMALLEST[:1], SMALLEST))
def test_smallest_images(options, smallest):
    model = models.create("convnet", widths=(4, 4, 4), **options)
    assert model.smallest == smallest
    for side in range(smallest, smallest + 9):
        assert functional.outputs(model, jnp.zeros((1, side, side, 1))).shape == (1, 10)
    if smallest > 1:
        with pytest.raises(ValueError, match=f"of at least {smallest}×{smallest}"):
            functional.specs(model, jnp.zeros((1, smallest - 1, smallest, 1)))


def test_passes_differ_only_with_noise():
    model = models.create("convnet", widths=(4,), hidden=8, pooling="fractional")
    x = jnp.asarray(np.random.default_rng(0).standard_normal((3, 9, 9, 1)), "float32")
    variables = functional.init(model, 0, x)
    run = jax.jit(lambda key: functional.apply(model, *variables, x, key=key, noise=key is not None)[0])
    first, again, second = (run(jax.random.key(k)) for k in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != second).any()
    np.testing.assert_array_equal(run(None), run(None))


def test_depth_without_residual_units_is_refused():
    with pytest.raises(ValueError, match="set residual=True"):
        models.create("convnet", depth_drop_rate=0.2)
