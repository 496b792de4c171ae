"""Views for test-time averaging: each equals its slices in numpy, pixel for pixel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax.ops import views
from tests.references import views as references


def pictures(height, width, dtype=np.uint8):
    return np.random.default_rng(0).integers(1, 256, (3, height, width, 2)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, jnp.bfloat16])
def test_flips(dtype):
    x = pictures(5, 4, dtype)
    found = views.flips(jnp.asarray(x))
    assert found.dtype == x.dtype
    np.testing.assert_array_equal(found, np.stack([x, np.flip(x, 2)]))


@pytest.mark.parametrize("pixels", [1, 2, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_shifts(pixels, dtype):
    x = pictures(7, 5, dtype)
    found = jax.jit(lambda x: views.shifts(x, pixels))(x)
    places = [(down, right) for down in (-pixels, 0, pixels) for right in (-pixels, 0, pixels)]
    assert found.dtype == x.dtype
    np.testing.assert_array_equal(found, np.stack([references.shifted(x, *place) for place in places]))
    np.testing.assert_array_equal(found[4], x)


@pytest.mark.parametrize(("height", "width", "size"), [(8, 8, 7), (8, 8, 6), (9, 6, 5), (5, 7, 1), (4, 4, 4)])
def test_ten_crop(height, width, size):
    x = pictures(height, width)
    found = jax.jit(lambda x: views.ten_crop(x, size))(x)
    assert found.shape == (10, 3, size, size, 2)
    np.testing.assert_array_equal(found, references.ten_crop(x, size))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: views.shifts(x, 0), "pixels is 0; images of 6×4 can be shifted by 1 to 3"),
        (lambda x: views.shifts(x, 4), "pixels is 4; .* by 1 to 3 pixels"),
        (lambda x: views.ten_crop(x, 0), "size is 0; a crop of images of 6×4 has from 1 to 4"),
        (lambda x: views.ten_crop(x, 5), "size is 5; .* from 1 to 4 pixels"),
    ],
)
def test_sizes_out_of_range_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(jnp.zeros((2, 6, 4, 1)))
