"""Which type sums are taken in."""

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike


def at_least_float32(dtype: DTypeLike) -> np.dtype:
    """Return float32 for a narrower float, else the float itself.

    `jnp.promote_types` would do, but refuses to mix types under strict promotion.
    """
    return np.dtype(np.float32) if jnp.finfo(dtype).bits < 32 else np.dtype(dtype)
