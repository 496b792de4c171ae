"""LeNet-5, in its modern form and as published in 1998."""

from functools import partial
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from cs231n_jax.models.base import Mode, Model, Variant
from cs231n_jax.models.layers import Conv, Dense, activate, parameter
from cs231n_jax.ops import activations, conv, init, pool
from cs231n_jax.typing import Array

# Which of the six maps of S2 each map of C3 sees: table I of the paper.
_THREE = tuple(tuple((first + i) % 6 for i in range(3)) for first in range(6))
_FOUR = tuple(tuple((first + i) % 6 for i in range(4)) for first in range(6))
C3_TABLE = (*_THREE, *_FOUR, (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5))

# Digits of 7 × 12 pixels, one hexadecimal number a row: the targets of the 84 units of F6.
_DIGITS = (
    "001C224141414141221C0000",
    "00081828080808083E000000",
    "003C42010204081020407F00",
    "003E4101021C010141413E00",
    "00020612224242427F020200",
    "007F40407C420101413E0000",
    "001C2240405E614141221C00",
    "007F01020204040808101000",
    "003E4141413E414141413E00",
    "001C224141433D0101221C00",
)


STANDARD = {"modern": "relu", "1998": "scaled_tanh"}  # the activation of each variant


def digit_codes() -> np.ndarray:
    """The fixed centres of the output units [10, 84] in ±1: a stylised picture of each digit."""
    rows = np.array([list(bytes.fromhex(digit)) for digit in _DIGITS], np.uint8)
    return np.unpackbits(rows[:, :, None], axis=2)[:, :, 1:].reshape(10, 84) * 2.0 - 1.0


class LeNet5(Model):
    """Images [N, 32, 32, C] -> logits [N, K]; 28×28 images take padding=2.

    conv 5×5×6, pool, conv 5×5×16, pool, 120, 84, K. The variant "1998" has trained subsampling layers, the partial
    connection table of C3, and logits −|x − code_k|² with fixed codes. The standard activation is 1.7159·tanh(2x/3) of
    "1998", the rectifier of "modern".
    Reference: LeCun, Bottou, Bengio, Haffner 1998, "Gradient-Based Learning Applied to Document Recognition", II.B;
    its test error on MNIST: 0.95 %.
    Deviation of "modern": C3 is fully connected to S2, subsampling is plain max pooling, the output layer is affine.
    Deviation of "1998": the loss is the cross-entropy of the softmax of these logits, which is the paper's equation 9
    without its constant j; the 7 × 12 codes are drawn after the paper's description, not copied from figure 3.
    """

    padding: int = 0
    activation: str = "standard"
    variant: Literal["modern", "1998"] = "modern"

    @property
    def stages(self) -> tuple[str, ...]:
        """stage1 and stage2 (both after pooling), fc1, fc2."""
        return ("stage1", "stage2", "fc1", "fc2")

    @property
    def smallest(self) -> int:
        """Two 5×5 windows, each followed by a halving, on the padded image."""
        return max(1, 16 - 2 * self.padding)

    def validate(self) -> None:
        """The published form knows ten digits."""
        if self.variant == "1998" and self.num_classes != 10:
            raise ValueError(
                f"variant '1998' has codes for ten digits, got num_classes={self.num_classes}: use 'modern'"
            )

    @nn.compact
    def forward(self, x: Array, *, train: bool = False, noise: bool = False) -> dict[str, Array]:
        """stage1, stage2, fc1, fc2, pre_logits, logits."""
        mode = self.mode("head", train, noise)  # frozen or not, only its activation counts
        if self.activation == "standard":
            mode = mode._replace(activation=STANDARD[self.variant])
        features = self._modern(x, mode) if self.variant == "modern" else self._published(x, mode)
        pre_logits = features["fc2"]
        if self.variant == "modern":
            logits = Dense(self.num_classes, name="head")(pre_logits)
        else:
            logits = -jnp.square(pre_logits[:, None] - jnp.asarray(digit_codes(), x.dtype)[None]).sum(-1)
        return {**features, "pre_logits": pre_logits, "logits": logits}

    def _modern(self, x: Array, mode: Mode) -> dict[str, Array]:
        stage1 = Conv(6, 5, padding=self.padding, use_bias=True, name="stage1_conv")(x)
        stage1 = pool.max_pool(activate(stage1, mode, "stage1_prelu"), 2)
        stage2 = Conv(16, 5, use_bias=True, name="stage2_conv")(stage1)
        stage2 = pool.max_pool(activate(stage2, mode, "stage2_prelu"), 2)
        fc1 = activate(Dense(120, name="fc1")(stage2.reshape((x.shape[0], -1))), mode, "fc1_prelu")
        fc2 = activate(Dense(84, name="fc2")(fc1), mode, "fc2_prelu")
        return {"stage1": stage1, "stage2": stage2, "fc1": fc1, "fc2": fc2}

    def _published(self, x: Array, mode: Mode) -> dict[str, Array]:
        start = partial(_lecun_uniform, fan_in=25 * x.shape[-1])
        c1 = Conv(6, 5, padding=self.padding, use_bias=True, init=start, name="stage1_conv")(x)
        s2 = Subsampling(name="stage1_pool")(_unit(c1, mode, "stage1_prelu"), mode)
        c3 = PartialConv(name="stage2_conv")(s2)
        s4 = Subsampling(name="stage2_pool")(_unit(c3, mode, "stage2_prelu"), mode)
        flat = s4.reshape((x.shape[0], -1))
        fc1 = Dense(120, init=partial(_lecun_uniform, fan_in=flat.shape[-1]), name="fc1")(flat)
        fc1 = _unit(fc1, mode, "fc1_prelu")
        fc2 = _unit(Dense(84, init=partial(_lecun_uniform, fan_in=120), name="fc2")(fc1), mode, "fc2_prelu")
        return {"stage1": s2, "stage2": s4, "fc1": fc1, "fc2": fc2}


