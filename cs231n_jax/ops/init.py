"""Initialisers as plain specifications, drawn later on the host from a counter-based generator.

An initialiser here does not draw numbers: it returns a `Spec`, and `draw` turns a spec into an array as a pure
function of (seed, path of the leaf). Nothing is compiled, a new layer does not re-seed the others, and any block of
a leaf can be drawn without the rest of it.
"""

import hashlib
import math
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

BLOCK = 1 << 16  # elements drawn from one counter; part of the definition of every initial value

Distribution = Literal["constant", "normal", "uniform", "truncated_normal", "orthogonal", "forget"]


class Spec(NamedTuple):
    """What an initial array is: `scale` is the constant, the standard deviation, half the interval, or the gain."""

    distribution: Distribution
    scale: float
    shape: tuple[int, ...]
    dtype: str = "float32"


def constant(shape: tuple[int, ...], value: float) -> Spec:
    """All elements equal to `value`."""
    return Spec("constant", value, tuple(shape))


def normal(shape: tuple[int, ...], std: float) -> Spec:
    """N(0, std²)."""
    return Spec("normal", std, tuple(shape))


def truncated_normal(shape: tuple[int, ...], std: float) -> Spec:
    """N(0, std²) conditioned on |x| ≤ 2·std (the standard deviation of the result is 0.88·std)."""
    return Spec("truncated_normal", std, tuple(shape))


