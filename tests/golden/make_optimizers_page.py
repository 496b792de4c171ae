"""Write docs/optimizers.md from the golden numbers of torch, from optax as it is installed, and from this package.

python -m tests.golden.make_optimizers_page
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cs231n_jax import optim
from tests.golden import optimizers_table as table

PAGE = Path(__file__).parents[2] / "docs" / "optimizers.md"
GOLDEN = Path(__file__).with_name("optimizers.npz")
EQUAL = 1e-12
NAMESPACES = {"cs231n_jax": vars(optim), "optax": vars(optax)}

HEAD = """# Optimizers: who does what

This page is generated: `python -m tests.golden.make_optimizers_page`.

Every row is a piece of code that was run: {steps} updates in float64 on one small problem
(`tests/golden/optimizers_table.py`), with a learning rate `lr` that halves every ten updates. The numbers are the
largest difference from ours over all points of the path: `=` is at most 1e-12, a number is how far apart two
frameworks are. Torch is {torch} (its points are stored in `tests/golden/optimizers.npz`, with the script that made
them), optax is {optax}. The tests also compare each row with a numpy version written from the formula.

| rule | `cs231n_jax.optim` | torch | Δ | optax | Δ |
| --- | --- | --- | --- | --- | --- |
"""

TAIL = """
## What to know

- **Momentum and Nesterov**: torch and optax apply the rate to the sum of the gradients, Sutskever, the course notes
  and the lecture's Nesterov to each gradient before it is added (`rate_inside=True`). With a constant rate these
  are the same; when the rate falls, the second form carries the old rate on. Torch's `dampening` has no counterpart
  here.
- **AdaGrad**: torch starts at 0 with `eps` = 1e-10 outside the root, the lecture has 1e-7 there; optax starts at
  0.1 with 1e-7 inside.
- **RMSProp**: optax puts `eps` inside the root, so that the floor of the divisor is √eps; with momentum it applies
  the rate before. TensorFlow 1 starts at 1 with 1e-10 inside. Torch's default decay is 0.99, optax's and ours 0.9.
- **Adam**: torch, optax and ours agree. TensorFlow and Keras add `eps` to the
  uncorrected root (`eps_uncorrected=True`), optax's `eps_root` is `eps_inside_sqrt=True`. In float32 the
  corrections here are computed without cancellation: 1 − 0.999 at the first update is otherwise wrong by 5e-5.
- **Weight decay**: `add_decayed_weights` in front of the optimizer is torch's `weight_decay` of SGD and Adam;
  between the optimizer's own step and the learning rate it is AdamW's. Torch's AdamW defaults to 1e-2, optax's and
  ours to 1e-4.
- **Clipping by norm**: torch divides by norm + 1e-6, optax and ours by the norm. A gradient whose norm is NaN
  passes ours unchanged and becomes NaN everywhere in optax's; `drop_nonfinite` drops the whole update before any
  state sees it.
- **Max-norm**: `max_norm(c)`, last in a chain, shortens the incoming weights of each unit to the length c after every
  update; optax has no such step, and in torch one writes `torch.renorm(w, 2, 0, c)` after `step()`.
- **Precision**: updates are computed in float32 (float64 for float64 leaves) and leave in the dtype of the
  gradient; slots have the dtype of their parameter unless `state_dtype` is given. Counters are int32 and stay at
  their maximum.
- **The lecture's own constants** are `optim.lecture`: eps = 1e-7, RMSProp with 0.99, Nesterov with the rate inside."""


@functools.cache
def points(row: table.Row, framework: str) -> np.ndarray:
    """The points after each update [STEPS, 9] of a row in one of the two frameworks that run on JAX."""
    code = row.ours if framework == "cs231n_jax" else row.optax
    # Strict promotion, under which ours have to work, makes optax's Adam raise.
    promotion = "strict" if framework == "cs231n_jax" else "standard"
    with jax.enable_x64(True), jax.numpy_dtype_promotion(promotion):
        start = unflatten(table.START)
        schedule = lambda step: jnp.asarray(table.rate(0)) * 0.5 ** (jnp.asarray(step) // 10).astype(jnp.float64)  # noqa: E731
        transformation = eval(code, NAMESPACES[framework] | {"lr": schedule})
        return run(transformation, start, optax.apply_updates if framework == "optax" else optim.apply_updates)


def run(transformation: optim.GradientTransformation, params: dict, apply: Callable) -> np.ndarray:
    """Fifty updates, compiled one by one."""

    @jax.jit
    def update(params: dict, state: tuple) -> tuple:
        grads = jax.tree.map(jnp.asarray, unflatten(table.gradient(flatten(params))))
        updates, state = transformation.update(grads, state, params)
        return apply(params, updates), state

    state, path = transformation.init(params), []
    for _ in range(table.STEPS):
        params, state = update(params, state)
        path.append(np.asarray(flatten(params)))
    return np.stack(path)


def flatten(params: dict) -> jax.Array:
    return jnp.concatenate([x.reshape(-1) for x in params.values()])


def unflatten(flat: np.ndarray | jax.Array) -> dict:
    ends = np.cumsum([np.prod(shape) for shape in table.SHAPES.values()])
    starts = [0, *ends[:-1]]
    return {n: jnp.asarray(flat[a:b].reshape(s)) for (n, s), a, b in zip(table.SHAPES.items(), starts, ends)}


def page() -> str:
    """The whole text."""
    golden = np.load(GOLDEN)
    lines = []
    for row in table.ROWS:
        mine = points(row, "cs231n_jax")
        torch = difference(mine, golden[row.name]) if row.torch else ""
        other = difference(mine, points(row, "optax")) if row.optax else ""
        torch_code = row.torch_before + "; " + row.torch if row.torch_before else row.torch
        lines.append(f"| {row.name} | {code(row.ours)} | {code(torch_code)} | {torch} | {code(row.optax)} | {other} |")
    head = HEAD.format(steps=table.STEPS, torch=str(golden["torch_version"]).split("+")[0], optax=optax.__version__)
    return head + "\n".join(lines) + "\n" + TAIL


def difference(mine: np.ndarray, theirs: np.ndarray) -> str:
    largest = np.max(np.abs(mine - theirs))
    return "=" if largest <= EQUAL else f"{largest:.1e}"


def code(text: str) -> str:
    return f"`{text}`" if text else "none"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
