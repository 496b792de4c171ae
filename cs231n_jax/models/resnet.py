"""Residual networks for small images: the CIFAR family of depth 6n + 2."""

from functools import partial
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp

from cs231n_jax.models.base import Model, Variant
from cs231n_jax.models.layers import BatchNorm, Conv, Dense
from cs231n_jax.ops import init, pool
from cs231n_jax.typing import Array

conv3x3 = partial(Conv, kernel=3, padding=1, init=partial(init.he_normal, mode="fan_out"))


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut: relu(bn(conv(relu(bn(conv(x))))) + shortcut(x)).

    Reference: He, Zhang, Ren, Sun 2016, "Deep Residual Learning", figure 5 (left) and section 3.3; shortcuts of
    option A (subsampling and zero channels, no parameters) and B (1×1 convolution and batch norm).
    """

    features: int
    stride: int
    shortcut: str

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """[N, H, W, C] -> [N, H/stride, W/stride, features]."""
        residual = x
        if self.stride != 1 or x.shape[-1] != self.features:
            residual = self._option_a(x) if self.shortcut == "A" else self._option_b(x, train)
        y = conv3x3(self.features, stride=self.stride, name="conv1")(x)
        y = BatchNorm(name="norm1")(y, train=train, relu=True)
        y = conv3x3(self.features, name="conv2")(y)
        return BatchNorm(name="norm2")(y, train=train, relu=True, residual=residual)

    def _option_a(self, x: Array) -> Array:
        """Every stride-th pixel; half of the missing channels before the old ones, half after."""
        missing = self.features - x.shape[-1]
        return jnp.pad(x[:, :: self.stride, :: self.stride], ((0, 0),) * 3 + ((missing // 2, missing - missing // 2),))

    def _option_b(self, x: Array, train: bool) -> Array:
        fan_out = partial(init.he_normal, mode="fan_out")
        y = Conv(self.features, 1, stride=self.stride, init=fan_out, name="shortcut_conv")(x)
        return BatchNorm(name="shortcut_norm")(y, train=train)


class CifarResNet(Model):
    """Images [N, H, W, C] -> logits [N, K]: a 3×3 stem and three stages of n = (depth − 2) / 6 basic blocks.

    Stage widths are width, 2·width, 4·width; the first block of stages 2 and 3 has stride 2.
    Reference: He et al. 2016, section 4.2 (width 16, option A); published CIFAR-10 errors: 8.75 % (20), 7.51 % (32),
    7.17 % (44), 6.97 % (56), 6.43 % (110).
    Deviation: He initialisation in the fan_out form of torchvision, the head U(±1/√fan_in) as torch.nn.Linear.
    """

    depth: int = 20
    num_classes: int = 10
    width: int = 16
    shortcut: Literal["A", "B"] = "A"
    frozen: tuple[str, ...] = ()

    @nn.compact
    def forward(self, x: Array, *, train: bool = False, noise: bool = False) -> dict[str, Array]:
        """stem, stage1, stage2, stage3, pre_logits, logits."""
        del noise
        if self.depth < 8 or (self.depth - 2) % 6:
            raise ValueError(f"depth {self.depth} is not 6n + 2 with n ≥ 1: use 8, 14, 20, 32, 44, 56, 110, ...")
        if self.shortcut not in ("A", "B"):
            raise ValueError(f"shortcut {self.shortcut!r} is neither 'A' (no parameters) nor 'B' (1×1 convolution)")
        stem_trains = train and "stem" not in self.frozen
        x = conv3x3(self.width, name="stem_conv")(x)
        x = BatchNorm(name="stem_norm")(x, train=stem_trains, relu=True)
        features = {"stem": x}
        for stage in (1, 2, 3):
            name = f"stage{stage}"
            for block in range((self.depth - 2) // 6):
                stride = 2 if stage > 1 and block == 0 else 1
                layer = BasicBlock(self.width << (stage - 1), stride, self.shortcut, name=f"{name}_block{block + 1}")
                x = layer(x, train=train and name not in self.frozen)
            features[name] = x
        x = pool.global_avg_pool(x)
        head = partial(init.torch_uniform, fan_in=x.shape[-1])
        logits = Dense(self.num_classes, init=head, bias_init=head, name="head")(x)
        return {**features, "pre_logits": x, "logits": logits}


def _cifar(depth: int, parameters: int) -> Variant:
    return Variant(CifarResNet, {"depth": depth}, (32, 32, 3), parameters)


VARIANTS = {
    "resnet8": _cifar(8, 75_290),
    "resnet14": _cifar(14, 172_506),
    "resnet20": _cifar(20, 269_722),
    "resnet32": _cifar(32, 464_154),
    "resnet44": _cifar(44, 658_586),
    "resnet56": _cifar(56, 853_018),
    "resnet110": _cifar(110, 1_727_962),
    "resnet1202": _cifar(1202, 19_421_274),
}
