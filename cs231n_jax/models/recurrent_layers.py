"""Recurrent layers as modules: they own the names and shapes of parameters and states, the mathematics is in `ops`."""

from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from cs231n_jax.models.layers import Initialiser, declare, parameter
from cs231n_jax.ops import init, recurrent
from cs231n_jax.ops.cells import GruWeights, LstmState, Weights
from cs231n_jax.ops.cudnn_lstm import cudnn_layer
from cs231n_jax.ops.precision import at_least_float32
from cs231n_jax.typing import Array

CellName = Literal["rnn", "lstm", "gru"]
WeightsInit = Literal["orthogonal", "lecture", "torch"]
Backend = Literal["scan", "cudnn"]
State = dict[str, Array]  # by part: h [N, H], and c [N, H] of an LSTM; always of at least float32


class Kind(NamedTuple):
    """What a cell has."""

    gates: int
    parts: tuple[str, ...]  # of its state


KINDS: dict[CellName, Kind] = {"rnn": Kind(1, ("h",)), "lstm": Kind(4, ("h", "c")), "gru": Kind(3, ("h",))}


class Recurrent(nn.Module):
    """A recurrent layer: vectors [N, T, D], or tokens [N, T] from 0 to D − 1, -> outputs [N, T, H] and the last state.

    Parameters: input [D, G·H], hidden [H, G·H], bias [G·H], G = 1, 4, 3 gates of an RNN, LSTM, GRU; a GRU has also
    candidate_bias [H]. Biases begin at 0, but for the forget gates of an LSTM at `forget_bias`: 1 as Jozefowicz et al.
    2015 recommend, where the assignments of cs231n and torch's two biases are 0 or near it. The weights begin

    - "orthogonal": hidden [H, H] of each gate orthogonal, input N(0, 1/D), as in flax;
    - "lecture": input N(0, 1/D), hidden N(0, 1/H), as in the assignments of cs231n;
    - "torch": both uniform in ±1/√H. *Deviation*: torch draws its biases so too.

    `backend` is what runs an LSTM over its steps: "scan", our own loop (`ops.recurrent`), anywhere and in every dtype,
    or "cudnn", NVIDIA's (`ops.cudnn_lstm`), on their GPUs and in float32; its products may be in TF32. Parameters and
    states are the same: what was trained with one runs with the other.

    Args of a call:
        x: what the layer reads.
        state: before the first step, each part [N, H]; zeros by default.
        depth: D, read where x is tokens.
        lengths: how many steps of each sequence count, [N]; all by default. Behind them outputs are 0 and the state
            stays as it is.
    """

    features: int  # H
    cell: CellName = "lstm"
    weights_init: WeightsInit = "orthogonal"
    forget_bias: float = 1.0
    reverse: bool = False  # from each sequence's last step to its first
    backend: Backend = "scan"

    @nn.compact
    def __call__(
        self, x: Array, state: State | None = None, depth: int = 0, lengths: Array | None = None
    ) -> tuple[Array, State]:
        """Run over all steps."""
        vectors = jnp.issubdtype(x.dtype, jnp.floating)
        specs = layer_specs(
            self.cell, x.shape[-1] if vectors else depth, self.features, self.weights_init, self.forget_bias
        )
        if self.is_initializing():
            declare(self, specs)
            last = zeros(self.cell, x.shape[0], self.features) if state is None else state
            return jnp.zeros((*x.shape[:2], self.features), x.dtype if vectors else jnp.float32), last
        values = [parameter(self, name, spec) for name, spec in specs.items()]
        narrow = x.dtype if vectors else values[0].dtype
        given = None if state is None else [state[part] for part in KINDS[self.cell].parts]
        values = [value.astype(narrow) for value in values]
        if self.backend == "cudnn":
            _check_cudnn(narrow)
        y, last = _run(self.cell, self.backend, x, values, given, lengths=lengths, reverse=self.reverse)
        return y, dict(zip(KINDS[self.cell].parts, (part.astype(at_least_float32(part.dtype)) for part in last)))


def check_backend(backend: Backend, cell: str) -> None:
    """Refuse cuDNN for cells that are not bound to it; raises ValueError."""
    if backend == "cudnn" and cell != "lstm":
        raise ValueError(f"backend='cudnn' runs LSTMs alone, got cell={cell!r}: set backend='scan' or cell='lstm'")


