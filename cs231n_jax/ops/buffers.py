"""Two ways to tell XLA:CPU when an array is to be written, where it would otherwise decide badly."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array


def held(array: Array, number: Array) -> Array:
    """Return the array, but as a buffer that is written before it is read.

    Otherwise what computes the array is repeated inside every loop that reads it, once for each shifted copy. XLA up to
    jaxlib 0.10 drops `lax.optimization_barrier` too early to prevent that (where the reader is not a function compiled
    on its own); it cannot see through elements rewritten in place at an index known only at run time. The derivative of
    3×3 max-pooling at stride 1: 250 ms with the barrier, 17 with this. The index moves along axis 1 and axis 0 is taken
    whole, so that an array sharded over the batch stays where it is.

    Args:
        array: [n, h, w, c].
        number: any scalar known only at run time; its value does not matter.
    """
    zero = np.int32(0)
    index = (zero, lax.convert_element_type(lax.ne(number, number), np.int32), zero, zero)
    return lax.dynamic_update_slice(array, lax.dynamic_slice(array, index, (array.shape[0], 1, 1, 1)), index)


def after(array: Array, other: Array) -> Array:
    """Return the array unchanged, but not computable before the other is.

    What depends only on the forward pass may be scheduled there, and then it is kept until the backward pass asks for
    it: 572 MB instead of 312 for a step of ResNet-20. Adding −0.0 changes no number; which zero is chosen at run time.

    Args:
        array: [n, h, w, c], float.
        other: [n, h', w', c'], float of the same dtype.
    """
    number = lax.slice(other, (0, 0, 0, 0), (other.shape[0], 1, 1, 1))
    zero = lax.select(lax.ne(number, number), jnp.full_like(number, 0.0), jnp.full_like(number, -0.0))
    return array + lax.broadcast_in_dim(zero, array.shape, (0, 1, 2, 3))
