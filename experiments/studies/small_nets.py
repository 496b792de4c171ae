"""Small nets of the package's own layers, whose fields, multiply-adds and activations a study can ask `inspect` for."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from cs231n_jax.models.base import Model
from cs231n_jax.models.layers import Conv, activate
from cs231n_jax.ops import pool
from cs231n_jax.typing import Array


class Step(NamedTuple):
    """A convolution to `width` channels, or 3×3 … max pooling where there is no width."""

    kernel: int
    stride: int = 1
    padding: int = 0
    width: int = 0


class Chain(Model):
    """Images [N, H, W, C] -> the output of the last step: convolutions, each with its activation, and poolings.

    What a published net does between these, such as response normalisation, changes neither sizes nor costs of them.
    """

    steps: tuple[Step, ...] = ()
    use_bias: bool = False

    @property
    def stages(self) -> tuple[str, ...]:
        """step1, step2, …"""
        return tuple(f"step{i}" for i in range(1, len(self.steps) + 1))

    def setup(self) -> None:
        """A layer for every step that has weights."""
        self.layers = {
            name: Conv(step.width, step.kernel, stride=step.stride, padding=step.padding, use_bias=self.use_bias)
            for name, step in zip(self.stages, self.steps)
            if step.width
        }

    def forward(self, x: Array, *, train: bool = False, noise: bool = False) -> dict[str, Array]:
        """step1, step2, …, and the last of them as the logits."""
        features = {}
        for name, step in zip(self.stages, self.steps):
            if step.width:
                x = activate(self.layers[name](x), self.mode(name, train, noise), f"{name}_prelu")
            else:
                x = pool.max_pool(x, step.kernel, stride=step.stride, padding=step.padding)
            features[name] = x
        return {**features, "logits": x}


def image(height: int, width: int, channels: int, batch: int = 1) -> jax.ShapeDtypeStruct:
    """The shape of images, for counting."""
    return jax.ShapeDtypeStruct((batch, height, width, channels), jnp.float32)


def field(steps: Sequence[Step]) -> int:
    """The receptive field by the formula, in pixels along an axis: 1 + Σ_i (k_i − 1) · Π_{j < i} s_j.

    Reference: Araujo, Norris, Sim 2019, "Computing Receptive Fields of Convolutional Neural Networks", equation 2.
    """
    size, jump = 1, 1
    for step in steps:
        size, jump = size + (step.kernel - 1) * jump, jump * step.stride
    return size