def token_stages(embedding: int, layers: int) -> tuple[str, ...]:
    """The stages of layers over tokens: stem, where there is an embedding; layer1, layer2, ..."""
    return (("stem",) if embedding else ()) + tuple(f"layer{i + 1}" for i in range(layers))


def check_tokens(label: str, x: Array) -> None:
    """Refuse what is no batch of tokens; raises ValueError."""
    if x.ndim != 2 or 0 in x.shape or not jnp.issubdtype(x.dtype, jnp.integer):
        raise ValueError(
            f"{label} takes tokens, integers [N, T] with N and T ≥ 1, got {x.dtype} of shape {list(x.shape)}"
        )


def _check_cudnn(dtype: Any) -> None:
    platform = jax.default_backend()
    if platform != "gpu":
        raise ValueError(
            f"backend='cudnn' needs an NVIDIA GPU and this process runs on {platform}: set backend='scan', which has "
            "the same parameters"
        )
    if dtype != jnp.float32:
        raise ValueError(f"backend='cudnn' computes in float32, got {dtype}: set backend='scan', or dtype float32")


def layer_specs(
    cell: CellName, depth: int, features: int, weights_init: WeightsInit, forget_bias: float
) -> dict[str, init.Spec]:
    """The parameters of a layer by name: of D = depth inputs and H = features units."""
    h, gates = features, KINDS[cell].gates
    into, hidden = _weights(weights_init, h)
    bias = init.lstm_bias((4 * h,), forget_bias) if cell == "lstm" else init.constant((gates * h,), 0.0)
    specs = {"input": into((depth, gates * h)), "hidden": hidden((h, gates * h)), "bias": bias}
    return {**specs, "candidate_bias": init.constant((h,), 0.0)} if cell == "gru" else specs


def embedded(module: nn.Module, name: str, tokens: Array, entries: int, features: int, std: float = 1.0) -> Array:
    """A learned vector for each token: [N, T], from 0 to entries − 1, -> [N, T, features]; other tokens give NaN.

    The vectors are the parameter `name` of `module` and begin at N(0, std²).
    """
    spec = init.normal((entries, features), std)
    if module.is_initializing():
        declare(module, {name: spec})
        return jnp.zeros((*tokens.shape, features))
    return parameter(module, name, spec).at[tokens].get(mode="fill", wrap_negative_indices=False)


def some_tokens(n: int, entries: int) -> Array:
    """Tokens [n, 3] for a model that is called without any, to see the shapes of things."""
    return jnp.broadcast_to(jnp.minimum(jnp.arange(3, dtype=jnp.int32), entries - 1), (n, 3))


def zeros(cell: CellName, n: int, features: int, dtype: str = "float32") -> State:
    """The state of n sequences before their first step."""
    return {part: jnp.zeros((n, features), dtype) for part in KINDS[cell].parts}


def _weights(name: WeightsInit, features: int) -> tuple[Initialiser, Initialiser]:
    """The initialisers of the input and the hidden weights."""

    def torch(shape: tuple[int, ...]) -> init.Spec:
        return init.torch_uniform(shape, features)

    def orthogonal(shape: tuple[int, ...]) -> init.Spec:
        return init.orthogonal((shape[0], shape[1]))

    if name == "torch":
        return torch, torch
    return init.lecture_xavier, orthogonal if name == "orthogonal" else init.lecture_xavier


def _run(
    cell: CellName, backend: Backend, x: Array, values: list[Array], state: list[Array] | None, **steps: Any
) -> tuple[Array, tuple[Array, ...]]:
    """`steps`: lengths and reverse."""
    narrow = values[0].dtype
    if cell == "lstm":
        wide = at_least_float32(narrow)
        given = None if state is None else LstmState(state[0].astype(narrow), state[1].astype(wide))
        layer = cudnn_layer if backend == "cudnn" else recurrent.lstm
        return layer(x, Weights(*values), given, **steps)
    given = None if state is None else state[0].astype(narrow)
    if cell == "gru":
        y, h = recurrent.gru(x, GruWeights(*values), given, **steps)
    else:
        y, h = recurrent.rnn(x, Weights(*values), given, **steps)
    return y, (h,)
