"""How much of the image a unit sees, measured from gradients."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax.models import functional
from cs231n_jax.ops.init import Spec, fans


class Field(NamedTuple):
    """The pixels with an influence: a rectangle, half open."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.bottom - self.top, self.right - self.left


def receptive_field(model: Any, shape: tuple[int, int, int], feature: str, draws: int = 8) -> Field:
    """The receptive field of the central unit of a named feature.

    Parameters and images are drawn positive, so that no rectifier hides a path and no two paths cancel; the gradient of
    the unit, summed over its channels, is then non-zero at every pixel that some draw lets through the max pooling.

    Args:
        model: a module made by `models.create`.
        shape: of one image, (H, W, C); a field that ends at the border may be cut off by it.
        feature: name of an intermediate with height and width, such as "stage2".
        draws: how many images and sets of parameters are tried.

    Raises:
        ValueError: there is no such feature, or it has no height and width.

    Reference: Luo, Li, Urtasun, Zemel 2016, "Understanding the Effective Receptive Field", section 2.
    """
    image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    specs = functional.specs(model, image)

    def unit(image: Any, variables: Any) -> Any:
        state = {name: tree for name, tree in variables.items() if name != "params"}
        features, _ = functional.apply(model, variables["params"], state, image, method="features")
        if feature not in features or features[feature].ndim != 4:
            maps = [name for name, value in features.items() if value.ndim == 4]
            raise ValueError(f"{feature!r} is no feature with height and width; those are {', '.join(maps)}")
        _, height, width, _ = features[feature].shape
        return features[feature][0, height // 2, width // 2].sum()

    gradient = jax.jit(jax.grad(unit))
    seen = np.zeros(shape[:2], bool)
    for draw in range(draws):
        random = np.random.default_rng(draw)
        draw_one = functools.partial(_positive, random=random)
        variables = jax.tree.map(draw_one, specs, is_leaf=lambda node: isinstance(node, Spec))
        pixels = jnp.asarray(random.uniform(0.5, 1.5, image.shape), jnp.float32)
        seen |= np.asarray(gradient(pixels, variables)[0] != 0).any(-1)
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    return Field(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)


def _positive(spec: Spec, random: np.random.Generator) -> jax.Array:
    """Kernels around 1 / fan_in; everything else as a new model has it if constant, else zero."""
    if len(spec.shape) > 1:
        values = random.uniform(0.5, 1.5, spec.shape) / fans(spec.shape)[0]
    else:
        values = np.full(spec.shape, spec.scale if spec.distribution == "constant" else 0.0)
    return jnp.asarray(values, spec.dtype)
