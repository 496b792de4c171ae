"""Recurrent layers beside flax's and torch's, forward and backward, float32.

Every program computes the outputs and the gradients of inputs and weights. "scan" is the same step under `lax.scan`
with jax's own derivative; the ratios say what our derivative and the products in the loop are worth. Each of ours, scan
and flax is compiled three times; rounds of all programs alternate. Times are medians over rounds of the mean over
compilations; "ratio to …" is the median over rounds of ours over that rival with its 95 % interval, which draws rounds
and compilations; below 1 is faster. "MB held" are the temporaries of ours and of the scan, from the compiler's own
analysis. "products" are the matrix products of the LSTM alone, forward and backward, with the states turned
(`ops.turned_loop`): no loop around these products of XLA can be faster, and "products to torch" is how near to torch it
could come.

The rows at the end compile the LSTM at two lengths, in seconds of the processor: the loop stays one, so they must not
grow with it.
"""

import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cs231n_jax.ops import cells, recurrent, time_loop
from experiments.benchmarks import rounds

TITLE = "recurrent layers beside flax and torch, forward and backward (ms; ratio of ours with its 95 % interval)"
GATES = {"lstm": 4, "gru": 3, "rnn": 1}
LAYERS = {"lstm": recurrent.lstm, "gru": recurrent.gru, "rnn": recurrent.rnn}
STEPS = {"lstm": cells.lstm_step, "gru": cells.gru_step, "rnn": cells.rnn_step}
FLAX = {"lstm": nn.OptimizedLSTMCell, "gru": nn.GRUCell, "rnn": nn.SimpleCell}


class Shape(NamedTuple):
    """How large a layer and its batch are."""

    batch: int
    steps: int
    inputs: int
    hidden: int

    def __str__(self) -> str:
        return f"N {self.batch}, T {self.steps}, D {self.inputs}, H {self.hidden}"


SHAPES = (Shape(64, 64, 256, 512), Shape(50, 50, 128, 128), Shape(8, 64, 256, 512))
LENGTHS = (16, 256)
COPIES = 3  # of each program, compiled one after the other: compilation and place in memory alone make some percent
REST = 0.02  # seconds after torch: its threads spin for a while, on the cores that the next program wants

Program = Callable[[], object]


def run(quick: bool) -> list[dict]:
    """One row a cell and shape, then the compile times of the LSTM.

    Args:
        quick: one small shape and few rounds.
    """
    shapes = (Shape(4, 6, 8, 16),) if quick else SHAPES
    rows = [row(cell, shape, 3 if quick else 20) for cell in GATES for shape in shapes]
    return [*rows, *compile_times(Shape(4, 6, 8, 16) if quick else SHAPES[1], 1 if quick else 3)]


def row(cell: str, shape: Shape, count: int) -> dict:
    """Ours beside the scan, flax and torch.

    Args:
        cell: lstm, gru or rnn.
        shape: of the layer and its batch.
        count: rounds.
    """
    x, dy, weights = draw(cell, shape)
    flax = nn.RNN(FLAX[cell](shape.hidden))
    sides: dict[str, tuple[Callable, Any]] = {
        "ours": (lambda weights, x: LAYERS[cell](x, weights)[0], weights),
        "scan": (lambda weights, x: scanned(cell, x, weights), weights),
        "flax": (flax.apply, flax.init(jax.random.key(0), x)),
    }
    made = {side: [compiled(*sides[side], x, dy) for _ in range(COPIES)] for side in sides}
    programs = {f"{side}{i}": call(made[side][i], sides[side][1], x, dy) for i in range(COPIES) for side in sides}
    if cell == "lstm":
        programs["products0"] = products(x, weights)
    if find_spec("torch"):
        programs |= {"torch0": of_torch(cell, shape, x, dy), "(rest)": lambda: time.sleep(REST)}
    timed = rounds.interleave(programs, count)
    seconds = {side: np.stack([timed[f"{side}{i}"] for i in range(COPIES)]) for side in sides}
    alone = timed["products0"][None] if "products0" in timed else None
    seconds |= {"torch": timed["torch0"][None]} if "torch0" in timed else {}
    found: dict[str, Any] = {"cell": cell, "shape": str(shape)}
    found |= {f"{name}, ms": round(1e3 * float(np.median(values.mean(0))), 1) for name, values in seconds.items()}
    for rival in list(seconds)[1:]:
        ratio, low, high = rounds.ratio(seconds["ours"], seconds[rival])
        found[f"ratio to {rival}"] = f"{ratio:.2f} ({low:.2f} to {high:.2f})"
    if alone is not None:
        found["products, ms"] = round(1e3 * float(np.median(alone)), 1)
    if alone is not None and "torch" in seconds:
        found["products to torch"] = "{:.2f} ({:.2f} to {:.2f})".format(*rounds.ratio(alone, seconds["torch"]))
    held = [round(made[side][0].memory_analysis().temp_size_in_bytes / 1e6, 1) for side in ("ours", "scan")]
    return found | {"MB held": held[0], "MB held by the scan": held[1]}


