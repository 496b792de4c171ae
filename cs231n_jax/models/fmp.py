"""Fractional max-pooling networks: 2×2 convolutions between poolings so gentle that there can be twelve of them."""

from functools import partial
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp

from cs231n_jax.models.base import Model, Variant
from cs231n_jax.models.layers import Conv, activate, dropout, fractional_max_pool
from cs231n_jax.ops import init
from cs231n_jax.typing import Array

ROOTS = {"square": 2, "cube": 3}  # the pooling ratio: √2 or ∛2


def sides(layers: int, ratio: float) -> tuple[int, ...]:
    """What each layer's pooling leaves, found from the end: a 2×2 convolution takes one pixel, pooling the ratio.

    Returns:
        layers + 1 sides: that of the image, then those after each of the poolings; the last is 2, for the C2 layer.
    """
    found = [2]
    for _ in range(layers):
        found.append(round(found[-1] * ratio) + 1)
    return tuple(reversed(found))


class Fmp(Model):
    """Images [N, H, W, C] -> logits [N, K]: (width·n C2 − FMP)_layers − C2 − C1 − output.

    Layer n has a 2×2 convolution to width·n channels and fractional max pooling by √2 or ∛2; a 2×2 and a 1×1
    convolution and the output follow. Dropout before layer n grows linearly from 0, before the 1×1 convolution it is
    drop_rate. Smaller images stand in the middle of zeros. Networks of ∛2 take 94×94 at twelve layers, those of √2 take
    36×36 at six.
    Reference: Graham 2014, "Fractional Max-Pooling", sections 4.2 to 4.4; test errors, averaged over passes: CIFAR-10
    3.5 % (a hundred passes, heavy augmentation), CIFAR-100 26.4 %, MNIST 0.3 %. Not yet run.
    Deviation: a layer's pooling takes the same sequences for the whole batch and none by chance at inference without
    noise; zeros around the image are computed with, where the paper's convolutions skip them.
    """

    layers: int = 12
    root: Literal["square", "cube"] = "cube"
    width: int = 160
    pool_overlap: bool = True
    pool_sequence: Literal["random", "pseudorandom"] = "random"
    drop_rate: float = 0.0
    activation: str = "leaky_relu"

    @property
    def ratio(self) -> float:
        """√2 or ∛2."""
        return 2.0 ** (1.0 / ROOTS[self.root])

    @property
    def stages(self) -> tuple[str, ...]:
        """stage1, stage2, ... (after pooling), c2, c1."""
        return (*(f"stage{n + 1}" for n in range(self.layers)), "c2", "c1")

    def check_input(self, x: Array) -> None:
        """Refuse images larger than the network's own, too."""
        super().check_input(x)
        side = sides(self.layers, self.ratio)[0]
        if max(x.shape[1:3]) > side:
            raise ValueError(
                f"{self.name or 'fmp'} of {self.layers} layers takes images of at most {side}×{side}, got "
                f"{x.shape[1]}×{x.shape[2]}: cut or shrink them, or take more layers"
            )

    @nn.compact
    def forward(self, x: Array, *, train: bool = False, noise: bool = False) -> dict[str, Array]:
        """stage1, stage2, ..., c2, c1, pre_logits, logits."""
        first, *after = sides(self.layers, self.ratio)
        features, x = {}, _centred(x, first)
        he = partial(init.he_normal, mode="fan_in")
        for n, stage in enumerate(self.stages):
            mode = self.mode(stage, train, noise)
            x = dropout(self, x, self.drop_rate * n / (self.layers + 1), mode)
            x = Conv(self.width * (n + 1), 1 if stage == "c1" else 2, use_bias=True, init=he, name=stage)(x)
            x = activate(x, mode, f"{stage}_prelu")
            if n < self.layers:
                overlapping, sequence = self.pool_overlap, self.pool_sequence
                pool = partial(fractional_max_pool, size=after[n], overlapping=overlapping, sequence=sequence)
                x = pool(self, x, mode, self.ratio)
            features[stage] = x
        logits = Conv(self.num_classes, 1, use_bias=True, init=he, name="head")(x)
        return {**features, "pre_logits": x[:, 0, 0], "logits": logits[:, 0, 0]}


def _centred(x: Array, side: int) -> Array:
    """The images in the middle of zeros [N, side, side, C]."""
    missing = [side - size for size in x.shape[1:3]]
    return jnp.pad(x, ((0, 0), *((m // 2, m - m // 2) for m in missing), (0, 0)))


_CIFAR = {"layers": 12, "root": "cube"}

VARIANTS = {
    "fmp_digits": Variant(Fmp, {"layers": 3, "root": "square"}, (8, 8, 1), 26_714, {"width": 16}),
    "fmp_mnist": Variant(Fmp, {"layers": 6, "root": "square"}, (28, 28, 1), 519_946, {"width": 32}),
    "fmp_cifar10": Variant(Fmp, _CIFAR, (32, 32, 3), 79_247_530, {"drop_rate": 0.5}),
    "fmp_cifar10_narrow": Variant(Fmp, _CIFAR, (32, 32, 3), 796_186, {"width": 16}),
    "fmp_cifar100": Variant(Fmp, _CIFAR, (32, 32, 3), 12_770_212, {"width": 64, "num_classes": 100}),
}
