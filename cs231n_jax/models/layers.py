"""The layers that models are made of: thin Linen modules that own names and shapes and call `ops`.

Every layer computes in the dtype of its input and keeps its parameters in float32.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from cs231n_jax.models.functional import Unset
from cs231n_jax.ops import conv, init, norm
from cs231n_jax.typing import Array

Initialiser = Callable[[tuple[int, ...]], init.Spec]
Size = int | tuple[int, int]
Padding = int | tuple[tuple[int, int], tuple[int, int]]


def parameter(module: nn.Module, name: str, spec: init.Spec) -> Array:
    """A trained variable of `module`, to be drawn as `spec` says."""
    return variable(module, "params", name, spec)


def variable(module: nn.Module, collection: str, name: str, spec: init.Spec) -> Array:
    """A variable of any collection, to be drawn as `spec` says.

    Raises:
        ValueError: the variables given to `apply` lack it, or hold it with another shape.
    """
    if module.is_initializing():
        module.put_variable(collection, name, Unset(spec))
        return jnp.zeros(spec.shape, spec.dtype)
    value = module.get_variable(collection, name)
    path = "/".join((*module.path, name))
    if value is None:
        raise ValueError(f"{collection} lack {path}, which should have shape {spec.shape}")
    if value.shape != spec.shape:
        raise ValueError(f"{collection} hold {path} with shape {value.shape}, the model needs {spec.shape}")
    return value


class Conv(nn.Module):
    """Convolution [N, H, W, C] -> [N, H', W', features]; padding is explicit, as in torch."""

    features: int
    kernel: Size
    stride: Size = 1
    padding: Padding = 0
    groups: int = 1
    use_bias: bool = False
    init: Initialiser = init.he_normal
    bias_init: Initialiser | None = None  # None: zeros

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Convolve and add the bias."""
        kh, kw = (self.kernel, self.kernel) if isinstance(self.kernel, int) else self.kernel
        shape = (kh, kw, x.shape[-1] // self.groups, self.features)
        kernel = parameter(self, "kernel", self.init(shape))
        y = conv.conv(x, kernel.astype(x.dtype), stride=self.stride, padding=self.padding, groups=self.groups)
        return y + _bias(self, x.dtype, y.ndim) if self.use_bias else y


class Dense(nn.Module):
    """Affine map [..., D] -> [..., features]."""

    features: int
    use_bias: bool = True
    init: Initialiser = init.he_normal
    bias_init: Initialiser | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """x @ kernel + bias."""
        kernel = parameter(self, "kernel", self.init((x.shape[-1], self.features)))
        y = x @ kernel.astype(x.dtype)
        return y + _bias(self, x.dtype, y.ndim) if self.use_bias else y


def _bias(layer: "Conv | Dense", dtype: Any, ndim: int) -> Array:
    spec = layer.bias_init((layer.features,)) if layer.bias_init else init.constant((layer.features,), 0.0)
    return parameter(layer, "bias", spec).astype(dtype).reshape((1,) * (ndim - 1) + (-1,))


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last, fused with the residual sum and the ReLU that follow it.

    y = [relu]((x − mean) / √(var + eps) · scale + bias [+ residual]); running ← momentum·running + (1−momentum)·batch.

    Reference: Ioffe, Szegedy 2015, algorithm 1 and section 3.1.
    Deviation: the running variance is the biased one, as in Flax and in the cs231n assignments; torch stores the
    unbiased one (factor n/(n−1)). `momentum` is the share of the old value, 1 − torch's.
    """

    momentum: float = 0.9
    eps: float = 1e-5
    scale_init: float = 1.0

    @nn.compact
    def __call__(self, x: Array, *, train: bool, relu: bool = False, residual: Array | None = None) -> Array:
        """Normalise by batch statistics when `train` (and update the running ones), else by the running ones."""
        shape = (x.shape[-1],)
        scale = parameter(self, "scale", init.constant(shape, self.scale_init))
        bias = parameter(self, "bias", init.constant(shape, 0.0))
        running_mean = variable(self, "batch_stats", "mean", init.constant(shape, 0.0))
        running_var = variable(self, "batch_stats", "var", init.constant(shape, 1.0))
        if not train:
            return norm.normalize(
                x, running_mean, running_var, scale, bias, eps=self.eps, relu=relu, residual=residual
            )
        y, mean, var = norm.batch_norm(x, scale, bias, eps=self.eps, relu=relu, residual=residual)
        if not self.is_initializing():
            self._update("mean", running_mean, mean)
            self._update("var", running_var, var)
        return y

    def _update(self, name: str, running: Array, batch: Array) -> None:
        mixed = self.momentum * running + (1.0 - self.momentum) * batch.astype(running.dtype)
        self.put_variable("batch_stats", name, mixed)
        if self.is_mutable_collection("batch_moments"):
            self.put_variable("batch_moments", name, batch)
