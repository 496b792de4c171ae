"""Recurrent layers against torch: outputs, last states and all gradients, of one layer and of stacks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax.ops import recurrent
from cs231n_jax.ops.cells import GruWeights, LstmState, Weights
from tests.golden import make_recurrent as golden
from tests.ops.test_recurrent import GATES, LAYERS, close
from tests.rows import one_in


def from_torch(cell, values, layer, direction):
    """Weights of one pass: transposed, gates i, f, g, o to i, f, o, g, the biases summed where they can be."""

    def turned(kind):
        parts = np.split(values[f"{kind}_l{layer}{direction}"].T, GATES[cell], -1)
        return np.concatenate([parts[i] for i in (0, 1, 3, 2)] if cell == "lstm" else parts, -1)

    products, first, second = map(turned, ("weight_ih", "weight_hh")), turned("bias_ih"), turned("bias_hh")
    if cell != "gru":
        return Weights(*map(jnp.asarray, (*products, first + second)))
    width = len(first) // 3
    summed = first + np.where(np.arange(3 * width) < 2 * width, second, 0)
    return GruWeights(*map(jnp.asarray, (*products, summed, second[2 * width :])))


def gradients_of_torch(cell, values, layer, direction):
    """As the weights; every bias has the gradient of what it is added to."""
    gates = from_torch(cell, values, layer, direction)
    bias = values[f"bias_ih_l{layer}{direction}"]
    parts = np.split(bias, GATES[cell])
    bias = np.concatenate([parts[i] for i in (0, 1, 3, 2)] if cell == "lstm" else parts)
    return gates._replace(bias=jnp.asarray(bias))


def by_layers(both, make):
    def layer(i):
        return (make(i, ""), make(i, "_reverse")) if both else make(i, "")

    return layer


def stack_of(states, cell, layers, both):
    """Torch's states [L, n, h] as one state, or a pair, a layer."""

    def one(i):
        return LstmState(*(s[i] for s in states)) if cell == "lstm" else states[0][i]

    return [(one(2 * i), one(2 * i + 1)) if both else one(i) for i in range(layers)]


@pytest.mark.parametrize("case", one_in(3, [(case,) for case in golden.CASES]), ids=lambda case: golden.name(*case))
def test_torch_gives_the_same(case, x64):
    """Outputs, last states and all gradients, of one layer and of two with both directions, full and padded."""
    cell, layers, both, is_padded = case
    with np.load(golden.FILE) as stored:
        name = golden.name(*case) + "/"
        theirs = {key.removeprefix(name): stored[key] for key in stored.files if key.startswith(name)}
    x, parameters, states, dy = golden.draw(*case[:3])
    weights = [by_layers(both, lambda i, way: from_torch(cell, parameters, i, way))(i) for i in range(layers)]
    first = stack_of(list(map(jnp.asarray, states)), cell, layers, both)
    lengths = jnp.asarray(golden.LENGTHS, jnp.int32) if is_padded else None

    def run(x, weights, states):
        return recurrent.stacked(LAYERS[cell], x, weights, states, lengths=lengths)

    (y, last), pull = jax.vjp(jax.jit(run), jnp.asarray(x), weights, first)
    found = pull((jnp.asarray(dy), jax.tree.map(jnp.zeros_like, last)))
    d = {key[1:]: value for key, value in theirs.items() if key.startswith(("dweight", "dbias"))}
    dweights = [by_layers(both, lambda i, way: gradients_of_torch(cell, d, i, way))(i) for i in range(layers)]
    kinds = range(len(states))
    close((y, last), (theirs["y"], stack_of([theirs[f"last{i}"] for i in kinds], cell, layers, both)), 1e-13)
    dstates = stack_of([theirs[f"dstate{i}"] for i in kinds], cell, layers, both)
    close(found, (theirs["dx"], dweights, dstates), 1e-13)


@pytest.mark.parity
def test_torch_still_gives_the_stored_numbers():
    pytest.importorskip("torch")
    with np.load(golden.FILE) as stored:
        for case in golden.CASES:
            for name, theirs in golden.arrays(*case).items():
                np.testing.assert_allclose(stored[name], theirs, rtol=0, atol=1e-12)
