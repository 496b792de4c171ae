"""A formulation for CPUs beside one for every other platform."""

from collections.abc import Callable

import jax
from jax import lax

from cs231n_jax.typing import PyTree


def by_platform(*operands: PyTree, cpu: Callable[..., PyTree], default: Callable[..., PyTree]) -> PyTree:
    """cpu(*operands) where the program runs on a CPU, default(*operands) elsewhere.

    Where jax's default platform is a CPU, `cpu` is called at once, since `lax.platform_dependent` would trace both:
    what is lowered there for another platform computes the same, in the formulation for CPUs.

    Args:
        operands: what both are called with.
        cpu: the formulation that is fast on a CPU.
        default: the one for other platforms; the same mathematics, shapes and dtypes.

    Returns:
        what the one for this platform returns.
    """
    if jax.default_backend() == "cpu":
        return cpu(*operands)
    return lax.platform_dependent(*operands, cpu=cpu, default=default)
