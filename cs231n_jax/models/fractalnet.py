"""Fractal networks: deep without residuals, regularized by leaving out paths."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from cs231n_jax.models.base import Mode, Model, Variant
from cs231n_jax.models.layers import BatchNorm, Conv, dropout
from cs231n_jax.models.resnet import classifier
from cs231n_jax.ops import init, pool
from cs231n_jax.ops.noise import global_drop_path, join, local_drop_path
from cs231n_jax.typing import Array


class Paths(NamedTuple):
    """What drop-path draws for the whole network and one batch."""

    single: Array  # bool []: one column alone ("global"); else every join drops inputs ("local")
    column: Array  # int32 []: the column, if single


class Unit(nn.Module):
    """3×3 convolution, batch norm, activation, dropout."""

    features: int
    drop_rate: float

    @nn.compact
    def __call__(self, x: Array, mode: Mode) -> Array:
        """[N, H, W, C] -> [N, H, W, features]."""
        x = Conv(self.features, 3, padding=1, init=init.xavier_normal, name="conv")(x)
        return dropout(self, BatchNorm(name="norm")(x, mode, activate=True), self.drop_rate, mode)


class FractalBlock(nn.Module):
    """f_1 = unit, f_{C+1}(x) = join(f_C(f_C(x)), unit(x)); column j = 1 … C has 2^(j − 1) units.

    The result is that of all columns that end at the same place, in one join.
    Reference: Larsson, Maire, Shakhnarovich 2017, equation 1 and figure 1.
    """

    features: int
    columns: int
    column: int  # the only column that there is, or 0 for all
    drop_rate: float
    path_drop_rate: float

    @nn.compact
    def __call__(self, x: Array, mode: Mode, paths: Paths | None = None) -> Array:
        """[N, H, W, C] -> [N, H, W, features]."""
        latest = dict.fromkeys([self.column] if self.column else range(1, self.columns + 1), x)
        for row in range(1, 2 ** (self.columns - 1) + 1):
            ending = [j for j in latest if row % 2 ** (self.columns - j) == 0]
            if not ending:
                continue
            units = {j: f"column{j}_unit{row // 2 ** (self.columns - j)}" for j in ending}
            outputs = [Unit(self.features, self.drop_rate, name=units[j])(latest[j], mode) for j in ending]
            latest.update(dict.fromkeys(ending, join(outputs, self._weights(ending, paths))))
        return latest[self.column or self.columns]

    def _weights(self, ending: list[int], paths: Paths | None) -> Array | None:
        if paths is None or len(ending) == 1:
            return None
        local = local_drop_path(self.make_rng("noise"), len(ending), drop_rate=self.path_drop_rate)
        return jnp.where(paths.single, global_drop_path(paths.column, ending), local)


class FractalNet(Model):
    """Images [N, H, W, C] -> logits [N, K]: fractal blocks, 2×2 max pooling after each.

    With noise on, each batch is, with probability `global_rate`, one column alone, drawn evenly; or else every join
    drops each of its inputs with probability `path_drop_rate`, but not all. `column=C` (the number of columns) is the
    deepest column alone, `column=0` the whole network.
    Reference: Larsson, Maire, Shakhnarovich 2017, sections 3.1 and 4 (CIFAR-10 error 10.18 %, with drop-path and
    dropout 7.33 %, with augmentation 5.22 % and 4.60 %).
    Deviation: pooling follows the last join of a block. All columns are computed whatever the draw; those that a
    global draw leaves out run as in inference, so that they keep useful batch statistics.
    """

    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    columns: int = 3
    column: int = 0
    drop_rates: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4)  # dropout in each block
    path_drop_rate: float = 0.15
    global_rate: float = 0.5

    @property
    def stages(self) -> tuple[str, ...]:
        """stage1, stage2, ...: the blocks, after pooling."""
        return tuple(f"stage{i + 1}" for i in range(len(self.widths)))

    @property
    def smallest(self) -> int:
        """A halving for each block."""
        return 2 ** len(self.widths)

    @nn.compact
    def forward(self, x: Array, *, train: bool = False, noise: bool = False) -> dict[str, Array]:
        """stage1, stage2, ..., pre_logits, logits."""
        paths = self._draw_paths() if noise else None
        features, block = {}, self.repeated(FractalBlock)
        for stage, width, drop_rate in zip(self.stages, self.widths, self.drop_rates):
            mode = self.mode(stage, train, noise)
            layer = block(width, self.columns, self.column, drop_rate, self.path_drop_rate, name=stage)
            x = features[stage] = pool.max_pool(layer(x, mode, paths if mode.noise else None), 2)
        x = pool.global_avg_pool(x)
        return {**features, "pre_logits": x, "logits": classifier(self.num_classes, x)}

    def _draw_paths(self) -> Paths | None:
        if not (self.path_drop_rate or self.global_rate):
            return None
        kind, column = jax.random.split(self.make_rng("noise"))
        single = jax.random.bernoulli(kind, self.global_rate)
        return Paths(single, jax.random.randint(column, (), 1, self.columns + 1))

    def validate(self) -> None:
        """A column that there is, and one rate for each block."""
        if not 0 <= self.column <= self.columns:
            raise ValueError(f"column {self.column} is none of 0 (all) … {self.columns} (the deepest)")
        if len(self.drop_rates) != len(self.widths) or not self.widths:
            raise ValueError(
                f"{len(self.widths)} widths and {len(self.drop_rates)} drop_rates: give one of each for every block"
            )


def _cifar(columns: int, parameters: int) -> Variant:
    return Variant(FractalNet, {}, (32, 32, 3), parameters, {"columns": columns})


# Depths of 5·2^(columns − 1) convolutions; any other one is fractalnet20 with the option `columns`.
VARIANTS = {"fractalnet20": _cifar(3, 33_724_618), "fractalnet40": _cifar(4, 76_106_634)}
