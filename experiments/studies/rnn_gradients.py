"""How much of a gradient reaches the first step of a recurrent network, and when an LSTM carries it."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from cs231n_jax.ops import recurrent
from cs231n_jax.ops.cells import LstmState, Weights
from experiments.studies import Result
from experiments.studies.drawing import canvas, save

STEPS = (10, 25, 50, 100)
UNITS = 128


class Net(NamedTuple):
    """A network at its start, and what one draw of the same experiment gave in another program, by length."""

    kind: str  # "linear", "tanh" or "lstm"
    number: float  # the factor of the hidden weights, or the forget bias
    elsewhere: tuple[float | None, ...]


NETS = {
    "linear, 0.9·orthogonal": Net("linear", 0.9, (0.3487, None, 5.15e-3, 2.66e-5)),
    "linear, 1.1·orthogonal": Net("linear", 1.1, (2.594, None, 117.4, 13_781.0)),
    "tanh, 0.5": Net("tanh", 0.5, (2e-5, 2e-12, None, None)),
    "tanh, 1": Net("tanh", 1.0, (1.1e-2, 1.2e-5, 1.7e-10, 1.4e-20)),
    "tanh, 2": Net("tanh", 2.0, (2.4, 6.2, 17.0, 68.0)),
    "tanh, 4": Net("tanh", 4.0, (117.0, 4.2e4, 1.6e9, 3.8e17)),
    "LSTM, forget bias 0": Net("lstm", 0.0, (9.3e-3, 1.4e-5, 1.9e-10, 4.3e-20)),
    "LSTM, forget bias 1": Net("lstm", 1.0, (9.2e-2, 5.3e-3, 4.1e-5, 3.3e-9)),
    "LSTM, forget bias 2": Net("lstm", 2.0, (0.385, 0.175, 0.051, 5.1e-3)),
}


def rnn_gradients(workdir: Path, quick: bool) -> Result:
    """What share of a gradient at step T reaches step 0, in RNNs of four scales and LSTMs of three forget biases.

    128 units, inputs from N(0, 1) at every step, input weights from N(0, 1/128). tanh, s: hidden weights from
    N(0, s²/128) (s = 1 is the assignment's start), ‖∂L/∂h_0‖ / ‖∂L/∂h_T‖. LSTM: hidden weights from N(0, 1/128),
    ‖∂L/∂c_0‖ / ‖∂L/∂c_T‖; "gates alone" is σ(bias)^T, what the forget gates leave when nothing else is said. linear:
    no activation, for which the share is ρ^T. L is a random linear function of the last state. Means are geometric,
    over the seeds; "spread" is the factor by which one draw differs from it, e to the standard deviation of the
    logarithm. "elsewhere" is one draw of the same experiment in another program, and "apart" how many such factors lie
    between. All in float64, where 1e-20 is a number.

    Reference: Hochreiter, Bengio, Frasconi, Schmidhuber 2001, "Gradient flow in recurrent nets"; Pascanu, Mikolov,
    Bengio 2013, "On the difficulty of training recurrent neural networks", section 2; Jozefowicz, Zaremba, Sutskever
    2015, "An empirical exploration of recurrent network architectures", section 2.2 (the forget bias).
    """
    seeds = 3 if quick else 20
    rows = [
        _row(name, net, steps, there, np.log(shares(net, steps, seeds)))
        for name, net in NETS.items()
        for steps, there in zip(STEPS, net.elsewhere)
    ]
    numbers = {f"{row['network']}, {row['steps']} steps": float(row["share"]) for row in rows}
    return Result(_figure(workdir, rows), numbers, _sentence(rows), rows)


def _row(name: str, net: Net, steps: int, elsewhere: float | None, logs: np.ndarray) -> dict[str, Any]:
    mean, spread = float(logs.mean()), float(logs.std(ddof=1))
    row: dict[str, Any] = {"network": name, "steps": steps, "share": math.exp(mean), "spread": math.exp(spread)}
    row |= {"elsewhere": elsewhere} if elsewhere else {}
    row |= {"apart": abs(math.log(elsewhere) - mean) / spread} if elsewhere and net.kind != "linear" else {}
    row |= {"gates alone": (1 + math.exp(-net.number)) ** -steps} if net.kind == "lstm" else {}
    return row


def shares(net: Net, steps: int, seeds: int) -> np.ndarray:
    """‖gradient at step 0‖ / ‖gradient at step T‖ of every seed's draw, [seeds]."""
    with jax.enable_x64(True):
        draws = [_draw(net, steps, np.random.default_rng((seed, steps))) for seed in range(seeds)]
        return np.asarray(jax.jit(jax.vmap(_share(net)))(*map(jnp.stack, zip(*draws))))


def _draw(net: Net, steps: int, random: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Input weights, hidden weights, inputs [1, T, D], and the gradient at the end [1, H]."""
    gates = 4 if net.kind == "lstm" else 1
    into, hidden = random.standard_normal((2, UNITS, gates * UNITS)) / math.sqrt(UNITS)
    if net.kind == "linear":
        hidden = np.linalg.qr(hidden)[0]
    scale = 1.0 if net.kind == "lstm" else net.number
    inputs = random.standard_normal((1, steps, UNITS))
    return into, scale * hidden, inputs, random.standard_normal((1, UNITS))


def _share(net: Net) -> Any:
    def share(into: Array, hidden: Array, x: Array, last: Array) -> Array:
        def run(state: Array) -> Array:
            if net.kind == "linear":
                return jax.lax.scan(lambda h, x: (x @ into + h @ hidden, None), state, jnp.swapaxes(x, 0, 1))[0]
            if net.kind == "tanh":
                return recurrent.rnn(x, Weights(into, hidden, jnp.zeros(UNITS, x.dtype)), state)[1]
            bias = jnp.zeros((4, UNITS), x.dtype).at[1].set(net.number).reshape(-1)
            return recurrent.lstm(x, Weights(into, hidden, bias), LstmState(jnp.zeros_like(state), state))[1].c

        (first,) = jax.vjp(run, jnp.zeros_like(last))[1](last)
        return jnp.linalg.norm(first) / jnp.linalg.norm(last)

    return share


def _figure(workdir: Path, rows: list[dict[str, Any]]) -> Path:
    figure, (left, right) = canvas(1, 2, width=6)
    for axis, kinds in ((left, ("linear", "tanh")), (right, ("LSTM", "tanh, 1"))):
        for name in NETS:
            if name.startswith(kinds[0]) or (name.startswith("tanh") if kinds[1] == "tanh" else name == kinds[1]):
                found = [row for row in rows if row["network"] == name]
                (line,) = axis.plot(STEPS, [row["share"] for row in found], marker=".", label=name)
                there = [(row["steps"], row["elsewhere"]) for row in found if "elsewhere" in row]
                axis.plot(*zip(*there), "o", mfc="none", color=line.get_color())
        axis.set(yscale="log", xlabel="steps", ylabel="gradient at step 0 / at the last step")
        axis.axhline(1, color="black", linewidth=0.5)
        axis.legend(fontsize="small")
    left.set(title="RNN; ○ one draw elsewhere")
    right.set(title="LSTM")
    return save(figure, workdir / "rnn_gradients.png")


def _sentence(rows: list[dict[str, Any]]) -> str:
    last = {row["network"]: row["share"] for row in rows if row["steps"] == STEPS[-1]}
    lstm = ", ".join(f"{last[f'LSTM, forget bias {bias}']:.0e} with a forget bias of {bias}" for bias in (0, 1, 2))
    further = "no" if last["LSTM, forget bias 0"] < 1e3 * last["tanh, 1"] else "much"
    apart = max(row.get("apart", 0.0) for row in rows)
    return (
        f"Over {STEPS[-1]} steps a tanh RNN leaves {last['tanh, 1']:.0e} of a gradient at the usual start and "
        f"multiplies it by {last['tanh, 4']:.0e} at four times that; an LSTM leaves {lstm}: without the bias it "
        f"carries gradients {further} further than the RNN, and it is the open forget gate that does, not the "
        f"architecture alone; no number found elsewhere is more than {apart:.1f} spreads away."
    )


STUDIES = {"rnn_gradients": rnn_gradients}
