"""Jitter and lighting against float64 numpy and the standard library's colorsys, and their statistics."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax.ops import colour
from tests.references import augment as reference

pytestmark = pytest.mark.usefixtures("emitters")
KEY = jax.random.key(0)
ADJUSTMENTS = ["brightness", "contrast", "saturation", "hue"]


def draw(n=5, channels=3, dtype=np.float64):
    """Images with grey pixels, black, white and pure colours among them."""
    x = np.random.default_rng(0).random((n, 6, 4, channels))
    x[:, 0, 0], x[:, 0, 1], x[:, 0, 2] = 0, 1, 0.5
    x[:, 1, 0] = [1, 0, 0][:channels]
    x[:, 1, 1] = [0.2, 0.7, 0.7][-channels:]
    return np.round(x * 255).astype(np.uint8) if dtype == np.uint8 else x.astype(dtype)


@pytest.mark.parametrize("name", ADJUSTMENTS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-13), ("float32", 2e-6)])
def test_each_adjustment(name, channels, dtype, tolerance, x64):
    x = draw(channels=channels).astype(dtype)
    factors = np.array([0.0, 0.3, 1.0, 1.4, 2.0] if name != "hue" else [-0.5, -0.21, 0.0, 0.13, 0.5])
    y = jax.jit(getattr(colour, name))(jnp.asarray(x), jnp.asarray(factors, dtype))
    assert y.dtype == dtype
    expected = [getattr(reference, name)(image, f) for image, f in zip(x.astype(np.float64), factors, strict=True)]
    np.testing.assert_allclose(y, expected, rtol=0, atol=tolerance)
    if name != "hue":
        np.testing.assert_array_equal(y[2], x[2])  # a factor of 1


def test_jitter_is_the_four_adjustments_in_a_row():
    x = draw(300, dtype=np.float32)
    jitter = jax.jit(functools.partial(colour.jitter, strength=0.4, hue_strength=0.1))
    y = np.asarray(jitter(KEY, jnp.asarray(x)))
    numbers = np.asarray(jax.random.uniform(KEY, (4, 300), jnp.float32), np.float64)
    for image, changed, u in zip(x[:20].astype(np.float64), y, numbers.T):
        expected = image
        for name, factor in zip(ADJUSTMENTS, [*(0.6 + 0.8 * u[:3]), 0.2 * u[3] - 0.1], strict=True):
            expected = getattr(reference, name)(expected, factor)
        np.testing.assert_allclose(changed, expected, rtol=0, atol=1e-5)  # the hue divides by small differences


def test_the_factors_fill_their_range_and_are_each_image_s_own():
    n, strength = 20_000, 0.4
    even = jnp.full((n, 1, 1, 1), 0.25, jnp.float32)  # contrast and saturation leave even grey as it is
    jitter = jax.jit(functools.partial(colour.jitter, strength=strength))
    factors = np.asarray(jitter(KEY, even)).ravel() / 0.25
    assert 0.6 - 1e-6 <= factors.min() < 0.601
    assert 1.399 < factors.max() <= 1.4 + 1e-6
    counts, _ = np.histogram(factors, 20, (0.6, 1.4))
    assert ((counts - n / 20) ** 2 / (n / 20)).sum() < 43.8  # χ² with 19 degrees of freedom, p = 0.001
    assert abs(np.corrcoef(factors[:-1], factors[1:])[0, 1]) < 3.3 / n**0.5  # p = 0.001
    other = np.asarray(jitter(jax.random.key(1), even)).ravel()
    assert abs(np.corrcoef(factors, other)[0, 1]) < 3.3 / n**0.5
    wide = np.asarray(colour.jitter(KEY, even, strength=1.5)).ravel() / 0.25
    assert 0 <= wide.min() < 0.001  # no negative factor
    assert wide.max() > 2.4


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["uint8", "float32", "bfloat16"])
def test_jitter_keeps_the_type_jit_and_no_strength_is_no_change(dtype):
    x = jnp.asarray(draw(dtype=np.uint8)) if dtype == "uint8" else jnp.asarray(draw(), dtype)
    change = lambda key, x: colour.jitter(key, x, strength=0.4, hue_strength=0.1)  # noqa: E731
    y = jax.jit(change)(KEY, x)
    assert (y.dtype, y.shape) == (x.dtype, x.shape)
    # One unit of bytes, or a rounding of bfloat16, where the order of a sum decides.
    atol = {"uint8": 1, "float32": 1e-5, "bfloat16": 2**-8}[dtype]
    np.testing.assert_allclose(y.astype(jnp.float32), change(KEY, x).astype(jnp.float32), rtol=0, atol=atol)
    assert (y != x).any()
    np.testing.assert_array_equal(colour.jitter(KEY, x, strength=0.0), x)
    np.testing.assert_array_equal(colour.lighting(KEY, x, std=0.0), x)


def test_bytes_are_floats_rounded_once():
    x = draw(dtype=np.uint8)
    y = colour.jitter(KEY, jnp.asarray(x), strength=0.4)
    exact = colour.jitter(KEY, jnp.asarray(x / 255, jnp.float32), strength=0.4)
    np.testing.assert_allclose(y, np.asarray(exact) * 255, rtol=0, atol=0.5 + 1e-4)


def test_two_batches_by_vmap():
    x, keys = jnp.asarray(draw(dtype=np.float32)), jax.random.split(KEY, 2)
    for change in (lambda k, x: colour.jitter(k, x, strength=0.3), lambda k, x: colour.lighting(k, x, std=0.2)):
        both = np.asarray(jax.jit(jax.vmap(change, (0, None)))(keys, x))
        for key, y in zip(keys, both):
            np.testing.assert_allclose(y, jax.jit(change)(key, x), rtol=0, atol=1e-6)


def test_lighting(x64):
    x = 0.3 + 0.4 * draw(6)
    y = colour.lighting(KEY, jnp.asarray(x), std=0.5)
    alphas = 0.5 * np.asarray(jax.random.normal(KEY, (6, 3), jnp.float32), np.float64)
    values, vectors = colour.IMAGENET_EIGENVALUES, colour.IMAGENET_EIGENVECTORS
    expected = [reference.lighting(image, a, values, vectors) for image, a in zip(x, alphas)]
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-7)  # alphas are drawn and multiplied in float32


def test_lighting_varies_as_the_components_do():
    n, std = 20_000, 0.1
    x = jnp.full((n, 1, 1, 3), 0.5, jnp.float32)
    shifts = np.asarray(colour.lighting(KEY, x, std=std), np.float64).reshape(n, 3) - 0.5
    values, vectors = np.array(colour.IMAGENET_EIGENVALUES), np.array(colour.IMAGENET_EIGENVECTORS)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-3)  # published to four digits
    along = shifts @ vectors / (std * values)
    assert np.abs(along.mean(0)).max() < 4 / n**0.5
    np.testing.assert_allclose(np.cov(along.T), np.eye(3), atol=0.05)
    assert abs(np.corrcoef(along[:-1, 0], along[1:, 0])[0, 1]) < 3.3 / n**0.5


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: colour.jitter(KEY, x, strength=-0.1), ValueError, "strength is -0.1"),
        (lambda x: colour.jitter(KEY, x, strength=0.1, hue_strength=0.6), ValueError, "the second at most ½"),
        (lambda x: colour.jitter(KEY, x[..., :2], strength=0.1), ValueError, "2 channels; .* for 1 or 3"),
        (lambda x: colour.jitter(KEY, x.astype(jnp.int32), strength=0.1), TypeError, "uint8 in 0…255 or floats"),
        (lambda x: colour.jitter(KEY, x, strength=float("nan")), ValueError, "strength is nan .* the first finite"),
        (lambda x: colour.jitter(KEY, x, strength=float("inf")), ValueError, "strength is inf .* the first finite"),
        (lambda x: colour.lighting(KEY, x, std=-1.0), ValueError, "std is -1.0"),
        (lambda x: colour.lighting(KEY, x, std=float("nan")), ValueError, "std is nan.* must be finite"),
        (lambda x: colour.lighting(KEY, x, values=(1.0,)), ValueError, r"values the shape \(1,\)"),
    ],
)
def test_impossible_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call(jnp.asarray(draw(2, dtype=np.float32)))