def uniform(shape: tuple[int, ...], bound: float) -> Spec:
    """U(−bound, bound)."""
    return Spec("uniform", bound, tuple(shape))


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan_in, fan_out) of a kernel (..., in, out): the receptive field times the channels of one side.

    With grouped convolutions `in` is the number of channels of one group and `out` that of all, as in torch. A shape
    of fewer than two axes raises ValueError.
    """
    if len(shape) < 2:
        raise ValueError(f"a kernel needs at least two axes (in, out), got shape {shape}")
    field = math.prod(shape[:-2])
    return field * shape[-2], field * shape[-1]


def he_normal(shape: tuple[int, ...], mode: Literal["fan_in", "fan_out"] = "fan_in") -> Spec:
    """N(0, 2 / fan): keeps the second moment through a ReLU layer.

    Models start so whatever their option `activation` says. To keep the moment exactly, a leaky ReLU or PReLU would
    want 2 / ((1 + slope²)·fan) (equation 15: 6 % less at slope ¼); to keep small signals, tanh and ELU, whose slope at
    0 is 1, 1 / fan (`lecture_xavier`), and the sigmoid, whose slope there is ¼, 16 / fan.

    Reference: He, Zhang, Ren, Sun 2015, "Delving Deep into Rectifiers", equations 10 (fan_in) and 14 (fan_out);
    torch.nn.init.kaiming_normal_ with nonlinearity="relu".
    """
    return normal(shape, math.sqrt(2.0 / fans(shape)[mode == "fan_out"]))


def xavier_normal(shape: tuple[int, ...]) -> Spec:
    """N(0, 2 / (fan_in + fan_out)). Reference: Glorot, Bengio 2010, section 4.2.1; torch.nn.init.xavier_normal_."""
    return normal(shape, math.sqrt(2.0 / sum(fans(shape))))


def xavier_uniform(shape: tuple[int, ...]) -> Spec:
    """U(±√(6 / (fan_in + fan_out))). Reference: Glorot, Bengio 2010, equation 16; torch.nn.init.xavier_uniform_."""
    return uniform(shape, math.sqrt(6.0 / sum(fans(shape))))


def lecture_xavier(shape: tuple[int, ...]) -> Spec:
    """N(0, 1 / fan_in), the lecture's `randn(fan_in, fan_out) / sqrt(fan_in)`; LeCun's normal initialisation."""
    return normal(shape, math.sqrt(1.0 / fans(shape)[0]))


def torch_uniform(shape: tuple[int, ...], fan_in: int) -> Spec:
    """U(±1/√fan_in): the default of torch.nn.Linear and torch.nn.Conv2d, for kernel and bias alike.

    torch writes it as kaiming_uniform_(a=√5); the bound √(6 / ((1 + 5)·fan_in)) is the same number. A bias has no
    fan of its own, so the layer passes the fan_in of its kernel.
    """
    return uniform(shape, 1.0 / math.sqrt(fan_in))


def orthogonal(shape: tuple[int, int], gain: float = 1.0) -> Spec:
    """Square blocks [H, H] side by side in [H, G·H], each gain times an orthogonal matrix, uniform over all of them.

    For the hidden weights of a recurrent layer of G gates: what a block makes of h has gain times its norm.

    Raises:
        ValueError: the columns are not a multiple of the rows.

    Reference: Saxe, McClelland, Ganguli 2014, "Exact solutions to the nonlinear dynamics of learning in deep linear
    neural networks", section 3; flax's cells, gate by gate. The assignments of cs231n use `lecture_xavier` instead, and
    torch uniform numbers in ±1/√H for weights and biases alike (`torch_uniform` with fan_in=H).
    *Deviation*: unlike the other distributions it is drawn whole, and may differ in its last digits between versions
    of LAPACK.
    """
    if len(shape) != 2 or shape[0] < 1 or shape[1] % shape[0]:
        raise ValueError(f"shape is {shape}; orthogonal blocks side by side need [H, G·H]: use another initialiser.")
    return Spec("orthogonal", gain, tuple(shape))


def lstm_bias(shape: tuple[int], forget_bias: float = 1.0) -> Spec:
    """Zeros, but forget_bias for the forget gates, the second of the four parts i, f, o, g of a bias [4·H].

    With σ(1) = 0.73 of a cell kept in each step instead of σ(0) = 0.5, gradients reach further back from the start.

    Raises:
        ValueError: the bias has not four equal parts.

    Reference: Gers, Schmidhuber, Cummins 2000, "Learning to forget", section 4; Jozefowicz, Zaremba, Sutskever 2015,
    "An empirical exploration of recurrent network architectures", which recommends 1. The assignments of cs231n, flax
    and the lecture start from 0.
    """
    if len(shape) != 1 or shape[0] % 4:
        raise ValueError(f"shape is {shape}; the bias of an LSTM is [4·H], one part for each of the gates i, f, o, g.")
    return Spec("forget", forget_bias, tuple(shape))


def draw(spec: Spec, seed: int, path: str) -> np.ndarray:
    """The array that `spec` stands for, a pure function of (seed, path).

    The flat array is cut into blocks of `BLOCK` elements; block b is drawn by numpy's Philox keyed by
    SHA-256(seed/path) with b in the top word of the counter. Values are drawn in float32 whatever the dtype, so that
    runs in float64 or bfloat16 start from the same point (rounded).

    Args:
        spec: the specification.
        seed: the run's seed, any integer.
        path: the leaf's path, such as "stage1/block1/conv1/kernel".

    Returns:
        array of spec.shape and spec.dtype.

    Raises:
        ValueError: the distribution is unknown.
    """
    dtype = jnp.dtype(spec.dtype)
    if spec.distribution == "constant":
        return np.full(spec.shape, spec.scale, dtype)
    if spec.distribution == "forget":
        return np.repeat(np.array([0.0, spec.scale, 0.0, 0.0]), spec.shape[0] // 4).astype(dtype)
    size = math.prod(spec.shape)
    key = np.frombuffer(hashlib.sha256(f"{seed}/{path}".encode()).digest()[:16], np.uint64)
    flat = np.empty(size, np.float32)
    for block, start in enumerate(range(0, size, BLOCK)):
        generator = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, block]))
        _fill(flat[start : start + BLOCK], spec.distribution, generator)
    if spec.distribution == "orthogonal":
        flat = _orthogonal(flat.reshape(spec.shape)).reshape(-1)
    flat *= np.float32(spec.scale)
    return flat.reshape(spec.shape).astype(dtype, copy=False)


def _fill(out: np.ndarray, distribution: str, generator: np.random.Generator) -> None:
    """Fill `out` with the unit form of a distribution."""
    if distribution in ("normal", "orthogonal"):
        generator.standard_normal(out=out, dtype=np.float32)
    elif distribution == "uniform":
        generator.random(out=out, dtype=np.float32)
        out *= 2
        out -= 1
    elif distribution == "truncated_normal":
        generator.standard_normal(out=out, dtype=np.float32)
        while (outside := np.flatnonzero(np.abs(out) > 2)).size:
            out[outside] = generator.standard_normal(outside.size, dtype=np.float32)
    else:
        raise ValueError(
            f"unknown distribution {distribution!r}: constant, normal, truncated_normal, uniform, orthogonal, forget"
        )


def _orthogonal(normal: np.ndarray) -> np.ndarray:
    """The orthogonal factors of square blocks side by side, with the signs that make them uniform."""
    rows = len(normal)
    blocks = normal.astype(np.float64).reshape(rows, -1, rows).swapaxes(0, 1)
    q, r = np.linalg.qr(blocks)
    q *= np.where(np.diagonal(r, axis1=1, axis2=2) < 0, -1.0, 1.0)[:, None]
    return q.swapaxes(0, 1).reshape(normal.shape).astype(np.float32)
