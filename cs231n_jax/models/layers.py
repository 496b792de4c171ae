"""The layers that models are made of: thin Linen modules that own names and shapes and call `ops`.

Every layer computes in the dtype of its input and keeps its parameters in float32. While a model is initialised only
shapes matter, so the layers then declare their variables and pass something of the right shape on: tracing the
operators would cost milliseconds a layer.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from cs231n_jax.models.base import Mode
from cs231n_jax.models.functional import Unset
from cs231n_jax.ops import activations, conv, fractional_pool, gaussian, init, norm
from cs231n_jax.ops import noise as regularizers
from cs231n_jax.ops.window import output_size, padding_pairs, pair
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


def declare(module: nn.Module, specs: Mapping[str, init.Spec], collection: str = "params") -> None:
    """Declare variables while a model is initialised, without a value to compute with."""
    for name, spec in specs.items():
        module.put_variable(collection, name, Unset(spec))


def blank(shape: tuple[int, ...], like: Array) -> Array:
    """Something of this shape and the dtype of `like`, for a layer that is being initialised."""
    return like if shape == like.shape else jnp.zeros(shape, like.dtype)


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
        specs = _affine_specs(self, (*pair(self.kernel, "kernel"), x.shape[-1] // self.groups, self.features))
        size = self.output_size(x.shape)
        if self.is_initializing() and min(size) > 0:
            declare(self, specs)
            return blank((x.shape[0], *size, self.features), x)
        kernel = parameter(self, "kernel", specs["kernel"]).astype(x.dtype)
        y = conv.conv(x, kernel, stride=self.stride, padding=self.padding, groups=self.groups)
        return y + _bias(self, specs, x) if self.use_bias else y

    def output_size(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Height and width that an image [N, H, W, C] comes out with."""
        window, stride, padding = pair(self.kernel, "kernel"), pair(self.stride, "stride"), padding_pairs(self.padding)
        height, width = (output_size(shape[1 + a], window[a], stride[a], *padding[a]) for a in (0, 1))
        return height, width


class Dense(nn.Module):
    """Affine map [..., D] -> [..., features]."""

    features: int
    use_bias: bool = True
    init: Initialiser = init.he_normal
    bias_init: Initialiser | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """x @ kernel + bias."""
        specs = _affine_specs(self, (x.shape[-1], self.features))
        if self.is_initializing():
            declare(self, specs)
            return blank((*x.shape[:-1], self.features), x)
        y = x @ parameter(self, "kernel", specs["kernel"]).astype(x.dtype)
        return y + _bias(self, specs, x) if self.use_bias else y


def _affine_specs(layer: "Conv | Dense", shape: tuple[int, ...]) -> dict[str, init.Spec]:
    specs = {"kernel": layer.init(shape)}
    if layer.use_bias:
        bias = (layer.features,)
        specs["bias"] = layer.bias_init(bias) if layer.bias_init else init.constant(bias, 0.0)
    return specs


def _bias(layer: "Conv | Dense", specs: Mapping[str, init.Spec], x: Array) -> Array:
    return parameter(layer, "bias", specs["bias"]).astype(x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))


class PRelu(nn.Module):
    """x where x > 0, else slope·x, with a slope for each channel.

    Reference: He et al. 2015, "Delving Deep into Rectifiers", section 2.1 (initial slope 0.25; no weight decay on
    slopes, which `optimizer.decay_vectors=False` gives).
    """

    @nn.compact
    def __call__(self, x: Array, var: Array | None = None) -> Array:
        """[..., C] -> [..., C]; with `var` the mean for N(x, var)."""
        specs = {"slope": init.constant((x.shape[-1],), 0.25)}
        if self.is_initializing():
            declare(self, specs)
            return x
        slope = parameter(self, "slope", specs["slope"])
        return activations.prelu(x, slope) if var is None else gaussian.prelu(x, var, slope)


