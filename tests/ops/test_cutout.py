"""Cutout against numpy, image by image, and the distribution of what it paints over."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax.ops.cutout import cutout
from tests.references import augment as reference

KEY = jax.random.key(0)


def images(n=64, height=9, width=7, dtype=np.uint8):
    return np.random.default_rng(0).integers(1, 256, (n, height, width, 3)).astype(dtype)


SQUARES = [(s, d, c) for s in (3, 1, 2, 4, 7, 20) for d in ("uint8", "float32", "bfloat16") for c in (False, True)]


@pytest.mark.parametrize(
    ("size", "dtype", "compiled"),
    [pytest.param(*square, marks=pytest.mark.slow if square[2] and square[0] != 3 else ()) for square in SQUARES],
)
def test_squares_around_centres(size, dtype, compiled):
    x, fill = jnp.asarray(images(), dtype), (0.25, 0.5, 1.0)
    change = lambda key, x: cutout(key, x, size=size, fill=fill)  # noqa: E731
    y = (jax.jit(change) if compiled else change)(KEY, x)
    assert y.dtype == dtype
    rows, columns = np.asarray(jax.random.uniform(KEY, (2, 64), jnp.float32)) * np.array([[9], [7]])
    paint = (64, 128, 255) if dtype == "uint8" else fill
    expected = [
        reference.cutout(image, (int(r), int(c)), size, paint)
        for image, r, c in zip(np.asarray(x.astype(jnp.float32)), rows, columns, strict=True)
    ]
    np.testing.assert_array_equal(y.astype(jnp.float32), expected)


def test_centres_are_uniform_and_the_area_is_what_the_border_leaves():
    n, side, size = 20_000, 6, 4
    y = np.asarray(cutout(KEY, jnp.ones((n, side, side, 1), jnp.uint8), size=size))[..., 0]
    covered = (y == 0).sum((1, 2))
    along = np.array([min(c - 2 + size, side) - max(c - 2, 0) for c in range(side)])  # rows that a centre covers
    counts = dict.fromkeys(np.unique(np.outer(along, along)), 0.0)
    for area in np.outer(along, along).ravel():
        counts[area] += n / side**2
    assert set(np.unique(covered)) == set(counts)
    observed = np.array([(covered == area).sum() for area in counts])
    expected = np.array(list(counts.values()))
    assert ((observed - expected) ** 2 / expected).sum() < 20.5  # χ² with at most 5 degrees of freedom, p = 0.001
    assert len(counts) <= 6
    single = np.asarray(cutout(KEY, jnp.ones((n, side, side, 1), jnp.uint8), size=1))[..., 0]
    places = (single == 0).sum(0)
    assert places.sum() == n
    assert ((places - n / 36) ** 2 / (n / 36)).sum() < 66.6  # χ² with 35 degrees of freedom, p = 0.001
    rows = (single == 0).any(2).argmax(1)
    assert abs(np.corrcoef(rows[:-1], rows[1:])[0, 1]) < 3.3 / n**0.5


def test_no_size_changes_nothing_and_keys_do():
    x = jnp.asarray(images())
    np.testing.assert_array_equal(cutout(KEY, x, size=0), x)
    assert (cutout(KEY, x, size=3) != cutout(jax.random.key(1), x, size=3)).any()
    both = jax.vmap(lambda key: cutout(key, x, size=3))(jax.random.split(KEY, 2))
    np.testing.assert_array_equal(both[1], cutout(jax.random.split(KEY, 2)[1], x, size=3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": -1}, "size is -1"),
        ({"size": 1, "fill": (0.5,)}, "3 num"),
        ({"size": 1, "fill": (127.0, 0.0, 0.0)}, r"fill is \[127.0, .* in \[0, 1\]: divide by 255"),
    ],
)
def test_impossible_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        cutout(KEY, jnp.asarray(images(2)), **options)
