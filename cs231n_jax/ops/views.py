"""Views of a batch of images that a network's predictions are averaged over at test time.

Each function returns [V, N, H', W', C] in the dtype of the images; pixels are only moved.
"""

from __future__ import annotations

from itertools import product

import jax.numpy as jnp
from jaxtyping import Array, Num


def flips(images: Num[Array, "n h w c"]) -> Num[Array, "2 n h w c"]:
    """The images, and the images mirrored left to right."""
    return jnp.stack((images, images[:, :, ::-1]))


def shifts(images: Num[Array, "n h w c"], pixels: int) -> Num[Array, "9 n h w c"]:
    """The images moved by −pixels, 0 and +pixels along each axis, zeros where nothing comes from: nine views.

    Args:
        images: [n, h, w, c].
        pixels: how far, from 1 to less than the shorter side.

    Returns:
        view 3·i + j is moved down by (i − 1)·pixels and right by (j − 1)·pixels; view 4 is the images themselves.

    Raises:
        ValueError: if pixels is out of range.
    """
    height, width = images.shape[1:3]
    if not 1 <= pixels < min(height, width):
        raise ValueError(
            f"pixels is {pixels}; images of {height}×{width} can be shifted by 1 to {min(height, width) - 1} pixels."
        )
    around = ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0))
    padded, starts = jnp.pad(images, around), (2 * pixels, pixels, 0)
    return jnp.stack([padded[:, top : top + height, left : left + width] for top, left in product(starts, starts)])


def ten_crop(images: Num[Array, "n h w c"], size: int) -> Num[Array, "10 n size size c"]:
    """The four corners and the centre, and the mirror images of these five.

    Args:
        images: [n, h, w, c].
        size: height and width of a crop, from 1 to the shorter side.

    Returns:
        top left, top right, bottom left, bottom right, centre, then the same mirrored left to right. A centre that
        falls between pixels is the nearer one to the top left.

    Raises:
        ValueError: if size is out of range.

    Reference: Krizhevsky, Sutskever, Hinton 2012, section 4.1 (crops of 224 from images of 256).
    *Deviation* from torchvision's ten_crop: an odd remainder puts the centre by ⌊(h − size) / 2⌋, where torchvision
    rounds half to even.
    """
    height, width = images.shape[1:3]
    if not 1 <= size <= min(height, width):
        raise ValueError(
            f"size is {size}; a crop of images of {height}×{width} has from 1 to {min(height, width)} pixels a side."
        )
    down, right = height - size, width - size
    corners = ((0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2))
    crops = jnp.stack([images[:, top : top + size, left : left + size] for top, left in corners])
    return jnp.concatenate((crops, crops[:, :, :, ::-1]))