class Subsampling(nn.Module):
    """unit(gain·(sum of 2×2 pixels) + bias), one gain and one bias a map."""

    @nn.compact
    def __call__(self, x: Array, mode: Mode) -> Array:
        """[N, H, W, C] -> [N, H/2, W/2, C]."""
        shape = (x.shape[-1],)
        gain = parameter(self, "scale", _lecun_uniform(shape, fan_in=4)).astype(x.dtype)
        bias = parameter(self, "bias", init.constant(shape, 0.0)).astype(x.dtype)
        y = 4.0 * pool.avg_pool(x, 2) * gain.reshape(1, 1, 1, -1) + bias.reshape(1, 1, 1, -1)
        return _unit(y, mode, "prelu")


class PartialConv(nn.Module):
    """A 5×5 convolution whose maps see only the inputs of `C3_TABLE`: 60 kernels and 16 biases."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[N, H, W, 6] -> [N, H − 4, W − 4, 16]."""
        pairs = [(i, o) for o, inputs in enumerate(C3_TABLE) for i in inputs]
        inputs, outputs = (np.array(side) for side in zip(*pairs))
        kernels = parameter(self, "kernel", _lecun_uniform((5, 5, len(pairs)), fan_in=100))  # most maps see four
        bias = parameter(self, "bias", init.constant((len(C3_TABLE),), 0.0))
        full = jnp.zeros((5, 5, 6, len(C3_TABLE)), x.dtype).at[:, :, inputs, outputs].set(kernels.astype(x.dtype))
        return conv.conv(x, full) + bias.astype(x.dtype).reshape(1, 1, 1, -1)


def squash(x: Array) -> Array:
    """1.7159·tanh(2x/3): ±1 at ±1. Reference: LeCun et al. 1998, appendix A."""
    return 1.7159 * activations.tanh(x * (2.0 / 3.0))


def _unit(x: Array, mode: Mode, name: str) -> Array:
    """What the units of the published form compute: `squash`, if nothing else is asked for."""
    return squash(x) if mode.activation == "scaled_tanh" else activate(x, mode, name)


def _lecun_uniform(shape: tuple[int, ...], fan_in: int) -> init.Spec:
    """U(±2.4 / fan_in). Reference: LeCun et al. 1998, section III.A (initial weights)."""
    return init.uniform(shape, 2.4 / fan_in)


VARIANTS = {"lenet5": Variant(LeNet5, {}, (32, 32, 1), 61_706)}
