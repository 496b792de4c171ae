"""Residual networks with the activation before the convolutions: pre-activation ResNets and wide ResNets for CIFAR."""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp

from cs231n_jax.models.base import Mode, Model, Variant
from cs231n_jax.models.layers import BatchNorm, dropout
from cs231n_jax.models.resnet import classifier, conv1x1, conv3x3
from cs231n_jax.ops import pool
from cs231n_jax.ops.noise import linear_drop_rates, stochastic_depth
from cs231n_jax.typing import Array


class PreBlock(nn.Module):
    """What the two kinds of blocks share: gate · conv(...(relu(bn(x)))) + shortcut.

    The shortcut is x itself; where the shape changes, both branches begin with the same relu(bn(x)), and the shortcut
    is a 1×1 convolution of it ("B") or its subsampling with zero channels ("A", no parameters).
    Reference: He, Zhang, Ren, Sun 2016, "Identity Mappings in Deep Residual Networks", figure 4e and appendix.
    """

    features: int  # channels of the result
    stride: int
    shortcut: str
    unit_drop_rate: float = 0.0  # dropout before the last convolution
    spatial_dropout: bool = False  # of whole channels
    drop_rate: float = 0.0  # probability that the residual branch is off
    gate: str = "batch"

    def branches(self, x: Array, mode: Mode) -> tuple[Array, Array]:
        """(what the shortcut adds, relu(bn(x)))."""
        active = BatchNorm(name="norm1")(x, mode, activate=True)
        if self.stride == 1 and x.shape[-1] == self.features:
            return x, active
        if self.shortcut == "B":
            return conv1x1(self.features, stride=self.stride, name="shortcut_conv")(active), active
        missing = self.features - x.shape[-1]
        channels = ((0, 0),) * 3 + ((missing // 2, missing - missing // 2),)
        return jnp.pad(active[:, :: self.stride, :: self.stride], channels), active

    def add(self, y: Array, shortcut: Array, mode: Mode) -> Array:
        """The gate and the sum."""
        if self.drop_rate:
            key = self.make_rng("noise") if mode.noise else None
            y = stochastic_depth(key, y, drop_rate=self.drop_rate, gate=self.gate)
        return y + shortcut


class PreBasicBlock(PreBlock):
    """Two 3×3 convolutions, the first with the stride."""

    @nn.compact
    def __call__(self, x: Array, mode: Mode) -> Array:
        """[N, H, W, C] -> [N, H/stride, W/stride, features]."""
        shortcut, y = self.branches(x, mode)
        y = conv3x3(self.features, stride=self.stride, name="conv1")(y)
        y = BatchNorm(name="norm2")(y, mode, activate=True)
        y = dropout(self, y, self.unit_drop_rate, mode, self.spatial_dropout)
        return self.add(conv3x3(self.features, name="conv2")(y), shortcut, mode)


class PreBottleneck(PreBlock):
    """1×1, 3×3 (with the stride) and 1×1 convolutions, a quarter of the channels between them."""

    @nn.compact
    def __call__(self, x: Array, mode: Mode) -> Array:
        """[N, H, W, C] -> [N, H/stride, W/stride, features]."""
        shortcut, y = self.branches(x, mode)
        y = conv1x1(self.features // 4, name="conv1")(y)
        y = BatchNorm(name="norm2")(y, mode, activate=True)
        y = conv3x3(self.features // 4, stride=self.stride, name="conv2")(y)
        y = BatchNorm(name="norm3")(y, mode, activate=True)
        y = dropout(self, y, self.unit_drop_rate, mode, self.spatial_dropout)
        return self.add(conv1x1(self.features, name="conv3")(y), shortcut, mode)


class PreResNet(Model):
    """Images [N, H, W, C] -> logits [N, K]: a 3×3 stem, three stages, batch norm and rectifier, average, linear layer.

    Each stage has `blocks` blocks of width·widen, 2·width·widen and 4·width·widen channels (bottlenecks: four times
    as many); the stem has `width`.
    Reference: He et al. 2016, "Identity Mappings" (CIFAR-10 errors: 6.37 % for depth 110, 5.46 % for 164, 4.92 % for
    1001); Zagoruyko, Komodakis 2016, "Wide Residual Networks", table 1 (4.00 % for WRN-28-10, 3.89 % with dropout 0.3).
    Deviation: the head is U(±1/√fan_in) with a bias of the same distribution, as torch.nn.Linear.
    """

    blocks: int = 18
    bottleneck: bool = False
    width: int = 16
    widen: int = 1
    shortcut: Literal["A", "B"] = "A"
    drop_rate: float = 0.0  # dropout between the convolutions of a block
    spatial_dropout: bool = False  # drop whole channels of an example there, not single elements
    depth_drop_rate: float = 0.0  # stochastic depth: drop rate of the last block, growing linearly from the first
    depth_gate: Literal["batch", "row"] = "batch"

    @property
    def stages(self) -> tuple[str, ...]:
        """stem, stage1, stage2, stage3, final."""
        return ("stem", "stage1", "stage2", "stage3", "final")

    @nn.compact
    def forward(self, x: Array, *, train: bool = False, noise: bool = False) -> dict[str, Array]:
        """stem, stage1, stage2, stage3, final (activated), pre_logits, logits."""
        x = conv3x3(self.width, name="stem_conv")(x)
        features = {"stem": x}
        block = self.repeated(PreBottleneck if self.bottleneck else PreBasicBlock)
        rates = iter(linear_drop_rates(3 * self.blocks, self.depth_drop_rate))
        for s in range(3):
            stage = f"stage{s + 1}"
            for b in range(self.blocks):
                layer = block(
                    features=(self.width * self.widen << s) * (4 if self.bottleneck else 1),
                    stride=2 if s and not b else 1,
                    shortcut=self.shortcut,
                    unit_drop_rate=self.drop_rate,
                    spatial_dropout=self.spatial_dropout,
                    drop_rate=next(rates),
                    gate=self.depth_gate,
                    name=f"{stage}_block{b + 1}",
                )
                x = layer(x, self.mode(stage, train, noise))
            features[stage] = x
        mode = self.mode("final", train, noise)
        features["final"] = BatchNorm(name="final_norm")(x, mode, activate=True)
        x = pool.global_avg_pool(features["final"])
        return {**features, "pre_logits": x, "logits": classifier(self.num_classes, x)}


def _pre(depth: int, parameters: int, bottleneck: bool = False) -> Variant:
    row = {"blocks": (depth - 2) // (9 if bottleneck else 6), "bottleneck": bottleneck, "widen": 1}
    return Variant(PreResNet, row, (32, 32, 3), parameters, {"shortcut": "B" if bottleneck else "A"})


def _wide(depth: int, widen: int, parameters: int) -> Variant:
    row = {"blocks": (depth - 4) // 6, "bottleneck": False, "widen": widen, "shortcut": "B"}
    return Variant(PreResNet, row, (32, 32, 3), parameters)


VARIANTS = {
    "preresnet110": _pre(110, 1_727_962),
    "preresnet164": _pre(164, 1_703_258, bottleneck=True),
    "preresnet1001": _pre(1001, 10_327_706, bottleneck=True),
    "wrn16_4": _wide(16, 4, 2_748_890),
    "wrn16_8": _wide(16, 8, 10_961_370),
    "wrn16_10": _wide(16, 10, 17_116_634),
    "wrn22_8": _wide(22, 8, 17_158_106),
    "wrn28_10": _wide(28, 10, 36_479_194),
    "wrn28_12": _wide(28, 12, 52_517_850),
    "wrn32_4": _wide(32, 4, 5_849_050),
    "wrn40_2": _wide(40, 2, 2_243_546),
    "wrn40_4": _wide(40, 4, 8_949_210),
    "wrn40_10": _wide(40, 10, 55_841_754),
}
