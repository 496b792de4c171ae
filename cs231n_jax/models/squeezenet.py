"""SqueezeNet 1.0 and 1.1: AlexNet's accuracy with a fiftieth of its parameters."""

from functools import partial
from typing import Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from cs231n_jax.models.base import Mode, Model, Variant, scaled
from cs231n_jax.models.layers import Conv, activate, dropout
from cs231n_jax.ops import init, pool
from cs231n_jax.typing import Array


class Version(NamedTuple):
    """Width and kernel of the stem; squeezing and expanding widths of the fire modules of each stage."""

    width: int
    kernel: int
    fires: tuple[tuple[tuple[int, int], ...], ...]  # pooling before every stage


VERSIONS = {
    "1.0": Version(
        *(96, 7),
        (((16, 64), (16, 64), (32, 128)), ((32, 128), (48, 192), (48, 192), (64, 256)), ((64, 256),)),
    ),
    "1.1": Version(
        *(64, 3),
        (((16, 64), (16, 64)), ((32, 128), (32, 128)), ((48, 192), (48, 192), (64, 256), (64, 256))),
    ),
}


class Fire(nn.Module):
    """A 1×1 convolution to few channels, then 1×1 and 3×3 convolutions side by side."""

    squeeze: int
    expand: int

    @nn.compact
    def __call__(self, x: Array, mode: Mode) -> Array:
        """[N, H, W, C] -> [N, H, W, 2·expand]."""
        conv = partial(Conv, use_bias=True, init=_he_uniform)
        x = activate(conv(self.squeeze, 1, name="squeeze")(x), mode, "squeeze_prelu")
        narrow, wide = conv(self.expand, 1, name="expand1x1")(x), conv(self.expand, 3, padding=1, name="expand3x3")(x)
        return activate(jnp.concatenate((narrow, wide), axis=-1), mode, "expand_prelu")


class SqueezeNet(Model):
    """Images [N, H, W, 3] -> logits [N, K]: a stem, eight fire modules, a 1×1 convolution, a global average.

    Version 1.0 has a 7×7 stem of 96 channels, 1.1 a 3×3 one of 64 and its pooling earlier.

    Reference: Iandola et al. 2016, "SqueezeNet", section 3 (1.0); version 1.1 of its repository and of torchvision
    (which gives 58.178 % top-1 on ImageNet). The authors' 1.0 pads the last convolution (head_padding=1), torchvision's
    does not.
    """

    version: Literal["1.0", "1.1"] = "1.1"
    head_padding: int = 0
    scale: float = 1.0  # of all widths
    drop_rate: float = 0.5

    @property
    def stages(self) -> tuple[str, ...]:
        """stem, stage1, stage2, stage3."""
        return ("stem", "stage1", "stage2", "stage3")

    @property
    def smallest(self) -> int:
        """A window of the stem with stride 2 that leaves 12×12, for three poolings of 3×3 with stride 2."""
        return VERSIONS[self.version].kernel + 22

    @nn.compact
    def forward(self, x: Array, *, train: bool = False, noise: bool = False) -> dict[str, Array]:
        """stem, stage1, stage2, stage3, pre_logits, logits."""
        width, kernel, every = VERSIONS[self.version]
        stem = Conv(scaled(width, self.scale), kernel, stride=2, use_bias=True, init=_he_uniform, name="stem_conv")
        x = activate(stem(x), self.mode("stem", train, noise), "stem_prelu")
        features, block = {"stem": x}, self.repeated(Fire)
        for stage, fires in zip(self.stages[1:], every):
            x = pool.max_pool(x, 3, stride=2, ceil_mode=True)
            for i, widths in enumerate(fires, 1):
                squeeze, expand = (scaled(width, self.scale) for width in widths)
                x = block(squeeze, expand, name=f"{stage}_fire{i}")(x, self.mode(stage, train, noise))
            features[stage] = x
        pre_logits = pool.global_avg_pool(x)
        mode = self.mode("head", train, noise)
        x = dropout(self, x, self.drop_rate, mode)
        last = partial(init.normal, std=0.01)
        maps = Conv(self.num_classes, 1, padding=self.head_padding, use_bias=True, init=last, name="head")(x)
        maps = activate(maps, mode, "head_prelu")
        return {**features, "pre_logits": pre_logits, "logits": pool.global_avg_pool(maps)}


def _he_uniform(shape: tuple[int, ...]) -> init.Spec:
    """U(±√(6 / fan_in)), torch.nn.init.kaiming_uniform_."""
    return init.uniform(shape, (6.0 / init.fans(shape)[0]) ** 0.5)


_IMAGENET = {"num_classes": 1000}
VARIANTS = {
    "squeezenet": Variant(SqueezeNet, {"version": "1.1"}, (224, 224, 3), 1_235_496, _IMAGENET),
    "squeezenet1_0": Variant(SqueezeNet, {"version": "1.0"}, (224, 224, 3), 1_248_424, _IMAGENET),
}
