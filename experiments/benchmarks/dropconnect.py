"""A layer with DropConnect beside the dense layer, forward and backward, at batch 128.

With one mask for the batch ("shared") the layer adds the random bits of one mask and two passes over the kernel to the
three matrix products. The bits that a rate takes are those of its binary digits: one a connection for 0.5, eight for
0.3 (which is rounded to 77/256). With a mask for each example nothing is left of the matrix product, since every
example has another kernel: that is the price of the paper's method. Its masks, held together in float32, would take
"GB of masks"; the program's temporaries, from the compiler's own analysis, are "MB held".
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax.ops import dropconnect
from experiments.benchmarks import rounds

TITLE = "DropConnect beside the dense layer, forward and backward (ms; ratio, its 95 % interval; memory)"
BATCH = 128
RATES = (0.5, 0.3)


def run(quick: bool) -> list[dict]:
    """One row a layer: widths 1024 and 4096, or 256 with `quick`."""
    return [row for width in ((256,) if quick else (1024, 4096)) for row in _rows(width, 8 if quick else 40)]


def _rows(width: int, count: int) -> list[dict]:
    """The dense layer, the shared mask at both rates, and a mask for each example.

    Args:
        width: of the input and of the output.
        count: rounds that are timed, of the masks for each example at most three.
    """
    arrays = _arrays(width)
    layers: dict[str, Callable] = {"dense": lambda key, *weights: _dense(*weights)}
    layers |= {f"shared mask, rate {rate}": _layer(rate, shared_mask=True) for rate in RATES}
    programs = {name: _compiled(layer, arrays) for name, layer in layers.items()}
    seconds = rounds.interleave({name: _call(program, arrays) for name, program in programs.items()}, count)
    each, name = _compiled(_layer(RATES[0]), arrays), f"mask for each example, rate {RATES[0]}"
    alone = {"dense": _call(programs["dense"], arrays), name: _call(each, arrays)}
    slow = rounds.interleave(alone, min(count, 3))
    rows = [_row(name, width, programs[name], seconds[name], seconds["dense"]) for name in programs]
    rows.append(_row(name, width, each, slow[name], slow["dense"]))
    rows[-1]["GB of masks"] = round(BATCH * width**2 * 4 / 1e9, 2)
    return rows


def _row(name: str, width: int, program: Any, own: np.ndarray, dense: np.ndarray) -> dict:
    ratio, low, high = rounds.ratio(own, dense)
    return {
        "layer": name,
        "width": width,
        "ms": round(1e3 * float(np.median(own)), 1),
        "ratio": round(ratio, 2),
        "low": round(low, 2),
        "high": round(high, 2),
        "MB held": round(program.memory_analysis().temp_size_in_bytes / 1e6, 1),
    }


def _dense(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    return x @ kernel + bias.reshape(1, -1)


def _layer(rate: float, **options: Any) -> Callable:
    def layer(key: jax.Array, *weights: jax.Array) -> jax.Array:
        return dropconnect.drop_connect(key, *weights, drop_rate=rate, **options)

    return layer


def _compiled(layer: Callable, arrays: tuple[jax.Array, ...]) -> Any:
    """The output and the gradients of all inputs, compiled."""

    def program(key: jax.Array, dy: jax.Array, *weights: jax.Array) -> Any:
        y, pull = jax.vjp(lambda *weights: layer(key, *weights), *weights)
        return y, pull(dy)

    return jax.jit(program).lower(*arrays).compile()


def _call(program: Any, arrays: tuple[jax.Array, ...]) -> Callable[[], object]:
    return lambda: jax.block_until_ready(program(*arrays))


def _arrays(width: int) -> tuple[jax.Array, ...]:
    """A key, dy, x, kernel, bias."""
    random = np.random.default_rng(0)
    shapes = (BATCH, width), (BATCH, width), (width, width), (width,)
    return jax.random.key(0), *(jnp.asarray(random.standard_normal(s, np.float32)) for s in shapes)
