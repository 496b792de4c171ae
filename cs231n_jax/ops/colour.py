"""Random changes of the colours of a whole batch on the device: jitter and lighting.

Reference: torchvision.transforms.v2.functional for the single changes; `jitter` and `lighting` name their papers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, Num

from cs231n_jax.ops import pixels

LUMA = (0.2989, 0.587, 0.114)  # torchvision's weights of red, green and blue in grey

# Of the colours of ImageNet's pixels, from fb.resnet.torch; column k of the vectors belongs to value k.
IMAGENET_EIGENVALUES = (0.2175, 0.0188, 0.0045)
IMAGENET_EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))


def brightness(images: Float[Array, "n h w c"], factors: Float[Array, " n"]) -> Float[Array, "n h w c"]:
    """Return factor·x for each image, clipped to [0, 1]: 0 is black, 1 the image."""
    return _blend(images, jnp.zeros_like(images), factors)


def contrast(images: Float[Array, "n h w c"], factors: Float[Array, " n"]) -> Float[Array, "n h w c"]:
    """Return factor·x + (1 − factor)·(mean of the image in grey), clipped to [0, 1]: 0 is even grey, 1 the image."""
    return _blend(images, jnp.broadcast_to(_grey(images).mean((1, 2, 3), keepdims=True), images.shape), factors)


def saturation(images: Float[Array, "n h w c"], factors: Float[Array, " n"]) -> Float[Array, "n h w c"]:
    """Return factor·x + (1 − factor)·(x in grey), clipped to [0, 1]: 0 is without colour, 1 the image."""
    return _blend(images, jnp.broadcast_to(_grey(images), images.shape), factors)


def hue(images: Float[Array, "n h w c"], shifts: Float[Array, " n"]) -> Float[Array, "n h w c"]:
    """Turn the hue of each image by a share of the circle; value and chroma stay. Grey images [n, h, w, 1] stay.

    With value v = max(r, g, b), chroma c = v − min(r, g, b) and hue h in sixths of the circle the new channel is
    v − c·clip(min(k, 4 − k), 0, 1), k = (offset + h + 6·shift) mod 6, of offset 5, 3, 1 for red, green and blue.
    """
    if images.shape[-1] == 1:
        return images
    red, green, blue = images[..., 0], images[..., 1], images[..., 2]
    value, low = images.max(-1), images.min(-1)
    chroma = value - low
    safe = jnp.where(chroma > 0, chroma, jnp.ones_like(chroma))
    of_red, of_green = (green - blue) / safe, (blue - red) / safe + 2
    sixths = jnp.where(value == red, of_red, jnp.where(value == green, of_green, (red - green) / safe + 4))
    sixths = sixths + 6 * _by_image(shifts, sixths)

    def channel(offset: float) -> Array:
        k = offset + sixths
        k = k - 6 * jnp.floor(k / 6)  # jnp.mod is not vectorised on CPU
        return value - chroma * jnp.clip(jnp.minimum(k, 4 - k), 0, 1)

    return jnp.stack([channel(5.0), channel(3.0), channel(1.0)], axis=-1)


def jitter(
    key: Key[Array, ""], images: Num[Array, "n h w c"], *, strength: float, hue_strength: float = 0.0
) -> Num[Array, "n h w c"]:
    """Change brightness, contrast, saturation and hue of each image by factors of its own.

    The first three factors are uniform in [max(0, 1 − strength), 1 + strength], the shift of the hue is uniform in
    [−hue_strength, hue_strength].

    Args:
        key: decides the factors.
        images: [n, h, w, c] with 1 or 3 channels (red, green, blue); uint8, or floats in [0, 1].
        strength: ≥ 0, finite.
        hue_strength: share of the circle, in [0, ½]; with 0 the hue is not computed.

    Returns:
        [n, h, w, c] in the dtype of images; bytes are rounded to the nearest, once. With both strengths 0 the images.

    Raises:
        ValueError: if a strength is out of range or there are not 1 or 3 channels.
        TypeError: if the images are neither uint8 nor floats.

    Reference: torchvision.transforms.ColorJitter and its `adjust_…` functions; fb.resnet.torch, ColorJitter (0.4).
    *Deviation* from torchvision: always in the order named, where it draws one of 24; all steps are computed in floats,
    where it truncates bytes after each. Grey images have no saturation and no hue to change.
    """
    if not 0 <= strength < math.inf or not 0 <= hue_strength <= 0.5:
        raise ValueError(
            f"strength is {strength} and hue_strength {hue_strength}; both must be at least 0, the first finite, the "
            "second at most ½."
        )
    if images.shape[-1] not in (1, 3):
        raise ValueError(f"The images have {images.shape[-1]} channels; colours are changed for 1 or 3.")
    if strength == 0 and hue_strength == 0:
        return images
    x, low = pixels.to_unit(images), max(0.0, 1.0 - strength)
    numbers = jax.random.uniform(key, (4, images.shape[0]), jnp.float32).astype(x.dtype)
    if strength:
        for change, number in zip((brightness, contrast, saturation), numbers, strict=False):
            x = change(x, low + (1.0 + strength - low) * number)
    if hue_strength:
        x = hue(x, hue_strength * (2 * numbers[3] - 1))
    return pixels.from_unit(x, images.dtype)


def lighting(
    key: Key[Array, ""],
    images: Num[Array, "n h w 3"],
    *,
    std: float = 0.1,
    values: Sequence[float] | np.ndarray = IMAGENET_EIGENVALUES,
    vectors: Sequence[Sequence[float]] | np.ndarray = IMAGENET_EIGENVECTORS,
) -> Num[Array, "n h w 3"]:
    """Add a random multiple of each principal component of the data's colours, one draw an image.

    y = x + Σ_k α_k·values_k·vectors[:, k], α_k ~ N(0, std²)

    Args:
        key: decides the multiples.
        images: [n, h, w, 3], red, green, blue; uint8, or floats in [0, 1].
        std: ≥ 0, finite.
        values: 3 eigenvalues of the covariance of pixels in [0, 1].
        vectors: [3, 3], the unit eigenvectors as columns.

    Returns:
        [n, h, w, 3] in the dtype of images, clipped to what pixels can be; bytes are rounded to the nearest.

    Raises:
        ValueError: if std is out of range, there are not 3 channels, or values and vectors are not of that size.
        TypeError: if the images are neither uint8 nor floats.

    Reference: Krizhevsky, Sutskever, Hinton 2012, section 4.1; fb.resnet.torch for ImageNet's values and vectors.
    *Deviation*: clipped, where the paper says nothing and fb.resnet.torch does not clip.
    """
    values, vectors = np.asarray(values, np.float64), np.asarray(vectors, np.float64)
    if not 0 <= std < math.inf or images.shape[-1] != 3 or values.shape != (3,) or vectors.shape != (3, 3):
        raise ValueError(
            f"std is {std}, the images have {images.shape[-1]} channels, values the shape {values.shape} and vectors "
            f"{vectors.shape}; std must be finite and at least 0, and the others 3, (3,) and (3, 3)."
        )
    if std == 0:
        return images
    x = pixels.to_unit(images)
    alphas = (std * jax.random.normal(key, (images.shape[0], 3), jnp.float32)).astype(x.dtype)
    shifts = jnp.einsum("nk,ck->nc", alphas, jnp.asarray(values * vectors, x.dtype), precision="highest")
    return pixels.from_unit(x + jax.lax.broadcast_in_dim(shifts, x.shape, (0, 3)), images.dtype)


def _grey(images: Array) -> Array:
    """[n, h, w, 1]."""
    if images.shape[-1] == 1:
        return images
    parts: list[Array] = [weight * images[..., i : i + 1] for i, weight in enumerate(LUMA)]
    return parts[0] + parts[1] + parts[2]


def _blend(images: Array, other: Array, factors: Array) -> Array:
    factors = _by_image(factors, images)
    # With a factor of exactly 1 this is exactly the image.
    return jnp.clip(factors * images + (1 - factors) * other, 0, 1)


def _by_image(numbers: Array, like: Array) -> Array:
    return jax.lax.broadcast_in_dim(numbers.astype(like.dtype), like.shape, (0,))
