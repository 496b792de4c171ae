"""Layers whose connections are random, with what they do at inference instead."""

from typing import Literal

import flax.linen as nn
import jax

from cs231n_jax.models.base import Mode
from cs231n_jax.models.layers import Dense, activate, blank, declare, parameter
from cs231n_jax.ops import dropconnect, init
from cs231n_jax.typing import Array

Mask = Literal["example", "batch"]  # who shares the connections that are left out


class DropConnect(nn.Module):
    """Affine map [N, D] -> [N, features] whose connections are left out at random; names as in `Dense`.

    Reference: Wan et al. 2013, algorithms 1 and 2. He initialisation, zero bias.
    """

    features: int
    drop_rate: float
    mask: Mask = "example"

    @nn.compact
    def __call__(self, x: Array, mode: Mode) -> tuple[Array, Array | None]:
        """With noise (u, None), a draw; without (mean, variance) of u over the draws, for `activate`."""
        specs = {
            "kernel": init.he_normal((x.shape[-1], self.features)),
            "bias": init.constant((self.features,), 0.0),
        }
        if self.is_initializing():
            declare(self, specs)
            return blank((x.shape[0], self.features), x), None
        weights = [parameter(self, name, spec).astype(x.dtype) for name, spec in specs.items()]
        if not mode.noise:
            mean, var = dropconnect.moments(x, *weights, drop_rate=self.drop_rate)
            return mean.astype(x.dtype), var.astype(x.dtype)
        key, shared, devices = self.make_rng("noise"), self.mask == "batch", jax.device_count()
        u = dropconnect.drop_connect(key, x, *weights, drop_rate=self.drop_rate, shared_mask=shared, chunk_size=devices)
        return u, None


def hidden(x: Array, features: int, mode: Mode, name: str, *, drop_rate: float = 0.0, mask: Mask = "example") -> Array:
    """A hidden layer of the calling module, affine map and activation; with DropConnect where drop_rate is not 0.

    Without noise a layer with DropConnect gives the mean of its activation over a normal variable with the moments of
    its masks; the layer after it takes that mean for its input.

    Args:
        x: [N, D].
        features: width of the layer.
        mode: how it runs.
        name: of its kernel and bias; slopes of a PReLU are below "<name>_prelu".
        drop_rate: share of the connections that is left out.
        mask: whether each example has connections of its own, or the batch has them together.
    """
    if not drop_rate:
        return activate(Dense(features, name=name)(x), mode, f"{name}_prelu")
    u, var = DropConnect(features, drop_rate, mask, name=name)(x, mode)
    return activate(u, mode, f"{name}_prelu", var)
