"""Network in Network: convolutions followed by 1×1 convolutions, and a global average in place of hidden layers."""

import math
from functools import partial
from typing import Literal, NamedTuple

import flax.linen as nn

from cs231n_jax.models.base import Mode, Model, Variant, scaled
from cs231n_jax.models.layers import Conv, activate, dropout
from cs231n_jax.ops import init, pool
from cs231n_jax.typing import Array


class Part(NamedTuple):
    """A convolution and two 1×1 convolutions; of the last one of a network the width is the number of classes."""

    widths: tuple[int, ...]
    kernel: int
    stride: int
    padding: int


LAYOUTS = {
    "cifar": (Part((192, 160, 96), 5, 1, 2), Part((192, 192, 192), 5, 1, 2), Part((192, 192), 3, 1, 1)),
    "imagenet": (
        Part((96, 96, 96), 11, 4, 0),
        Part((256, 256, 256), 5, 1, 2),
        Part((384, 384, 384), 3, 1, 1),
        Part((1024, 1024), 3, 1, 1),
    ),
}


class MlpConv(nn.Module):
    """A convolution and 1×1 convolutions, an activation after each: a small network that slides over the image."""

    widths: tuple[int, ...]
    kernel: int
    stride: int
    padding: int
    std: float  # of the initial weights

    @nn.compact
    def __call__(self, x: Array, mode: Mode) -> Array:
        """[N, H, W, C] -> [N, H', W', widths[-1]]."""
        normal = partial(init.normal, std=self.std)
        for i, width in enumerate(self.widths):
            window = (1, 1, 0) if i else (self.kernel, self.stride, self.padding)
            layer = Conv(width, *window, use_bias=True, init=normal, name=f"conv{i + 1}")
            x = activate(layer(x), mode, f"prelu{i + 1}")
        return x


class Nin(Model):
    """Images [N, H, W, C] -> logits [N, K]: a global average over the K maps of the last 1×1 convolution.

    Between the parts: 3×3 pooling with stride 2 and dropout. The CIFAR form takes an average at the second one, the
    ImageNet form (of the Caffe model zoo) has four parts and dropout before the last alone.
    Reference: Lin, Chen, Yan 2014, sections 3 and 4 (CIFAR-10 error 10.41 %, with augmentation 8.81 %; CIFAR-100
    35.68 %).
    Weights begin as N(0, 0.05²), which is the authors' for the CIFAR form's widths; `scale` times as wide they begin as
    N(0, 0.05²/scale), so that a layer keeps the size of signals as it did; the first, of three channels at any width,
    makes them 1/√scale as large. Biases begin at 0.
    Deviation: "pre_logits" is the average of the last part's maps before the last 1×1 convolution. In the ImageNet form
    the authors' first, seventh and last convolutions begin at a deviation of 0.01.
    """

    form: Literal["cifar", "imagenet"] = "cifar"
    scale: float = 1.0  # of all widths
    drop_rate: float = 0.5

    @property
    def stages(self) -> tuple[str, ...]:
        """stage1, stage2, stage3 (and stage4 in the ImageNet form), after pooling."""
        return tuple(f"stage{i + 1}" for i in range(len(LAYOUTS[self.form])))

    @property
    def smallest(self) -> int:
        """Two poolings of 3×3 with stride 2; in the ImageNet form three, and 11×11 windows with stride 4 before."""
        return 6 if self.form == "cifar" else 55

    @nn.compact
    def forward(self, x: Array, *, train: bool = False, noise: bool = False) -> dict[str, Array]:
        """stage1, stage2, ..., pre_logits, logits."""
        features, block = {}, self.repeated(MlpConv)
        std = 0.05 / math.sqrt(self.scale)
        last = self.stages[-1]
        for stage, part in zip(self.stages, LAYOUTS[self.form]):
            mode = self.mode(stage, train, noise)
            if stage == last or (self.form == "cifar" and stage != "stage1"):
                x = dropout(self, x, self.drop_rate, mode)
            widths = tuple(scaled(width, self.scale) for width in part.widths)
            x = block(widths, *part[1:], std, name=stage)(x, mode)
            if stage != last:
                average = self.form == "cifar" and stage == "stage2"
                x = (pool.avg_pool if average else pool.max_pool)(x, 3, stride=2, ceil_mode=True)
            features[stage] = x
        pre_logits = pool.global_avg_pool(x)
        maps = Conv(self.num_classes, 1, use_bias=True, init=partial(init.normal, std=std), name="head")(x)
        maps = activate(maps, self.mode("head", train, noise), "head_prelu")
        return {**features, "pre_logits": pre_logits, "logits": pool.global_avg_pool(maps)}


VARIANTS = {
    "nin_cifar": Variant(Nin, {"form": "cifar"}, (32, 32, 3), 966_986),
    "nin_imagenet": Variant(Nin, {"form": "imagenet"}, (224, 224, 3), 7_595_176, {"num_classes": 1000}),
}
