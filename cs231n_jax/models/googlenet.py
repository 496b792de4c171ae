"""GoogLeNet: inception modules and two auxiliary classifiers, in torchvision's and in the published layout."""

from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp

from cs231n_jax.models.base import Mode, Model, Variant, scaled
from cs231n_jax.models.layers import BatchNorm, Conv, Dense, activate, dropout
from cs231n_jax.ops import init, pool
from cs231n_jax.ops.adaptive_pool import adaptive_avg_pool
from cs231n_jax.ops.lrn import local_response_norm
from cs231n_jax.typing import Array

# Widths of the six convolutions of each module: 1×1; 1×1, 3×3; 1×1, 5×5; 1×1 after pooling (the paper's table 1)
MODULES = {
    "stage3_a": (64, 96, 128, 16, 32, 32),
    "stage3_b": (128, 128, 192, 32, 96, 64),
    "stage4_a": (192, 96, 208, 16, 48, 64),
    "stage4_b": (160, 112, 224, 24, 64, 64),
    "stage4_c": (128, 128, 256, 24, 64, 64),
    "stage4_d": (112, 144, 288, 32, 64, 64),
    "stage4_e": (256, 160, 320, 32, 128, 128),
    "stage5_a": (256, 160, 320, 32, 128, 128),
    "stage5_b": (384, 192, 384, 48, 128, 128),
}
AUXILIARY = {"stage4_a": "aux1", "stage4_d": "aux2"}  # where the auxiliary heads are attached
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ConvUnit(nn.Module):
    """Convolution, batch norm (or a bias) and activation."""

    features: int
    kernel: int
    stride: int = 1
    batch_norm: bool = True

    @nn.compact
    def __call__(self, x: Array, mode: Mode) -> Array:
        """[N, H, W, C] -> [N, H/stride, W/stride, features]."""
        size: dict[str, Any] = {"stride": self.stride, "padding": self.kernel // 2}
        if self.batch_norm:
            x = Conv(self.features, self.kernel, **size, init=partial(init.normal, std=0.01), name="conv")(x)
            return BatchNorm(eps=1e-3, name="norm")(x, mode, activate=True)
        start = {"init": init.xavier_uniform, "bias_init": partial(init.constant, value=0.2)}
        x = Conv(self.features, self.kernel, **size, use_bias=True, **start, name="conv")(x)
        return activate(x, mode, "prelu")


class Inception(nn.Module):
    """Four branches side by side: 1×1; 1×1 and 3×3; 1×1 and 5×5; 3×3 pooling and 1×1.

    Reference: Szegedy et al. 2015, "Going Deeper with Convolutions", figure 2b.
    """

    widths: tuple[int, ...]
    kernel5: int
    batch_norm: bool

    @nn.compact
    def __call__(self, x: Array, mode: Mode) -> Array:
        """[N, H, W, C] -> [N, H, W, sum of the widths of the four branches]."""
        unit = partial(ConvUnit, batch_norm=self.batch_norm)
        one, three_in, three, five_in, five, pooled = self.widths
        branch1 = unit(one, 1, name="branch1")(x, mode)
        branch2 = unit(three, 3, name="branch2")(unit(three_in, 1, name="branch2_reduce")(x, mode), mode)
        branch3 = unit(five, self.kernel5, name="branch3")(unit(five_in, 1, name="branch3_reduce")(x, mode), mode)
        branch4 = unit(pooled, 1, name="branch4")(pool.max_pool(x, 3, stride=1, padding=1), mode)
        return jnp.concatenate((branch1, branch2, branch3, branch4), axis=-1)


class AuxiliaryHead(nn.Module):
    """Average to 4×4, 1×1 convolution, hidden layer, dropout, logits."""

    num_classes: int
    width: int
    hidden: int
    drop_rate: float
    batch_norm: bool

    @nn.compact
    def __call__(self, x: Array, mode: Mode) -> Array:
        """[N, H, W, C] -> [N, K]."""
        x = ConvUnit(self.width, 1, batch_norm=self.batch_norm, name="conv")(adaptive_avg_pool(x, 4), mode)
        x = activate(_dense(self.hidden, x.reshape((x.shape[0], -1)), "fc1"), mode, "fc1_prelu")
        return _dense(self.num_classes, dropout(self, x, self.drop_rate, mode), "fc2")


class GoogLeNet(Model):
    """Images [N, H, W, 3] -> logits [N, K], in training also aux1 and aux2 [N, K].

    The CIFAR form has one 3×3 convolution of 192 channels for a stem.
    Reference: Szegedy et al. 2015, section 5 and table 1: top-5 error 10.07 % with one crop, 6.67 % for seven networks
    with 144 crops.
    Deviation: torchvision's layout is the default. Its third branch has 3×3 kernels (kernel5=5: as published), batch
    norm replaces biases and response normalisation (norm="lrn": as published, started as Caffe's is), its last pooling
    is 2×2. The auxiliary heads average to 4×4 where the paper pools 5×5 with stride 3.
    """

    form: Literal["imagenet", "cifar"] = "imagenet"
    modules: tuple[str, ...] = tuple(MODULES)  # those that are there, in order; every name fixes all nine
    norm: Literal["batch", "lrn"] = "batch"
    kernel5: int = 3
    scale: float = 1.0  # of all widths
    drop_rate: float = 0.2  # before the last layer; published: 0.4
    aux_heads: bool = True
    aux_weight: float = 0.3
    aux_drop_rate: float = 0.7
    transform_input: bool = False  # for torchvision's weights: from the usual normalisation to (x − 0.5) / 0.5

    @property
    def stages(self) -> tuple[str, ...]:
        """stem, stage3, stage4, stage5, numbered as in the paper."""
        return ("stem", "stage3", "stage4", "stage5")

    @property
    def auxiliary(self) -> dict[str, float]:
        """aux1 and aux2, where there are heads."""
        return dict.fromkeys(AUXILIARY.values(), self.aux_weight) if self.aux_heads else {}

    @property
    def smallest(self) -> int:
        """Two poolings of 3×3 with stride 2 and the last one; in the ImageNet form three more halvings before."""
        least = 4 if self.norm == "batch" else 6
        return 8 * least - 1 if self.form == "imagenet" else least

    def check_input(self, x: Array) -> None:
        """Refuse what is no batch of images, too small ones, and other than three channels where they are rescaled."""
        super().check_input(x)
        if self.transform_input and self.form == "imagenet" and x.shape[-1] != 3:
            raise ValueError(
                f"transform_input=True rescales 3 channels, got images with {x.shape[-1]}: set it to False"
            )

    @nn.compact
    def forward(self, x: Array, *, train: bool = False, noise: bool = False) -> dict[str, Array]:
        """stem, stage3, stage4, stage5, in training aux1 and aux2, pre_logits, logits."""
        features, module = {}, self.repeated(Inception)
        x = features["stem"] = self._stem(x, self.mode("stem", train, noise))
        for name in self.modules:
            stage, widths = name[:6], MODULES[name]
            if name in ("stage4_a", "stage5_a"):
                x = self._pool(x, last=name == "stage5_a")
            layer = module(self._scaled(widths), self.kernel5, self.norm == "batch", name=name)
            x = features[stage] = layer(x, self.mode(stage, train, noise))
            if train and self.aux_heads and name in AUXILIARY:
                head = AUXILIARY[name]
                features[head] = self._auxiliary_head(head)(x, self.mode(head, train, noise))
        pre_logits = pool.global_avg_pool(x)
        x = dropout(self, pre_logits, self.drop_rate, self.mode("head", train, noise))
        return {**features, "pre_logits": pre_logits, "logits": _dense(self.num_classes, x, "head")}

    def _stem(self, x: Array, mode: Mode) -> Array:
        unit = partial(ConvUnit, batch_norm=self.norm == "batch")
        normalize = local_response_norm if self.norm == "lrn" else _identity
        reduced, width = self._scaled((64, 192))
        if self.form == "cifar":
            return unit(width, 3, name="stem_conv1")(x, mode)
        x = _renormalize(x) if self.transform_input else x
        x = normalize(self._pool(unit(reduced, 7, 2, name="stem_conv1")(x, mode)))
        x = unit(width, 3, name="stem_conv3")(unit(reduced, 1, name="stem_conv2")(x, mode), mode)
        return self._pool(normalize(x))

    def _pool(self, x: Array, last: bool = False) -> Array:
        window = 2 if last and self.norm == "batch" else 3
        return pool.max_pool(x, window, stride=2, ceil_mode=True)

    def _auxiliary_head(self, name: str) -> AuxiliaryHead:
        width, hidden = self._scaled((128, 1024))
        return AuxiliaryHead(self.num_classes, width, hidden, self.aux_drop_rate, self.norm == "batch", name=name)

    def _scaled(self, widths: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(scaled(width, self.scale) for width in widths)


def _dense(features: int, x: Array, name: str) -> Array:
    bias = partial(init.torch_uniform, fan_in=x.shape[-1])
    return Dense(features, init=partial(init.normal, std=0.01), bias_init=bias, name=name)(x)


def _identity(x: Array) -> Array:
    return x


def _renormalize(x: Array) -> Array:
    """(x·std + mean − 0.5) / 0.5 for each channel: undoes ImageNet's normalisation and does Inception's."""
    mean, std = (jnp.asarray(values, x.dtype).reshape(1, 1, 1, 3) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (x * std + (mean - 0.5)) / 0.5


_NINE = {"modules": tuple(MODULES)}

VARIANTS = {
    "googlenet": Variant(GoogLeNet, {"form": "imagenet", **_NINE}, (224, 224, 3), 13_004_888, {"num_classes": 1000}),
    "googlenet_cifar": Variant(GoogLeNet, {"form": "cifar", **_NINE}, (32, 32, 3), 5_490_986, {"aux_heads": False}),
}
