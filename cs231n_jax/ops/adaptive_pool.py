"""Average pooling to a given size, whatever the size of the image."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cs231n_jax.ops.precision import at_least_float32


def adaptive_avg_pool(x: Float[Array, "n h w c"], size: int) -> Float[Array, "n size size c"]:
    """Average an image over size × size windows that cover it evenly.

    Window i of an axis of length l reaches from ⌊i·l / size⌋ to ⌈(i + 1)·l / size⌉; windows overlap where size does
    not divide l, and repeat pixels where l is smaller than size.

    Args:
        x: images [n, h, w, c], float.
        size: side of the result, ≥ 1.

    Returns:
        [n, size, size, c] in the dtype of x, computed in at least float32.

    Reference: torch.nn.AdaptiveAvgPool2d.
    """
    if x.shape[1:3] == (size, size):
        return x
    wide = at_least_float32(x.dtype)
    rows, columns = (jnp.asarray(_windows(length, size), wide) for length in x.shape[1:3])
    return jnp.einsum("ph,qw,nhwc->npqc", rows, columns, x.astype(wide)).astype(x.dtype)


def _windows(length: int, size: int) -> np.ndarray:
    """Return the matrix [size, length] that takes the mean of each window."""
    first = np.arange(size) * length // size
    last = -(-(np.arange(size) + 1) * length // size)
    pixel = np.arange(length)
    inside = (pixel >= first[:, None]) & (pixel < last[:, None])
    return inside / inside.sum(1, keepdims=True)