def compile_times(shape: Shape, count: int) -> list[dict]:
    """Seconds of the processor from tracing to the program, of the LSTM forward and backward, the best of `count`."""
    rows = []
    for steps in LENGTHS:
        x, dy, weights = draw("lstm", shape._replace(steps=steps))
        seconds = []
        for _ in range(count):
            jax.clear_caches()
            start = time.process_time()
            compiled(lambda weights, x: recurrent.lstm(x, weights)[0], weights, x, dy)
            seconds.append(time.process_time() - start)
        found = {"cell": "lstm", "shape": str(shape._replace(steps=steps)), "compile, s": round(min(seconds), 2)}
        rows.append(found)
    return rows


def draw(cell: str, shape: Shape) -> tuple[jax.Array, jax.Array, Any]:
    """x [N, T, D], dy [N, T, H] and weights."""
    random = np.random.default_rng(0)

    def normal(*size: int) -> jax.Array:
        return jnp.asarray(random.standard_normal(size, np.float32) / size[0] ** 0.5)

    n, t, d, h = shape
    made = cells.Weights(normal(d, GATES[cell] * h), normal(h, GATES[cell] * h), jnp.zeros(GATES[cell] * h))
    if cell == "gru":
        made = cells.GruWeights(*made, jnp.zeros(h))
    return normal(n, t, d), normal(n, t, h), made


def scanned(cell: str, x: jax.Array, weights: Any) -> jax.Array:
    """The step of `ops.cells` under a scan, with the derivative of jax."""
    zero = jnp.zeros((x.shape[0], weights.hidden.shape[0]))
    first = cells.LstmState(zero, zero) if cell == "lstm" else zero

    def step(state: Any, x: Any) -> tuple[Any, Any]:
        new = STEPS[cell](x, state, weights)
        return new, jax.tree.leaves(new)[0]

    return jnp.swapaxes(lax.scan(step, first, jnp.swapaxes(x, 0, 1))[1], 0, 1)


def compiled(layer: Callable, weights: Any, x: jax.Array, dy: jax.Array) -> Any:
    """The outputs and the gradients of weights and inputs, compiled."""

    def program(weights: Any, x: jax.Array, dy: jax.Array) -> Any:
        y, pull = jax.vjp(layer, weights, x)
        return y, pull(dy)

    return jax.jit(program).lower(weights, x, dy).compile()


def products(x: jax.Array, weights: Any) -> Program:
    """The matrix products of an LSTM, forward and backward: those of a step after those of the one before it."""
    h = weights.hidden.shape[0]
    both, inputs = jnp.concatenate((weights.input, weights.hidden)).T, jnp.transpose(x, (1, 2, 0))
    read, dz = jnp.ones((x.size // x.shape[2], both.shape[1])), jnp.ones((x.size // x.shape[2], 4 * h))

    def program(both: jax.Array, weights: Any, inputs: jax.Array, read: jax.Array, dz: jax.Array) -> Any:
        def forward(state: jax.Array, x: jax.Array) -> tuple[jax.Array, None]:
            return cells.product(both, jnp.concatenate((x, state)))[:h], None

        def backward(d: jax.Array, _: None) -> tuple[jax.Array, None]:
            return jnp.tile(0.5 * cells.product(weights.hidden, d), (4, 1)), None

        last, _ = lax.scan(forward, inputs[0, :1] * jnp.ones((h, 1)), inputs)
        first, _ = lax.scan(backward, jnp.tile(last, (4, 1)), None, length=len(inputs))
        return first, time_loop.outer(read, dz, read), cells.product(dz, weights.input.T)

    arrays = (both, weights, inputs, read, dz)
    return call(jax.jit(program).lower(*arrays).compile(), *arrays)


def call(program: Any, *arrays: Any) -> Program:
    """A call that waits."""
    return lambda: jax.block_until_ready(program(*arrays))


def of_torch(cell: str, shape: Shape, x: jax.Array, dy: jax.Array) -> Program:
    """Torch's layer on the same batch."""
    import torch

    layer = getattr(torch.nn, cell.upper())(shape.inputs, shape.hidden, batch_first=True)
    inputs, cotangent = torch.tensor(np.asarray(x), requires_grad=True), torch.tensor(np.asarray(dy))

    def once() -> None:
        layer.zero_grad(set_to_none=True)
        inputs.grad = None
        layer(inputs)[0].backward(cotangent)

    return once