def activate(x: Array, mode: Mode, name: str, var: Array | None = None) -> Array:
    """The model's activation function; that of "prelu" keeps its slopes below `name` in the calling module.

    With `var`, which is what a random layer says at inference, the mean of the activation of N(x, var).
    """
    if mode.activation == "prelu":
        return PRelu(name=name)(x, var)
    return activations.get(mode.activation)(x) if var is None else gaussian.get(mode.activation)(x, var)


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last, with the residual sum and the activation that follow it.

    y = [activation]((x − mean) / √(var + eps) · scale + bias [+ residual]);
    running ← momentum·running + (1−momentum)·batch. A ReLU is fused with the rest. In ghost batches `batch` is the
    average of theirs.

    Reference: Ioffe, Szegedy 2015, algorithm 1 and section 3.1; ghost batches: Hoffer et al. 2017, algorithm 1.
    Deviation: the running variance is the biased one, as in Flax and in the cs231n assignments; torch stores the
    unbiased one (factor n/(n−1)). `momentum` is the share of the old value, 1 − torch's.
    """

    momentum: float = 0.9
    eps: float = 1e-5
    scale_init: float = 1.0

    @nn.compact
    def __call__(self, x: Array, mode: Mode, activate: bool = False, residual: Array | None = None) -> Array:
        """Normalise by batch statistics when `mode.train` (and update the running ones), else by the running ones."""
        zeros, ones = (init.constant((x.shape[-1],), value) for value in (0.0, 1.0))
        trained = {"scale": init.constant((x.shape[-1],), self.scale_init), "bias": zeros}
        running = {"mean": zeros, "var": ones}
        fused = activate and mode.activation == "relu"
        if self.is_initializing():
            declare(self, trained)
            declare(self, running, "batch_stats")
            y = x
        else:
            scale, bias = (parameter(self, name, spec) for name, spec in trained.items())
            moments = (variable(self, "batch_stats", name, spec) for name, spec in running.items())
            y = self._normalize(x, mode, *moments, scale=scale, bias=bias, relu=fused, residual=residual)
        return self._activated(y, mode) if activate and not fused else y

    def _activated(self, y: Array, mode: Mode) -> Array:
        return activate(y, mode, "prelu")

    def _normalize(self, x: Array, mode: Mode, mean: Array, var: Array, **rest: Any) -> Array:
        if not mode.train:
            return norm.normalize(x, mean, var, eps=self.eps, **rest)
        batch_norm = partial(norm.ghost_batch_norm, ghost=mode.ghost) if mode.ghost else norm.batch_norm
        y, *batch = batch_norm(x, eps=self.eps, **rest)
        for name, running, new in zip(("mean", "var"), (mean, var), batch):
            mixed = self.momentum * running + (1.0 - self.momentum) * new.astype(running.dtype)
            self.put_variable("batch_stats", name, mixed)
        if self.is_mutable_collection("batch_moments"):
            whole = norm.batch_norm(x, eps=self.eps, **rest)[1:] if mode.ghost else batch
            for name, new in zip(("mean", "var"), whole):
                self.put_variable("batch_moments", name, new)
        return y


def dropout(module: nn.Module, x: Array, drop_rate: float, mode: Mode, spatial: bool = False) -> Array:
    """Dropout by the noise of `module`, of whole channels if `spatial`; the identity where noise is off."""
    if not (mode.noise and drop_rate):
        return x
    drop = regularizers.spatial_dropout if spatial else regularizers.dropout
    return drop(module.make_rng("noise"), x, drop_rate=drop_rate)


def fractional_max_pool(
    module: nn.Module,
    x: Array,
    mode: Mode,
    ratio: float,
    *,
    size: Size | None = None,
    overlapping: bool = True,
    sequence: str = "random",
) -> Array:
    """Fractional max pooling by the noise of `module`, one pair of sequences a batch; fixed ones where noise is off.

    Deviation from the paper: inference without noise takes the pseudorandom sequence of u = ½ whatever `sequence` is.
    The paper's average of several random passes is that of calls with noise=True.
    """
    if module.is_initializing():
        height, width = fractional_pool.output_size(x.shape[1:3], ratio, size, overlapping)
        return blank((x.shape[0], height, width, x.shape[3]), x)
    key = module.make_rng("noise") if mode.noise else None
    pool = fractional_pool.fractional_max_pool
    return pool(key, x, ratio, size=size, overlapping=overlapping, sequence=sequence)
