"""Random regularizers: units, channels, residual branches or whole paths of a network left out at random."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

Gate = Literal["batch", "row"]


def dropout(key: PRNGKeyArray, x: Float[Array, "*n"], *, drop_rate: float) -> Float[Array, "*n"]:
    """Set each element to zero with probability drop_rate and scale the others so that the mean stays.

    y = m·x / (1 − drop_rate), m ~ Bernoulli(1 − drop_rate) for each element

    Args:
        key: PRNG key.
        x: float.
        drop_rate: probability of a zero, in [0, 1).

    Returns:
        y in the shape and dtype of x. At inference dropout is the identity: do not call it.

    Raises:
        ValueError: if drop_rate is outside [0, 1).
        TypeError: if x does not hold floats.

    Reference: Srivastava et al. 2014, sections 4 and 10 (the scaling at training time).
    *Deviation* from the paper: scaled in training ("inverted"), as in torch and flax, and not at test time.
    """
    return _dropped(key, x, drop_rate, x.shape)


def spatial_dropout(
    key: PRNGKeyArray, x: Float[Array, "n *positions c"], *, drop_rate: float
) -> Float[Array, "n *positions c"]:
    """Set whole channels of each example to zero with probability drop_rate and scale the others.

    y[i, …, c] = m[i, c]·x[i, …, c] / (1 − drop_rate), m ~ Bernoulli(1 − drop_rate) for each example and channel

    Neighbouring pixels of a map say nearly the same, so that dropout of single elements hides little of it.

    Args:
        key: PRNG key.
        x: maps [N, ..., C]; without axes between them it is `dropout`.
        drop_rate: probability of a zero channel, in [0, 1).

    Returns:
        y in the shape and dtype of x. At inference it is the identity: do not call it.

    Raises:
        ValueError: if drop_rate is outside [0, 1), or x has no axis of channels behind that of examples.
        TypeError: if x does not hold floats.

    Reference: Tompson, Goroshin, Jain, LeCun, Bregler 2015, "Efficient Object Localization Using Convolutional
    Networks", section 3.2. As in torch's Dropout2d; *Deviation* from the paper: scaled in training, as `dropout`.
    """
    if x.ndim < 2:
        raise ValueError(f"x has the shape {list(x.shape)}; it must be maps [N, ..., C], so give it both axes.")
    return _dropped(key, x, drop_rate, (x.shape[0], *(1,) * (x.ndim - 2), x.shape[-1]))


def _dropped(key: Array, x: Array, drop_rate: float, shape: tuple[int, ...]) -> Array:
    """x by one mask of a shape that broadcasts to its own."""
    _check_rate(drop_rate)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"x is {x.dtype}; it must hold floats, so cast it before.")
    if drop_rate == 0:
        return x
    kept = jax.random.bernoulli(key, 1.0 - drop_rate, shape)
    return jnp.where(jnp.broadcast_to(kept, x.shape), x / (1.0 - drop_rate), jnp.zeros_like(x))


def stochastic_depth(
    key: PRNGKeyArray | None, x: Float[Array, "n ..."], *, drop_rate: float, gate: str = "batch"
) -> Float[Array, "n ..."]:
    """Switch a residual branch off at random; at inference scale it by its probability to be on.

    y = b·x, b ~ Bernoulli(1 − drop_rate), one b a batch or one an example; without a key y = (1 − drop_rate)·x

    Args:
        key: PRNG key, or None at inference.
        x: output of the branch [n, ...].
        drop_rate: probability that the branch is off, in [0, 1].
        gate: "batch" for one gate for the whole batch, "row" for one an example.

    Returns:
        y in the shape and dtype of x.

    Raises:
        ValueError: if drop_rate or gate is none of the allowed values.

    Reference: Huang, Sun, Liu, Sedra, Weinberger 2016, equations 2 and 5.
    *Deviation* from torchvision's and timm's drop path: the branch is scaled at inference, as in the paper, and not by
    1 / (1 − drop_rate) in training. A branch that is off is computed all the same, so that shapes stay fixed.
    """
    if not 0.0 <= drop_rate <= 1.0:
        raise ValueError(f"drop_rate is {drop_rate}; it must lie in [0, 1].")
    if gate not in ("batch", "row"):
        raise ValueError(f"gate is {gate!r}; it must be 'batch' (one gate a batch) or 'row' (one an example).")
    if drop_rate == 0:
        return x
    if key is None:
        return x * (1.0 - drop_rate)
    shape = (x.shape[0] if gate == "row" else 1,) + (1,) * (x.ndim - 1)
    on = jnp.broadcast_to(jax.random.bernoulli(key, 1.0 - drop_rate, shape), x.shape)
    return jnp.where(on, x, jnp.zeros_like(x))


def linear_drop_rates(blocks: int, last: float) -> tuple[float, ...]:
    """Return the drop rate of each of `blocks` residual blocks: rate_l = l / blocks · last, l = 1 … blocks.

    Reference: Huang et al. 2016, equation 4 (1 − rate_l is p_l there).
    """
    return tuple(last * (block + 1) / blocks for block in range(blocks))


def join(inputs: Sequence[Float[Array, "*n"]], weights: Float[Array, " k"] | None = None) -> Float[Array, "*n"]:
    """Return the weighted sum Σ_i weights_i·inputs_i of k arrays; without weights their mean.

    Reference: Larsson, Maire, Shakhnarovich 2017, "FractalNet", section 3 (the join layer).
    """
    if weights is None:
        return sum(inputs[1:], inputs[0]) / len(inputs)
    terms = [weights[i].astype(x.dtype) * x for i, x in enumerate(inputs)]
    return sum(terms[1:], terms[0])


def local_drop_path(key: PRNGKeyArray, inputs: int, *, drop_rate: float) -> Float[Array, " k"]:
    """Return the weights of a join that drops each of its inputs at random, but never all of them.

    Each input is dropped with probability drop_rate; a draw without any input left is drawn again. The weights are
    1 / (number left) for those left and 0 for the others. The draw is exact: one categorical draw over all patterns
    that leave something.

    Args:
        key: PRNG key.
        inputs: number of inputs k, in 1 … 10.
        drop_rate: in [0, 1).

    Returns:
        weights [k], float32, of sum 1.

    Raises:
        ValueError: if an argument is out of range.

    Reference: Larsson et al. 2017, section 3.1 (local).
    """
    _check_rate(drop_rate)
    if not 1 <= inputs <= 10:
        raise ValueError(f"inputs is {inputs}; a join has 1 to 10 of them.")
    patterns = np.array([p for p in product((0, 1), repeat=inputs) if any(p)], np.float32)
    left = patterns.sum(1)
    chances = (1.0 - drop_rate) ** left * drop_rate ** (inputs - left)
    with np.errstate(divide="ignore"):
        logits = jnp.asarray(np.log(chances), jnp.float32)
    return jnp.asarray(patterns / left[:, None])[jax.random.categorical(key, logits)]


def global_drop_path(column: Int[Array, ""], columns: Sequence[int]) -> Float[Array, " k"]:
    """Return the weights of a join that lets only one column of the network pass.

    Args:
        column: the column chosen for the whole network, an integer.
        columns: the k columns that meet in this join.

    Returns:
        weights [k], float32: 1 for the chosen column; 1 / k for all where the chosen one does not pass here.

    Reference: Larsson et al. 2017, section 3.1 (global).
    """
    chosen = (jnp.asarray(columns, column.dtype) == column).astype(jnp.float32)
    return jnp.where(chosen.any(), chosen, jnp.full_like(chosen, 1.0 / len(columns)))


def _check_rate(drop_rate: float) -> None:
    if not 0.0 <= drop_rate < 1.0:
        raise ValueError(f"drop_rate is {drop_rate}; it must be at least 0 and below 1.")
