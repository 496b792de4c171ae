"""Densely connected networks: every layer sees the outputs of all layers before it."""

from functools import partial
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp

from cs231n_jax.models.base import Mode, Model, Variant
from cs231n_jax.models.layers import BatchNorm, Conv, Dense, dropout
from cs231n_jax.ops import init, pool
from cs231n_jax.typing import Array


class DenseLayer(nn.Module):
    """x -> (x, H(x)), H = bn-relu-conv 3×3 of `growth` channels, with a bottleneck bn-relu-conv 1×1 of 4·growth first.

    Reference: Huang, Liu, van der Maaten, Weinberger 2017, "Densely Connected Convolutional Networks", equation 2.
    """

    growth: int
    bottleneck: bool
    drop_rate: float
    spatial_dropout: bool

    @nn.compact
    def __call__(self, x: Array, mode: Mode) -> Array:
        """[N, H, W, C] -> [N, H, W, C + growth]."""
        y = BatchNorm(name="norm1")(x, mode, activate=True)
        if self.bottleneck:
            y = dropout(self, Conv(4 * self.growth, 1, name="conv1")(y), self.drop_rate, mode, self.spatial_dropout)
            y = BatchNorm(name="norm2")(y, mode, activate=True)
        y = Conv(self.growth, 3, padding=1, name="conv2" if self.bottleneck else "conv1")(y)
        return jnp.concatenate((x, dropout(self, y, self.drop_rate, mode, self.spatial_dropout)), axis=-1)


class Transition(nn.Module):
    """bn-relu-conv 1×1 to `features` channels, then 2×2 average pooling."""

    features: int
    drop_rate: float
    spatial_dropout: bool

    @nn.compact
    def __call__(self, x: Array, mode: Mode) -> Array:
        """[N, H, W, C] -> [N, H/2, W/2, features]."""
        x = Conv(self.features, 1, name="conv")(BatchNorm(name="norm")(x, mode, activate=True))
        return pool.avg_pool(dropout(self, x, self.drop_rate, mode, self.spatial_dropout), 2)


class DenseNet(Model):
    """Images [N, H, W, C] -> logits [N, K]: dense blocks with transitions between them.

    The stem has `stem_width` channels: a 7×7 convolution with stride 2, batch norm and pooling in the ImageNet form,
    one 3×3 convolution in the CIFAR form. A transition keeps ⌊compression·channels⌋ channels.
    Reference: Huang et al. 2017, tables 1 and 2. CIFAR-10 errors with augmentation: 5.24 % (depth 40, growth 12),
    4.10 % (100, 12), 3.74 % (100, 24), with bottlenecks and compression 4.51 % (100, 12), 3.62 % (250, 24), 3.46 %
    (190, 40).
    """

    blocks: tuple[int, ...] = (12, 12, 12)
    growth: int = 12
    bottleneck: bool = False
    compression: float = 1.0
    stem: Literal["imagenet", "cifar"] = "cifar"
    stem_width: int = 16
    drop_rate: float = 0.0  # after every convolution but the stem's; the paper: 0.2 on data without augmentation
    spatial_dropout: bool = False  # drop whole channels of an example there, not single elements

    @property
    def stages(self) -> tuple[str, ...]:
        """stem, stage1, stage2, ..., final."""
        return ("stem", *(f"stage{s + 1}" for s in range(len(self.blocks))), "final")

    @property
    def smallest(self) -> int:
        """A halving, rounded down, in each transition; in the ImageNet form two, rounded up, before."""
        least = 2 ** (len(self.blocks) - 1)
        return 4 * least - 3 if self.stem == "imagenet" else least

    @nn.compact
    def forward(self, x: Array, *, train: bool = False, noise: bool = False) -> dict[str, Array]:
        """stem, stage1, stage2, ..., final (activated), pre_logits, logits."""
        x = self._stem(x, self.mode("stem", train, noise))
        features = {"stem": x}
        layer, transition = self.repeated(DenseLayer), self.repeated(Transition)
        drop = (self.drop_rate, self.spatial_dropout)
        for s, count in enumerate(self.blocks):
            stage = f"stage{s + 1}"
            mode = self.mode(stage, train, noise)
            if s:
                width = int(self.compression * x.shape[-1])
                x = transition(width, *drop, name=f"{stage}_transition")(x, mode)
            for i in range(count):
                x = layer(self.growth, self.bottleneck, *drop, name=f"{stage}_layer{i + 1}")(x, mode)
            features[stage] = x
        mode = self.mode("final", train, noise)
        features["final"] = BatchNorm(name="final_norm")(x, mode, activate=True)
        x = pool.global_avg_pool(features["final"])
        head = Dense(self.num_classes, init=partial(init.torch_uniform, fan_in=x.shape[-1]), name="head")
        return {**features, "pre_logits": x, "logits": head(x)}

    def _stem(self, x: Array, mode: Mode) -> Array:
        if self.stem == "cifar":
            return Conv(self.stem_width, 3, padding=1, name="stem_conv")(x)
        x = Conv(self.stem_width, 7, stride=2, padding=3, name="stem_conv")(x)
        return pool.max_pool(BatchNorm(name="stem_norm")(x, mode, activate=True), 3, stride=2, padding=1)


def _imagenet(blocks: tuple[int, ...], growth: int, parameters: int) -> Variant:
    row = {"blocks": blocks, "bottleneck": True, "compression": 0.5, "stem": "imagenet"}
    defaults = {"num_classes": 1000, "growth": growth, "stem_width": 2 * growth}
    return Variant(DenseNet, row, (224, 224, 3), parameters, defaults)


def _cifar(depth: int, growth: int, parameters: int, bc: bool = False) -> Variant:
    layers = (depth - 4) // (6 if bc else 3)
    row = {"blocks": (layers,) * 3, "bottleneck": bc, "compression": 0.5 if bc else 1.0, "stem": "cifar"}
    defaults = {"growth": growth, "stem_width": 2 * growth if bc else 16}
    return Variant(DenseNet, row, (32, 32, 3), parameters, defaults)


VARIANTS = {
    "densenet121": _imagenet((6, 12, 24, 16), 32, 7_978_856),
    "densenet161": _imagenet((6, 12, 36, 24), 48, 28_681_000),
    "densenet169": _imagenet((6, 12, 32, 32), 32, 14_149_480),
    "densenet201": _imagenet((6, 12, 48, 32), 32, 20_013_928),
    "densenet40_12": _cifar(40, 12, 1_019_722),
    "densenet100_12": _cifar(100, 12, 6_979_642),
    "densenet100_24": _cifar(100, 24, 27_249_082),
    "densenet_bc100_12": _cifar(100, 12, 769_162, bc=True),
    "densenet_bc250_24": _cifar(250, 24, 15_324_406, bc=True),
    "densenet_bc190_40": _cifar(190, 40, 25_624_430, bc=True),
}
