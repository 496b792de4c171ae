"""The adding problem, and many recurrent nets that learn it at once: the runs are one more axis of every array."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cs231n_jax import optim
from cs231n_jax.ops import cells, init, recurrent
from cs231n_jax.typing import Array, Params

CONSTANT = 1 / 6  # mean squared error of the answer 1: the variance of the sum of two numbers from U(0, 1)
EVERY = 100  # updates of one call, and of one mean of the loss
GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}
LAYERS: dict[str, Callable[..., Any]] = {"RNN": recurrent.rnn, "LSTM": recurrent.lstm, "GRU": recurrent.gru}


class Net(NamedTuple):
    """A recurrent layer, and a linear answer from its last output."""

    cell: str  # "RNN", "LSTM" or "GRU"
    hidden: int
    gain: float = 1.0  # of the orthogonal hidden weights


class Plan(NamedTuple):
    """How long the sequences are, and the training."""

    steps: int
    updates: int  # a multiple of EVERY
    batch: int = 20
    enough: float = 0.0  # training ends when the mean loss of EVERY updates is below this in each run


class History(NamedTuple):
    """What the runs gave; the first axis is theirs."""

    loss: np.ndarray  # [runs, updates]: of a batch that was never seen before
    norm: (
        np.ndarray
    )  # [runs, updates]: of the gradient over all parameters, before it is clipped; inf where it overflows
    dropped: np.ndarray  # [runs]: updates whose gradient was not finite


def examples(random: np.random.Generator, count: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Sequences [count, steps, 2] of a number from U(0, 1) and a mark, and the sums of the two marked numbers [count].

    Reference: Hochreiter, Schmidhuber 1997, section 5.4; as in Arjovsky, Shah, Bengio 2016, "Unitary evolution
    recurrent neural networks", one mark lies in each half and the answer is asked for at the last step.
    """
    x = np.zeros((count, steps, 2), np.float32)
    x[..., 0] = random.random((count, steps), np.float32)
    for half in ((0, steps // 2), (steps // 2, steps)):
        x[np.arange(count), random.integers(*half, count), 1] = 1
    return x, (x[..., 0] * x[..., 1]).sum(-1)


def start(net: Net, seed: int) -> Params:
    """Orthogonal hidden weights times the gain, input weights from N(0, 1/2), answer N(0, 1/H), a forget bias of 1."""
    h, gates = net.hidden, GATES[net.cell]
    specs = {
        "input": init.lecture_xavier((2, gates * h)),
        "hidden": init.orthogonal((h, gates * h), net.gain),
        "bias": init.lstm_bias((4 * h,)) if net.cell == "LSTM" else init.constant((gates * h,), 0.0),
        "candidate_bias": init.constant((h,), 0.0),
        "answer": init.lecture_xavier((h, 1)),
        "answer_bias": init.constant((1,), 0.0),
    }
    return {name: init.draw(spec, seed, name) for name, spec in specs.items()}


def answers(cell: str, params: Params, x: Array) -> Array:
    """The net's answers [N] to sequences [N, T, 2]."""
    kind = cells.GruWeights if cell == "GRU" else cells.Weights
    outputs, _ = LAYERS[cell](x, kind(**{name: params[name] for name in kind._fields}))
    return (outputs[:, -1] @ params["answer"])[:, 0] + params["answer_bias"][0]


class Run(NamedTuple):
    """One of many that are trained together."""

    net: Net
    seed: int  # of the start and the examples
    rate: float


def train(runs: Sequence[Run], plan: Plan, make: Callable[[Any], optim.GradientTransformation]) -> History:
    """Train several nets together; every batch is drawn anew.

    Args:
        runs: nets of one cell and size.
        plan: on what they are trained, and how long.
        make: learning rate -> optimizer.
    """
    randoms = [np.random.default_rng(run.seed) for run in runs]
    params = jax.tree.map(lambda *leaf: jnp.stack(leaf), *(start(run.net, run.seed) for run in runs))
    rates, cell = jnp.asarray([run.rate for run in runs], jnp.float32), runs[0].net.cell

    def update(state: Any, rate: Any, x: Array, y: Array) -> Any:
        params, opt_state = state
        loss, grads = jax.value_and_grad(lambda p: jnp.mean((answers(cell, p, x) - y) ** 2))(params)
        updates, opt_state = make(rate).update(grads, opt_state, params)
        return (optim.apply_updates(params, updates), opt_state), (loss, optim.global_norm(grads))

    @jax.jit
    def some(state: Any, x: Array, y: Array) -> Any:
        return lax.scan(lambda state, batch: jax.vmap(update)(state, rates, *batch), state, (x, y))

    state, told = (params, jax.jit(jax.vmap(lambda rate, p: make(rate).init(p)))(rates, params)), []
    for _ in range(plan.updates // EVERY):
        x, y = (np.stack(part) for part in zip(*(examples(r, EVERY * plan.batch, plan.steps) for r in randoms)))
        x, y = (a.reshape(len(runs), EVERY, plan.batch, *a.shape[2:]).swapaxes(0, 1) for a in (x, y))
        state, found = some(state, x, y)
        told.append(jax.device_get(found))
        if (told[-1][0].mean(0) < plan.enough).all():
            break
    loss, norm = (np.concatenate(part).T for part in zip(*told))
    return History(loss, norm, np.asarray(optim.measurements(state[1]).get("dropped", np.zeros(len(runs), int))))
