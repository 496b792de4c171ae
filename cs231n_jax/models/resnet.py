"""Residual networks with the activation after the sum: ImageNet and CIFAR forms, wide ones, stochastic depth."""

from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp

from cs231n_jax.models.base import Mode, Model, Variant
from cs231n_jax.models.layers import BatchNorm, Conv, Dense, activate
from cs231n_jax.ops import init, pool
from cs231n_jax.ops.noise import linear_drop_rates, stochastic_depth
from cs231n_jax.typing import Array

fan_out = partial(init.he_normal, mode="fan_out")
conv3x3 = partial(Conv, kernel=3, padding=1, init=fan_out)
conv1x1 = partial(Conv, kernel=1, init=fan_out)


class Block(nn.Module):
    """What the two kinds of residual blocks share: relu(gate · bn(last conv(...)) + shortcut(x)).

    Shortcuts of option A (subsampling and zero channels, no parameters) and B (1×1 convolution and batch norm); "none"
    leaves the shortcut and the sum out, which makes the plain net.
    Reference: He, Zhang, Ren, Sun 2016, "Deep Residual Learning", figure 5 and section 3.3; the gate: Huang et al.
    2016, "Deep Networks with Stochastic Depth".
    """

    features: int  # channels of the result
    inner: int  # channels between the convolutions
    stride: int
    shortcut: str
    v1: bool = False
    zero_init_last: bool = False
    drop_rate: float = 0.0  # probability that the residual branch is off
    gate: str = "batch"

    def project(self, x: Array, mode: Mode) -> Array | None:
        """What is added to the last normalisation; None in a plain net."""
        if self.shortcut == "none":
            return None
        if self.stride == 1 and x.shape[-1] == self.features:
            return x
        if self.shortcut == "A":
            return self._option_a(x)
        y = conv1x1(self.features, stride=self.stride, name="shortcut_conv")(x)
        return BatchNorm(name="shortcut_norm")(y, mode)

    def _option_a(self, x: Array) -> Array:
        """Every stride-th pixel; half of the missing channels before the old ones, half after."""
        missing = self.features - x.shape[-1]
        return jnp.pad(x[:, :: self.stride, :: self.stride], ((0, 0),) * 3 + ((missing // 2, missing - missing // 2),))

    def finish(self, y: Array, residual: Array | None, mode: Mode, name: str) -> Array:
        """The last normalisation, the gate, the sum and the activation."""
        normalize = BatchNorm(scale_init=0.0 if self.zero_init_last else 1.0, name=name)
        if residual is None or not self.drop_rate:
            fused = mode.activation == "relu"  # elsewhere slopes have the same name with and without a gate
            y = normalize(y, mode, activate=fused, residual=residual)
            return y if fused else activate(y, mode, "prelu")
        key = self.make_rng("noise") if mode.noise else None
        y = stochastic_depth(key, normalize(y, mode), drop_rate=self.drop_rate, gate=self.gate)
        return activate(y + residual, mode, "prelu")


class BasicBlock(Block):
    """Two 3×3 convolutions, the first with the stride."""

    @nn.compact
    def __call__(self, x: Array, mode: Mode) -> Array:
        """[N, H, W, C] -> [N, H/stride, W/stride, features]."""
        residual = self.project(x, mode)
        y = conv3x3(self.inner, stride=self.stride, name="conv1")(x)
        y = BatchNorm(name="norm1")(y, mode, activate=True)
        y = conv3x3(self.features, name="conv2")(y)
        return self.finish(y, residual, mode, "norm2")


class Bottleneck(Block):
    """1×1, 3×3 and 1×1 convolutions; the stride is on the 3×3 ("v1.5"), or with `v1` on the first 1×1 as published."""

    @nn.compact
    def __call__(self, x: Array, mode: Mode) -> Array:
        """[N, H, W, C] -> [N, H/stride, W/stride, features]."""
        residual = self.project(x, mode)
        first, second = (self.stride, 1) if self.v1 else (1, self.stride)
        y = conv1x1(self.inner, stride=first, name="conv1")(x)
        y = BatchNorm(name="norm1")(y, mode, activate=True)
        y = conv3x3(self.inner, stride=second, name="conv2")(y)
        y = BatchNorm(name="norm2")(y, mode, activate=True)
        y = conv1x1(self.features, name="conv3")(y)
        return self.finish(y, residual, mode, "norm3")


class ResNet(Model):
    """Images [N, H, W, C] -> logits [N, K]: a stem, stages of residual blocks, a global average, a linear layer.

    Stage s has `blocks[s]` blocks of width·2^s channels (bottlenecks: four times as many, and width·2^s·widen between);
    the first block of every stage but the first has stride 2. The stem is a 7×7 convolution with stride 2 and a 3×3
    pooling ("imagenet"), or one 3×3 convolution ("cifar"). Plain nets are the same without shortcuts.
    Reference: He et al. 2016, tables 1 and 6; Zagoruyko, Komodakis 2016 (`widen`). Published CIFAR-10 errors: 8.75 %
    (depth 20), 7.51 % (32), 7.17 % (44), 6.97 % (56), 6.43 % (110), with stochastic depth 5.23 % (110).
    Deviation: as in torchvision the stride of bottlenecks is on the 3×3 (`version="v1"`: on the first 1×1, as
    published), He initialisation has its fan_out form, the head is U(±1/√fan_in).
    Deviation: a block that stochastic depth switches off still updates its batch statistics.
    """

    blocks: tuple[int, ...] = (3, 3, 3)
    bottleneck: bool = False
    width: int = 16
    widen: int = 1
    stem: Literal["imagenet", "cifar"] = "cifar"
    shortcut: Literal["A", "B", "none"] = "A"  # without parameters, a 1×1 convolution, or a plain net
    version: Literal["v1", "v1.5"] = "v1.5"
    zero_init_last: bool = False  # every residual branch starts as zero
    depth_drop_rate: float = 0.0  # stochastic depth: drop rate of the last block, growing linearly from the first
    depth_gate: Literal["batch", "row"] = "batch"

    @property
    def stages(self) -> tuple[str, ...]:
        """stem, stage1, stage2, ..."""
        return ("stem", *(f"stage{s + 1}" for s in range(len(self.blocks))))

    def validate(self) -> None:
        """What makes a branch zero needs a shortcut beside it."""
        if self.shortcut == "none" and (self.depth_drop_rate or self.zero_init_last):
            raise ValueError(
                f"shortcut='none' with depth_drop_rate={self.depth_drop_rate} and zero_init_last={self.zero_init_last} "
                "leaves nothing of a block that is zero: set both to 0 and False, or take shortcut A or B"
            )

    @nn.compact
    def forward(self, x: Array, *, train: bool = False, noise: bool = False) -> dict[str, Array]:
        """stem, stage1, stage2, ..., pre_logits, logits."""
        x = self._stem(x, self.mode("stem", train, noise))
        features = {"stem": x}
        block = self.repeated(Bottleneck if self.bottleneck else BasicBlock)
        rates = iter(linear_drop_rates(sum(self.blocks), self.depth_drop_rate))
        for s, count in enumerate(self.blocks):
            stage, width = f"stage{s + 1}", self.width << s
            for b in range(count):
                layer = block(
                    features=4 * width if self.bottleneck else width,
                    inner=width * self.widen,
                    stride=2 if s and not b else 1,
                    shortcut=self.shortcut,
                    v1=self.version == "v1",
                    zero_init_last=self.zero_init_last,
                    drop_rate=next(rates),
                    gate=self.depth_gate,
                    name=f"{stage}_block{b + 1}",
                )
                x = layer(x, self.mode(stage, train, noise))
            features[stage] = x
        x = pool.global_avg_pool(x)
        return {**features, "pre_logits": x, "logits": classifier(self.num_classes, x)}

    def _stem(self, x: Array, mode: Mode) -> Array:
        imagenet = self.stem == "imagenet"
        size: dict[str, Any] = {"kernel": 7, "stride": 2, "padding": 3} if imagenet else {"kernel": 3, "padding": 1}
        x = Conv(self.width, **size, init=fan_out, name="stem_conv")(x)
        x = BatchNorm(name="stem_norm")(x, mode, activate=True)
        return pool.max_pool(x, 3, stride=2, padding=1) if imagenet else x


def classifier(num_classes: int, x: Array, name: str = "head") -> Array:
    """The logits of [N, D], initialised as torch.nn.Linear: U(±1/√D)."""
    bound = partial(init.torch_uniform, fan_in=x.shape[-1])
    return Dense(num_classes, init=bound, bias_init=bound, name=name)(x)


def _imagenet(blocks: tuple[int, ...], parameters: int, bottleneck: bool = True, widen: int = 1) -> Variant:
    row = {"blocks": blocks, "bottleneck": bottleneck, "widen": widen, "stem": "imagenet"}
    return Variant(ResNet, row, (224, 224, 3), parameters, {"num_classes": 1000, "width": 64, "shortcut": "B"})


def _cifar(depth: int, parameters: int, **defaults: float | str) -> Variant:
    row = {"blocks": ((depth - 2) // 6,) * 3, "bottleneck": False, "widen": 1, "stem": "cifar"}
    return Variant(ResNet, row, (32, 32, 3), parameters, defaults)


VARIANTS = {
    "resnet18": _imagenet((2, 2, 2, 2), 11_689_512, bottleneck=False),
    "resnet34": _imagenet((3, 4, 6, 3), 21_797_672, bottleneck=False),
    "resnet50": _imagenet((3, 4, 6, 3), 25_557_032),
    "resnet101": _imagenet((3, 4, 23, 3), 44_549_160),
    "resnet152": _imagenet((3, 8, 36, 3), 60_192_808),
    "wide_resnet50_2": _imagenet((3, 4, 6, 3), 68_883_240, widen=2),
    "wide_resnet101_2": _imagenet((3, 4, 23, 3), 126_886_696, widen=2),
    "resnet8": _cifar(8, 75_290),
    "resnet14": _cifar(14, 172_506),
    "resnet20": _cifar(20, 269_722),
    "resnet32": _cifar(32, 464_154),
    "resnet44": _cifar(44, 658_586),
    "resnet56": _cifar(56, 853_018),
    "resnet110": _cifar(110, 1_727_962),
    "resnet1202": _cifar(1202, 19_421_274),
    "plain20": _cifar(20, 269_722, shortcut="none"),
    "plain56": _cifar(56, 853_018, shortcut="none"),
    "stochastic_resnet110": _cifar(110, 1_727_962, depth_drop_rate=0.5),
    "resnet18_cifar": Variant(
        ResNet,
        {"blocks": (2, 2, 2, 2), "bottleneck": False, "widen": 1, "stem": "cifar"},
        (32, 32, 3),
        11_173_962,
        {"width": 64, "shortcut": "B"},
    ),
}
