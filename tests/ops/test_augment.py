"""Crops, flips and standardisation against numpy, image by image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from cs231n_jax.ops import augment
from tests.rows import but_for

KEY = jax.random.key(0)


def images(n=64, height=9, width=7, dtype=np.uint8):
    return np.random.default_rng(0).integers(1, 256, (n, height, width, 3)).astype(dtype)


def places(x, padded, height, width):
    """Where each crop was cut out of the padded image: the (row, column) of the only place that fits."""
    found = []
    for crop, whole in zip(x, padded, strict=True):
        rows, columns = (whole.shape[0] - height + 1, whole.shape[1] - width + 1)
        fits = [
            (r, c) for r in range(rows) for c in range(columns) if (whole[r : r + height, c : c + width] == crop).all()
        ]
        assert len(fits) == 1
        found += fits
    return np.array(found)


@pytest.mark.parametrize(("mode", "numpy_mode"), [("zeros", "constant"), ("reflect", "reflect")])
@pytest.mark.parametrize("padding", but_for([2, 5], range(1, 6)))
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_every_crop_is_a_window_of_the_padded_image(mode, numpy_mode, padding, dtype):
    x = images(dtype=dtype)
    y = np.asarray(augment.random_crop(KEY, jnp.asarray(x), padding=padding, mode=mode))
    assert y.dtype == dtype
    ends = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    where = places(y, np.pad(x, ends, mode=numpy_mode), 9, 7)
    assert where.min() >= 0
    assert len(np.unique(where, axis=0)) > padding  # not all at one place


def test_crops_are_uniform():
    n, padding = 20_000, 2
    x = np.zeros((n, 5, 5, 1), np.uint8)
    x[:, 2, 2] = 1  # the marked pixel moves against the window
    y = np.asarray(augment.random_crop(KEY, jnp.asarray(x), padding=padding))
    counts = y.sum((0, 3))
    assert counts.sum() == n
    expected = n / 25
    assert ((counts - expected) ** 2 / expected).sum() < 51.2  # χ² with 24 degrees of freedom, p = 0.001


def test_no_padding_changes_nothing():
    x = jnp.asarray(images())
    np.testing.assert_array_equal(augment.random_crop(KEY, x, padding=0), x)


def test_flips():
    x = images(2000)
    y = np.asarray(augment.random_flip(KEY, jnp.asarray(x)))
    flipped = (y == x[:, :, ::-1]).all((1, 2, 3))
    assert ((y == x).all((1, 2, 3)) ^ flipped).all()
    assert abs(flipped.mean() - 0.5) < 0.04  # 3.6 standard deviations


def test_the_key_decides_and_nothing_else():
    x = jnp.asarray(images())
    both = lambda key, x: augment.random_flip(key, augment.random_crop(key, x, padding=2))  # noqa: E731
    np.testing.assert_array_equal(both(KEY, x), jax.jit(both)(KEY, x))
    assert (both(KEY, x) != both(jax.random.key(1), x)).any()
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    spread = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
    np.testing.assert_array_equal(jax.jit(both)(KEY, spread), both(KEY, x))


MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


@pytest.mark.parametrize(
    ("given", "made", "tolerance"),
    [
        ("uint8", "float32", 1e-6),
        ("float32", "float32", 1e-6),
        ("uint8", "bfloat16", 2**-7),
        ("bfloat16", "float32", 1e-6),
        ("uint8", "float64", 1e-14),
        ("float64", "float32", 1e-6),
    ],
)
def test_standardize(given, made, tolerance, x64):
    x = jnp.asarray(images()) if given == "uint8" else jnp.asarray(images() / 255, jnp.dtype(given))
    y = augment.standardize(x, MEAN, STD, jnp.dtype(made))
    assert y.dtype == made
    unit = np.asarray(x, np.float64) / (255 if given == "uint8" else 1)
    np.testing.assert_allclose(
        np.asarray(y, np.float64), (unit - np.array(MEAN)) / np.array(STD), rtol=0, atol=3 * tolerance
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: augment.random_crop(KEY, x, padding=1, mode="mirror"), ValueError, "'zeros' or 'reflect'"),
        (lambda x: augment.random_crop(KEY, x, padding=-1), ValueError, "at least 0"),
        (lambda x: augment.random_crop(KEY, x, padding=1.5), ValueError, "padding is 1.5; it must be a whole number"),
        (lambda x: augment.random_crop(KEY, x, padding=7, mode="reflect"), ValueError, "shorter than the image"),
        (lambda x: augment.standardize(x, (0.5,), STD), ValueError, "3 channels"),
        (lambda x: augment.standardize(x, MEAN, (1.0, 0.0, 1.0)), ValueError, "positive"),
        (lambda x: augment.standardize(x.astype(jnp.int32), MEAN, STD), TypeError, "uint8 in 0…255"),
    ],
)
def test_impossible_arguments(call, error, message, unchecked):
    with pytest.raises(error, match=message):
        call(jnp.asarray(images(2)))
