"""The rival networks as their users write them: CIFAR forms in plain flax.linen layers, without random regularizers."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from experiments.benchmarks.plain_flax import ResNet20

SAME = ((1, 1), (1, 1))
norm = partial(nn.BatchNorm, use_running_average=False, momentum=0.9)


def conv(features: int, kernel: int, stride: int = 1, bias: bool = False) -> nn.Conv:
    """A convolution padded by half its kernel, as in torch."""
    return nn.Conv(features, (kernel, kernel), stride, ((kernel // 2, kernel // 2),) * 2, use_bias=bias)


def average(x: jax.Array) -> jax.Array:
    """Global average."""
    return x.mean((1, 2))


class LeNet5(nn.Module):
    """The modern form on 32×32 images."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[N, 32, 32, C] -> [N, 10]."""
        for features in (6, 16):
            x = nn.max_pool(nn.relu(nn.Conv(features, (5, 5), padding="VALID")(x)), (2, 2), (2, 2))
        x = x.reshape(len(x), -1)
        for features in (120, 84):
            x = nn.relu(nn.Dense(features)(x))
        return nn.Dense(10)(x)


class Vgg11(nn.Module):
    """Eight convolutions with batch norm, average, linear layer."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[N, 32, 32, C] -> [N, 10]."""
        for stage in ((64,), (128,), (256, 256), (512, 512), (512, 512)):
            for features in stage:
                x = nn.relu(norm()(conv(features, 3, bias=True)(x)))
            x = nn.max_pool(x, (2, 2), (2, 2))
        return nn.Dense(10)(average(x))


class Nin(nn.Module):
    """Three convolutions with two 1×1 convolutions each."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[N, 32, 32, C] -> [N, 10]."""
        for i, (kernel, widths) in enumerate(((5, (192, 160, 96)), (5, (192, 192, 192)), (3, (192, 192, 10)))):
            for j, width in enumerate(widths):
                x = nn.relu(conv(width, 1 if j else kernel, bias=True)(x))
            if i < 2:
                x = (nn.avg_pool if i else nn.max_pool)(x, (3, 3), (2, 2), ((0, 1), (0, 1)))
        return average(x)


class Inception(nn.Module):
    """Four branches of convolutions with batch norm."""

    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[N, H, W, C] -> [N, H, W, sum of the branches]."""
        one, three_in, three, five_in, five, pooled = self.widths
        b2 = _unit(three, 3, _unit(three_in, 1, x))
        b3 = _unit(five, 3, _unit(five_in, 1, x))
        b4 = _unit(pooled, 1, nn.max_pool(x, (3, 3), (1, 1), SAME))
        return jnp.concatenate((_unit(one, 1, x), b2, b3, b4), axis=-1)


def _unit(features: int, kernel: int, x: jax.Array) -> jax.Array:
    return nn.relu(norm(epsilon=1e-3)(conv(features, kernel)(x)))


class GoogLeNet(nn.Module):
    """A 3×3 stem and nine inception modules, no auxiliary heads."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[N, 32, 32, C] -> [N, 10]."""
        x = _unit(192, 3, x)
        for widths in ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)):
            x = Inception(widths)(x)
        x = nn.max_pool(x, (3, 3), (2, 2), ((0, 1), (0, 1)))
        for widths in (
            (192, 96, 208, 16, 48, 64),
            (160, 112, 224, 24, 64, 64),
            (128, 128, 256, 24, 64, 64),
            (112, 144, 288, 32, 64, 64),
            (256, 160, 320, 32, 128, 128),
        ):
            x = Inception(widths)(x)
        x = nn.max_pool(x, (2, 2), (2, 2))
        for widths in ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)):
            x = Inception(widths)(x)
        return nn.Dense(10)(average(x))


class WideResNet16x4(nn.Module):
    """Pre-activation blocks of two 3×3 convolutions, three stages of two blocks, four times as wide."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[N, 32, 32, C] -> [N, 10]."""
        x = conv(16, 3)(x)
        for stage in range(3):
            features = 64 << stage
            for block in range(2):
                stride = 2 if stage and not block else 1
                active = nn.relu(norm()(x))
                shortcut = x if block else conv(features, 1, stride)(active)
                y = nn.relu(norm()(conv(features, 3, stride)(active)))
                x = conv(features, 3)(y) + shortcut
        return nn.Dense(10)(average(nn.relu(norm()(x))))


class DenseNet40(nn.Module):
    """Three dense blocks of twelve layers, growth 12."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[N, 32, 32, C] -> [N, 10]."""
        x = conv(16, 3)(x)
        for block in range(3):
            if block:
                x = nn.avg_pool(conv(x.shape[-1], 1)(nn.relu(norm()(x))), (2, 2), (2, 2))
            for _ in range(12):
                x = jnp.concatenate((x, conv(12, 3)(nn.relu(norm()(x)))), axis=-1)
        return nn.Dense(10)(average(nn.relu(norm()(x))))


class FractalNet20(nn.Module):
    """Five fractal blocks of three columns."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[N, 32, 32, C] -> [N, 10]."""
        for features in (64, 128, 256, 512, 512):
            x = nn.max_pool(_fractal(features, 3, x)[0], (2, 2), (2, 2))
        return nn.Dense(10)(average(x))


def _fractal(features: int, columns: int, x: jax.Array, last: bool = True) -> list[jax.Array]:
    """The outputs that meet at the end of a block, joined into one where it is the `last` thing there."""
    unit = nn.relu(norm()(conv(features, 3)(x)))
    if columns == 1:
        return [unit]
    middle = _fractal(features, columns - 1, x)[0]
    ends = [*_fractal(features, columns - 1, middle, last=False), unit]
    return [sum(ends) / len(ends)] if last else ends


NETS: dict[str, Callable[[], nn.Module]] = {
    "lenet5": LeNet5,
    "vgg11_bn_cifar": Vgg11,
    "nin_cifar": Nin,
    "googlenet_cifar": GoogLeNet,
    "resnet20": ResNet20,
    "wrn16_4": WideResNet16x4,
    "densenet40_12": DenseNet40,
    "fractalnet20": FractalNet20,
}
