"""DropConnect: a dense layer whose connections, not its units, are left out at random."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from cs231n_jax.ops.precision import at_least_float32

DIGITS = 8  # binary digits of a rate
LANES = 32  # connections that share a random word, one bit each
AGAIN = "drawn_again"  # the name scope of what a backward pass draws once more with the forward's keys


def drop_connect(
    key: PRNGKeyArray,
    x: Float[Array, "n ..."],
    kernel: Float[Array, "d m"],
    bias: Float[Array, " b"] | None = None,
    *,
    drop_rate: float,
    shared_mask: bool = False,
    chunk_size: int = 1,
) -> Float[Array, "n m"]:
    """Apply a dense layer with each of its connections left out with probability drop_rate.

    y_n = x_n (M_n ⊙ kernel) + bias, M_n[i, o] ~ Bernoulli(keep), keep = 1 − drop_rate to 8 binary digits (`keep_rate`)

    The masks of n examples are never held together: examples are worked through in chunks, forward and backward, and
    the backward pass draws the masks again. The draw of example n depends on (key, n) alone, so the result does not
    depend on `chunk_size`. The derivative is taken in at least float32.

    Args:
        key: PRNG key.
        x: examples [n, d].
        kernel: weights [d, m], of the same dtype as x.
        bias: [m], of the same dtype, or None.
        drop_rate: 0, or in [1/512, 511/512].
        shared_mask: one mask for the whole batch: to the dense layer it adds the random bits of one example and a pass
            over the kernel, forward and backward.
        chunk_size: how many examples hold their masks at a time, ≥ 1: 4·d·m bytes or more each. On a mesh that splits
            the batch: a multiple of the number of devices, so that each of them always has something to do.

    Returns:
        y [n, m] in the dtype of x. At inference use `moments`.

    Raises:
        TypeError: if the dtypes differ.
        ValueError: if drop_rate or chunk_size is out of range, or the shapes do not fit.

    Reference: Wan, Zeiler, Zhang, LeCun, Fergus 2013, "Regularization of Neural Networks using DropConnect",
    section 3 and algorithm 1 (p there is the probability to be kept). As there, and unlike `noise.dropout`, nothing is
    scaled in training: the mean of y is keep·x·kernel + bias.
    *Deviation*: the bias is always kept (the paper drops it too: give x a column of ones and the kernel a row for it).
    shared_mask drops the same connections for all examples of a batch, so their noise is not independent.
    """
    _check(x, kernel, bias, chunk_size)
    y = _product(key, x, kernel, drop_rate, shared_mask, min(chunk_size, max(len(x), 1)))
    return y if bias is None else y + lax.broadcast_in_dim(bias, y.shape, (1,))


def moments(
    x: Float[Array, "n ..."], kernel: Float[Array, "d m"], bias: Float[Array, " b"] | None = None, *, drop_rate: float
) -> tuple[Float[Array, "n m"], Float[Array, "n m"]]:
    """Return mean and variance of `drop_connect` over its masks, for the inference by a Gaussian of these moments.

    mean = keep·(x·kernel) + bias, var = keep·(1 − keep)·(x²·kernel²)

    They are exact; that the sum over many connections is normal is the approximation. What an activation function makes
    of it is in `ops.gaussian`.

    Args:
        x: examples [n, d].
        kernel: weights [d, m], of the same dtype as x.
        bias: [m], of the same dtype, or None.
        drop_rate: as in `drop_connect`.

    Returns:
        (mean, var), each [n, m], of the dtype of x, at least float32.

    Raises:
        TypeError, ValueError: as `drop_connect`.

    Reference: Wan et al. 2013, section 3.2 and algorithm 2.
    """
    _check(x, kernel, bias, 1)
    keep, wide = keep_rate(drop_rate), at_least_float32(x.dtype)
    x, kernel = x.astype(wide), kernel.astype(wide)
    mean = keep * (x @ kernel)
    if bias is not None:
        mean += lax.broadcast_in_dim(bias.astype(wide), mean.shape, (1,))
    return mean, keep * (1.0 - keep) * (jnp.square(x) @ jnp.square(kernel))


def keep_rate(drop_rate: float) -> float:
    """Return the probability with which a connection is kept: 1 − drop_rate, rounded to a multiple of 1/256.

    A rate of 0.5 is exact and takes one random bit a connection; one of 0.3 becomes 0.30078 and takes eight.

    Raises:
        ValueError: if drop_rate is outside [0, 1), or so close to 0 or 1 that it would be rounded to it.
    """
    kept = round((1.0 - drop_rate) * 2**DIGITS) if 0.0 <= drop_rate < 1.0 else 0
    if kept == 0 or (kept == 2**DIGITS and drop_rate != 0):
        least = 2 ** (DIGITS + 1)
        raise ValueError(
            f"drop_rate is {drop_rate}; masks have steps of 1/{2**DIGITS}: give 0, or a rate between 1/{least} "
            f"and {least - 1}/{least}."
        )
    return kept / 2**DIGITS


def keep_mask(key: PRNGKeyArray, shape: tuple[int, ...], *, drop_rate: float) -> Bool[Array, "d m"]:
    """Draw which of the [d, m] connections are kept, each by itself with probability `keep_rate(drop_rate)`.

    A random word decides about 32 connections, one in each bit. With the binary digits b of the rate, from the last to
    the first, and a word r for each: word ← word | r where b is 1, word & r where it is 0. That takes P(bit) to
    (b + P(bit)) / 2, and trailing zeros of the rate cost nothing.

    Args:
        key: PRNG key.
        shape: (d, m).
        drop_rate: as in `drop_connect`.

    Returns:
        [d, m], True where a connection is kept.
    """
    kept = round(keep_rate(drop_rate) * 2**DIGITS)
    if kept == 2**DIGITS:
        return jnp.ones(shape, bool)
    digits = [int(digit) for digit in f"{kept:0{DIGITS}b}".rstrip("0")]
    rows = -(-shape[0] // LANES)
    words = jax.random.bits(key, (len(digits), rows, shape[1]), jnp.uint32)
    word = words[-1]  # of the last digit, which is 1: P(bit) is ½
    for digit, r in zip(digits[-2::-1], words[:-1]):
        word = word | r if digit else word & r
    bit = jnp.asarray(2 ** np.arange(LANES, dtype=np.uint32)).reshape(1, LANES, 1)
    return ((word[:, None] & bit) != 0).reshape(rows * LANES, shape[1])[: shape[0]]


def _product(key: Array, x: Array, kernel: Array, drop_rate: float, shared_mask: bool, chunk_size: int) -> Array:
    if keep_rate(drop_rate) == 1.0:
        return x @ kernel
    if shared_mask:
        return _shared(key, x, kernel, drop_rate)
    return _by_example(key, x, kernel, drop_rate, chunk_size)


def _shared(key: Array, x: Array, kernel: Array, drop_rate: float) -> Array:
    return x @ _masked(keep_mask(key, kernel.shape, drop_rate=drop_rate), kernel)


def _masked(mask: Array, values: Array) -> Array:
    return jnp.where(mask, values, jnp.zeros_like(values))


# --- a mask for each example ---


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _by_example(key: Array, x: Array, kernel: Array, drop_rate: float, chunk_size: int) -> Array:
    def forward(_: None, chunk: tuple[Array, Array]) -> tuple[None, Array]:
        return None, jax.vmap(lambda key, x: _shared(key, x[None], kernel, drop_rate)[0])(*chunk)

    _, y = lax.scan(forward, None, (_keys(key, len(x), chunk_size), _chunks(x, chunk_size)))
    return _joined(y, len(x))


def _by_example_fwd(
    key: Array, x: Array, kernel: Array, drop_rate: float, chunk_size: int
) -> tuple[Array, tuple[Array, Array, Array]]:
    return _by_example(key, x, kernel, drop_rate, chunk_size), (key, x, kernel)


@jax.named_scope(AGAIN)
def _by_example_bwd(
    drop_rate: float, chunk_size: int, saved: tuple[Array, Array, Array], dy: Array
) -> tuple[None, Array, Array]:
    """dx_n = dy_n·(M_n ⊙ kernel)ᵀ, dkernel = Σ_n M_n ⊙ (x_nᵀ·dy_n), with the masks drawn again."""
    key, x, kernel = saved
    wide = at_least_float32(x.dtype)

    def one(key: Array, x: Array, dy: Array) -> tuple[Array, Array]:
        mask = keep_mask(key, kernel.shape, drop_rate=drop_rate)
        outer = x.astype(wide)[:, None] * dy.astype(wide)[None, :]
        return (dy[None] @ _masked(mask, kernel).T)[0], _masked(mask, outer)

    def backward(dkernel: Array, chunk: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        dx, parts = jax.vmap(one)(*chunk)
        return dkernel + parts.sum(0), dx

    chunks = (_keys(key, len(x), chunk_size), _chunks(x, chunk_size), _chunks(dy, chunk_size))
    dkernel, dx = lax.scan(backward, jnp.zeros(kernel.shape, wide), chunks)
    return None, _joined(dx, len(x)), dkernel.astype(kernel.dtype)


_by_example.defvjp(_by_example_fwd, _by_example_bwd)


def _keys(key: Array, examples: int, size: int) -> Array:
    """Keys [steps, size], in the order of `_chunks`; each of the zeros that fill the last chunk has its own too."""
    steps = -(-examples // size)
    numbers = jnp.arange(steps * size, dtype=jnp.uint32).reshape(size, steps).T
    return jax.vmap(jax.vmap(lambda n: jax.random.fold_in(key, n)))(numbers)


def _chunks(examples: Array, size: int) -> Array:
    """[n, ...] -> [steps, size, ...]; a step takes every steps-th example, so that it has some of each device's."""
    steps = -(-len(examples) // size)
    missing = steps * size - len(examples)
    examples = jnp.pad(examples, [(0, missing)] + [(0, 0)] * (examples.ndim - 1))
    return examples.reshape(size, steps, *examples.shape[1:]).swapaxes(0, 1)


def _joined(chunks: Array, examples: int) -> Array:
    """The inverse of `_chunks`."""
    return chunks.swapaxes(0, 1).reshape(-1, *chunks.shape[2:])[:examples]


def _check(x: Array, kernel: Array, bias: Array | None, chunk_size: int) -> None:
    if x.ndim != 2:
        raise ValueError(f"x has the shape {list(x.shape)}; it must be [examples, inputs]: reshape it.")
    (inputs, outputs), given = kernel.shape, x.shape[1]
    if given != inputs:
        raise ValueError(
            f"x has {given} columns and the kernel {inputs} rows; the kernel must be [{given}, {outputs}]."
        )
    if bias is not None and bias.shape != (outputs,):
        raise ValueError(f"The bias has {len(bias)} elements and the kernel {outputs} columns; they must agree.")
    dtypes = {str(array.dtype) for array in (x, kernel, bias) if array is not None}
    if len(dtypes) > 1:
        raise TypeError(f"x, kernel and bias are {', '.join(sorted(dtypes))}; cast them to one dtype.")
    if chunk_size < 1:
        raise ValueError(f"chunk_size is {chunk_size}; it must be at least 1.")
