"""SqueezeNet 1.1: AlexNet's accuracy with a fiftieth of its parameters."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp

from cs231n_jax.models.base import Mode, Model, Variant, scaled
from cs231n_jax.models.layers import Conv, activate, dropout
from cs231n_jax.ops import init, pool
from cs231n_jax.typing import Array

# Squeezing and expanding widths of the fire modules of each stage; pooling before every stage.
FIRES = (((16, 64), (16, 64)), ((32, 128), (32, 128)), ((48, 192), (48, 192), (64, 256), (64, 256)))


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
    """Images [N, H, W, 3] -> logits [N, K]: a 3×3 stem, eight fire modules, a 1×1 convolution, a global average.

    Reference: Iandola et al. 2016, "SqueezeNet", section 3; version 1.1 of its repository and of torchvision (which
    gives 58.178 % top-1 on ImageNet).
    """

    scale: float = 1.0  # of all widths
    drop_rate: float = 0.5

    @property
    def stages(self) -> tuple[str, ...]:
        """stem, stage1, stage2, stage3."""
        return ("stem", "stage1", "stage2", "stage3")

    @property
    def smallest(self) -> int:
        """A 3×3 window with stride 2 that leaves 12×12, for three poolings of 3×3 with stride 2."""
        return 25

    @nn.compact
    def forward(self, x: Array, *, train: bool = False, noise: bool = False) -> dict[str, Array]:
        """stem, stage1, stage2, stage3, pre_logits, logits."""
        stem = Conv(scaled(64, self.scale), 3, stride=2, use_bias=True, init=_he_uniform, name="stem_conv")
        x = activate(stem(x), self.mode("stem", train, noise), "stem_prelu")
        features, block = {"stem": x}, self.repeated(Fire)
        for stage, fires in zip(self.stages[1:], FIRES):
            x = pool.max_pool(x, 3, stride=2, ceil_mode=True)
            for i, widths in enumerate(fires, 1):
                squeeze, expand = (scaled(width, self.scale) for width in widths)
                x = block(squeeze, expand, name=f"{stage}_fire{i}")(x, self.mode(stage, train, noise))
            features[stage] = x
        pre_logits = pool.global_avg_pool(x)
        mode = self.mode("head", train, noise)
        x = dropout(self, x, self.drop_rate, mode)
        maps = Conv(self.num_classes, 1, use_bias=True, init=partial(init.normal, std=0.01), name="head")(x)
        maps = activate(maps, mode, "head_prelu")
        return {**features, "pre_logits": pre_logits, "logits": pool.global_avg_pool(maps)}


def _he_uniform(shape: tuple[int, ...]) -> init.Spec:
    """U(±√(6 / fan_in)), torch.nn.init.kaiming_uniform_."""
    return init.uniform(shape, (6.0 / init.fans(shape)[0]) ** 0.5)


VARIANTS = {"squeezenet": Variant(SqueezeNet, {}, (224, 224, 3), 1_235_496, {"num_classes": 1000})}
