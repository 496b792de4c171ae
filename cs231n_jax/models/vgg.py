"""VGG networks: stacks of 3×3 convolutions, with and without batch norm, in ImageNet and CIFAR forms."""

from functools import partial
from typing import Literal

import flax.linen as nn

from cs231n_jax.models.base import Mode, Model, Variant
from cs231n_jax.models.layers import BatchNorm, Conv, Dense, activate, dropout
from cs231n_jax.ops import init, pool
from cs231n_jax.ops.adaptive_pool import adaptive_avg_pool
from cs231n_jax.typing import Array

# depth -> convolutions in each of the five stages: columns A, B, D, E of the paper's table 1
CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


class Stage(nn.Module):
    """3×3 convolutions, each with an activation (and batch norm before it), then 2×2 max pooling."""

    features: int
    convolutions: int
    batch_norm: bool

    @nn.compact
    def __call__(self, x: Array, mode: Mode) -> Array:
        """[N, H, W, C] -> [N, H/2, W/2, features]."""
        fan_out = partial(init.he_normal, mode="fan_out")
        for i in range(1, self.convolutions + 1):
            x = Conv(self.features, 3, padding=1, use_bias=True, init=fan_out, name=f"conv{i}")(x)
            if self.batch_norm:
                x = BatchNorm(name=f"norm{i}")(x, mode, activate=True)
            else:
                x = activate(x, mode, f"prelu{i}")
        return pool.max_pool(x, 2)


class Vgg(Model):
    """Images [N, H, W, 3] -> logits [N, K]: five stages; two hidden layers ("imagenet") or none ("cifar").

    Stages have width·(1, 2, 4, 8, 8) channels. The ImageNet head averages to 7×7 first (the identity for 224×224).
    Reference: Simonyan, Zisserman 2015, table 1 (columns A, B, D, E) and table 3: validation error top-1 / top-5 at
    one scale (S = 256) 29.6/10.4 %, 28.7/9.9 %, 27.0/8.8 %, 27.3/9.0 %.
    Deviation: initialised as in torchvision, so that the deep ones train without a shallow one before them.
    """

    depth: int = 16
    batch_norm: bool = False
    form: Literal["imagenet", "cifar"] = "imagenet"
    width: int = 64
    hidden: int = 4096
    drop_rate: float = 0.5  # after both hidden layers

    @property
    def stages(self) -> tuple[str, ...]:
        """stage1 … stage5 (after pooling), in the ImageNet form fc1 and fc2."""
        return ("stage1", "stage2", "stage3", "stage4", "stage5", *(("fc1", "fc2") if self.form == "imagenet" else ()))

    @property
    def smallest(self) -> int:
        """Five halvings."""
        return 32

    @nn.compact
    def forward(self, x: Array, *, train: bool = False, noise: bool = False) -> dict[str, Array]:
        """stage1 … stage5, fc1, fc2, pre_logits, logits."""
        features, block = {}, self.repeated(Stage)
        for i, convolutions in enumerate(CONVOLUTIONS[self.depth]):
            layer = block(self.width << min(i, 3), convolutions, self.batch_norm, name=f"stage{i + 1}")
            x = features[f"stage{i + 1}"] = layer(x, self.mode(f"stage{i + 1}", train, noise))
        x = adaptive_avg_pool(x, 7) if self.form == "imagenet" else pool.global_avg_pool(x)
        x = x.reshape((x.shape[0], -1))
        normal = partial(init.normal, std=0.01)
        for name in self.stages[5:]:
            mode = self.mode(name, train, noise)
            x = features[name] = activate(Dense(self.hidden, init=normal, name=name)(x), mode, f"{name}_prelu")
            x = dropout(self, x, self.drop_rate, mode)
        return {**features, "pre_logits": x, "logits": Dense(self.num_classes, init=normal, name="head")(x)}


def _imagenet(depth: int, batch_norm: bool, parameters: int) -> Variant:
    row = {"depth": depth, "batch_norm": batch_norm, "form": "imagenet"}
    return Variant(Vgg, row, (224, 224, 3), parameters, {"num_classes": 1000})


def _cifar(depth: int, batch_norm: bool, parameters: int) -> Variant:
    row = {"depth": depth, "batch_norm": batch_norm, "form": "cifar", "hidden": 0, "drop_rate": 0.0}
    return Variant(Vgg, row, (32, 32, 3), parameters)


VARIANTS = {
    "vgg11": _imagenet(11, False, 132_863_336),
    "vgg13": _imagenet(13, False, 133_047_848),
    "vgg16": _imagenet(16, False, 138_357_544),
    "vgg19": _imagenet(19, False, 143_667_240),
    "vgg11_bn": _imagenet(11, True, 132_868_840),
    "vgg13_bn": _imagenet(13, True, 133_053_736),
    "vgg16_bn": _imagenet(16, True, 138_365_992),
    "vgg19_bn": _imagenet(19, True, 143_678_248),
    "vgg11_cifar": _cifar(11, False, 9_225_610),
    "vgg13_cifar": _cifar(13, False, 9_410_122),
    "vgg16_cifar": _cifar(16, False, 14_719_818),
    "vgg19_cifar": _cifar(19, False, 20_029_514),
    "vgg11_bn_cifar": _cifar(11, True, 9_231_114),
    "vgg13_bn_cifar": _cifar(13, True, 9_416_010),
    "vgg16_bn_cifar": _cifar(16, True, 14_728_266),
    "vgg19_bn_cifar": _cifar(19, True, 20_040_522),
}
