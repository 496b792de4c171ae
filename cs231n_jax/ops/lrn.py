"""Local response normalisation across channels."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from cs231n_jax.ops.precision import at_least_float32


def local_response_norm(
    x: Float[Array, "*n c"], *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0
) -> Float[Array, "*n c"]:
    """Divide each channel by a power of the energy of its neighbours.

    y_i = x_i / (k + alpha·Σ_j x_j²)^beta, j from i − ⌊size/2⌋ to i + ⌊size/2⌋ within the channels

    Args:
        x: [..., c], float.
        size: number of neighbouring channels, odd.
        alpha: weight of the sum of squares, ≥ 0.
        beta: the power, ≥ 0.
        k: the constant, > 0.

    Returns:
        y in the shape and dtype of x, computed in at least float32.

    Raises:
        ValueError: if size is not a positive odd number.

    Reference: Krizhevsky, Sutskever, Hinton 2012, section 3.3, with its constants as the defaults.
    *Deviation* from Caffe and torch.nn.LocalResponseNorm: they divide alpha by size, so alpha=1e-4 here is
    alpha=5e-4 there.
    """
    if size < 1 or size % 2 == 0:
        raise ValueError(f"size is {size}; it must be an odd number of channels, such as 5.")
    wide = x.astype(at_least_float32(x.dtype))
    reach, channels = size // 2, x.shape[-1]
    squares = jnp.pad(jnp.square(wide), ((0, 0),) * (x.ndim - 1) + ((reach, reach),))
    energy = sum((squares[..., i : i + channels] for i in range(1, size)), squares[..., :channels])
    return (wide * jnp.exp(-beta * jnp.log(k + alpha * energy))).astype(x.dtype)
