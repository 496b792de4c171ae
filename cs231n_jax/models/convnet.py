"""A plain small convolutional network that takes every random regularizer: a test bed, not a record."""

from typing import Literal

import flax.linen as nn

from cs231n_jax.models.base import Mode, Model, Variant
from cs231n_jax.models.layers import BatchNorm, Conv, Dense, activate, dropout, fractional_max_pool
from cs231n_jax.models.random_layers import hidden
from cs231n_jax.ops import dropconnect, fractional_pool, pool
from cs231n_jax.ops.noise import linear_drop_rates, stochastic_depth
from cs231n_jax.typing import Array


class Unit(nn.Module):
    """A 3×3 convolution, batch norm if wanted, and the activation; with `residual` the input is added before it."""

    features: int
    batch_norm: bool
    residual: bool = False
    drop_rate: float = 0.0  # probability that a residual unit is off

    @nn.compact
    def __call__(self, x: Array, mode: Mode) -> Array:
        """[N, H, W, C] -> [N, H, W, features]."""
        y = Conv(self.features, 3, padding=1, use_bias=not self.batch_norm, name="conv")(x)
        if self.batch_norm and not self.residual:
            return BatchNorm(name="norm")(y, mode, activate=True)
        if self.batch_norm:
            y = BatchNorm(name="norm")(y, mode)
        if self.drop_rate:
            key = self.make_rng("noise") if mode.noise else None
            y = stochastic_depth(key, y, drop_rate=self.drop_rate)
        return activate(x + y if self.residual else y, mode, "prelu")


class ConvNet(Model):
    """Images [N, H, W, C] -> logits [N, K]: stages of a convolution and pooling, a global average, a hidden layer.

    Stage s has a 3×3 convolution to `widths[s]` channels, with `residual` a second one around which the first one's
    output is carried, and pooling: 2×2 maxima, or fractional ones. Dropout stands after the hidden layer, DropConnect
    on the connections into it, stochastic depth on the residual units (the last one's rate, growing linearly from the
    first).
    Reference: none; the regularizers are those of `ops.noise`, `ops.dropconnect` and `ops.fractional_pool`.
    """

    widths: tuple[int, ...] = (16, 32, 64)
    hidden: int = 64
    batch_norm: bool = True
    residual: bool = False
    pooling: Literal["max", "fractional"] = "max"
    pool_ratio: float = 1.5  # of fractional pooling: pixels for one of the output along an axis
    pool_overlap: bool = True  # neighbouring regions share the pixels of their border
    pool_sequence: Literal["random", "pseudorandom"] = "random"
    drop_rate: float = 0.0
    drop_connect_rate: float = 0.0
    depth_drop_rate: float = 0.0

    @property
    def stages(self) -> tuple[str, ...]:
        """stage1, stage2, ... (after pooling), fc."""
        return (*(f"stage{s + 1}" for s in range(len(self.widths))), "fc")

    @property
    def smallest(self) -> int:
        """Each pooling needs two pixels along an axis, a fractional one of disjoint regions is content with one."""
        if self.pooling == "max":
            return 2 ** len(self.widths)
        return next(side for side in range(1, 4 ** (len(self.widths) + 1)) if self._fits(side))

    def _fits(self, side: int) -> bool:
        for _ in self.widths:
            if side < 1 + self.pool_overlap:
                return False
            side, _ = fractional_pool.output_size((side, side), self.pool_ratio, overlapping=self.pool_overlap)
        return True

    def validate(self) -> None:
        """There is no depth to drop without residual units; refuse a rate that masks cannot have, too."""
        dropconnect.keep_rate(self.drop_connect_rate)
        if self.depth_drop_rate and not self.residual:
            raise ValueError(
                f"depth_drop_rate={self.depth_drop_rate} switches residual units off and there are none: set "
                "residual=True, or depth_drop_rate=0"
            )

    @nn.compact
    def forward(self, x: Array, *, train: bool = False, noise: bool = False) -> dict[str, Array]:
        """stage1, stage2, ..., fc, pre_logits, logits."""
        features, unit = {}, self.repeated(Unit)
        rates = linear_drop_rates(len(self.widths), self.depth_drop_rate)
        for stage, width, rate in zip(self.stages, self.widths, rates):
            mode = self.mode(stage, train, noise)
            x = unit(width, self.batch_norm, name=f"{stage}_conv")(x, mode)
            if self.residual:
                x = unit(width, self.batch_norm, residual=True, drop_rate=rate, name=f"{stage}_residual")(x, mode)
            x = features[stage] = self._pool(x, mode)
        mode = self.mode("fc", train, noise)
        x = pool.global_avg_pool(x)
        x = features["fc"] = hidden(x, self.hidden, mode, "fc", drop_rate=self.drop_connect_rate)
        x = dropout(self, x, self.drop_rate, mode)
        return {**features, "pre_logits": x, "logits": Dense(self.num_classes, name="head")(x)}

    def _pool(self, x: Array, mode: Mode) -> Array:
        if self.pooling == "max":
            return pool.max_pool(x, 2)
        overlapping, sequence = self.pool_overlap, self.pool_sequence
        return fractional_max_pool(self, x, mode, self.pool_ratio, overlapping=overlapping, sequence=sequence)


VARIANTS = {"convnet": Variant(ConvNet, {}, (32, 32, 3), 28_506)}
