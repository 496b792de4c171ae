"""One update of every optimizer beside optax's, and torch's fused ones, on the parameters of a ResNet-50.

161 leaves, 25,557,032 numbers, float32. The update and its addition to the parameters are one compiled program whose
parameters and state are donated, so both sides write in place.

Why Adam is level with optax and not faster, on CPU: the update is bound by memory, not by arithmetic, and XLA:CPU makes
one kernel for every array that is written. m and v each take two reads and a write, the parameters three reads and a
write: ten numbers moved a parameter ("GB moved"), where torch's fused kernel moves seven. The first row is what memory
gives. XLA joins the kernels only where the whole process runs with
XLA_FLAGS=--xla_backend_extra_options=xla_cpu_use_multi_output_fusion, which is undocumented and off (the last row,
where optax has it too). Writing the step as a function of the old moments, or as a loop over pieces that fit the cache,
makes XLA copy both moments in every update.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax import models, optim
from cs231n_jax.models import functional
from experiments.benchmarks import rounds

TITLE = "One optimizer update of ResNet-50's 161 leaves (ms; ratio to optax, its 95 % interval; costs)"
RATE = 1e-3
QUICK = ("sgd", "momentum", "adam")
COMPILATIONS = 7
COPIES = 3  # of each program, compiled one after the other: compilation and place in memory alone make ± 3 %


def pairs() -> dict[str, tuple[Any, Any]]:
    """Name -> (ours, optax's) with the same algorithm and constants."""
    import optax

    return {
        "sgd": (optim.sgd(RATE), optax.sgd(RATE)),
        "momentum": (optim.momentum(RATE), optax.sgd(RATE, 0.9)),
        "nesterov": (optim.nesterov(RATE), optax.sgd(RATE, 0.9, nesterov=True)),
        "adagrad": (
            optim.adagrad(RATE, 1e-7, initial_accumulator=0.1, eps_inside_sqrt=True),
            optax.adagrad(RATE),
        ),
        "rmsprop": (optim.rmsprop(RATE), optax.rmsprop(RATE, eps_in_sqrt=False)),
        "adam": (optim.adam(RATE), optax.adam(RATE)),
        "adamw": (optim.adamw(RATE), optax.adamw(RATE)),
        "clipping and momentum": (
            optim.chain(optim.clip_by_global_norm(1.0), optim.momentum(RATE)),
            optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(RATE, 0.9)),
        ),
    }


def extras() -> dict[str, tuple[Any, Any]]:
    """What measuring costs: ours with it, and optax's momentum without."""
    import optax

    plain, rival = optim.momentum(RATE), optax.sgd(RATE, 0.9)
    return {
        "momentum, gradient norm": (optim.chain(optim.measure_gradient_norm(), plain), rival),
        "momentum, update ratio": (optim.chain(plain, optim.measure_update_ratio()), rival),
        "momentum, drop_nonfinite": (optim.drop_nonfinite(plain, 1), optax.apply_if_finite(rival, 1)),
    }


def run(quick: bool) -> list[dict]:
    """All recipes and what measuring adds, or three of them with `quick`; one row each."""
    names = QUICK if quick else (*pairs(), *extras())
    count = 10 if quick else 40
    return [speed_of_memory(count), *(compare(name, count) for name in names), joined("adam", count)]


def speed_of_memory(count: int) -> dict:
    """How fast a program moves that reads every parameter, adds one, and writes it in place: the limit of all below."""
    params = draw(parameter_shapes(), 0, 1.0)
    moved = 2 * sum(x.nbytes for x in jax.tree.leaves(params))
    add = jax.jit(lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0)

    def once() -> None:
        nonlocal params
        params = jax.block_until_ready(add(params))

    seconds = float(np.median(rounds.interleave({"ours": once}, count)["ours"]))
    row = {"optimizer": "(each parameter plus 1)", "ours": round(1e3 * seconds, 1)}
    return row | {"GB moved ours": round(moved / 1e9, 2), "GB/s ours": round(moved / 1e9 / seconds, 1)}


def joined(name: str, count: int) -> dict:
    """`compare` in a process where XLA joins kernels with several outputs, on both sides."""
    call = f"optimizers.compare({name!r}, {count})"
    script = f"import json; from experiments.benchmarks import optimizers; print(json.dumps({call}))"
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_extra_options=xla_cpu_use_multi_output_fusion"
    command, environment = [sys.executable, "-c", script], {**os.environ, "XLA_FLAGS": flags}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return {**json.loads(done.stdout.splitlines()[-1]), "optimizer": f"{name}, kernels joined (a flag)"}


def compare(name: str, count: int) -> dict:
    """Interleaved rounds of one recipe.

    Args:
        name: a key of `pairs` or `extras`.
        count: rounds that are timed.

    Returns:
        milliseconds (medians over rounds of the mean of `COPIES` compilations; of torch's fused optimizer too where
        there is one), the ratio ours/optax with its 95 % interval, processor seconds to trace and compile (medians of
        interleaved rounds) with their ratio and interval, megabytes of state, kernels, bytes moved.
    """
    programs, seconds = steps(name, count, COPIES)
    if torch := _torch(name, parameter_shapes()):  # by itself, because its threads spin for a while after each call
        seconds["torch"] = rounds.interleave({"torch": torch}, count)["torch"][None]
    ratio, low, high = rounds.ratio(seconds["ours"], seconds["optax"])
    row = {"optimizer": name, **{key: round(1e3 * float(np.median(s.mean(0))), 1) for key, s in seconds.items()}}
    row |= {"ratio": round(ratio, 3), "low": round(low, 3), "high": round(high, 3)}
    compiling = rounds.interleave({k: p.compile for k, p in programs.items()}, COMPILATIONS, time.process_time)
    names = ("compile ratio", "compile low", "compile high")
    row |= {n: round(x, 3) for n, x in zip(names, rounds.ratio(compiling["ours"], compiling["optax"]))}
    for key, program in programs.items():
        row |= {f"compile {key}": round(float(np.median(compiling[key])), 2)}
        row |= {f"MB {key}": round(program.state_bytes / 1e6, 1)}
    for key, program in programs.items():
        row |= {f"kernels {key}": program.kernels, f"GB moved {key}": round(program.bytes_moved / 1e9, 2)}
    return row | {"GB/s ours": round(programs["ours"].bytes_moved / 1e9 / float(np.median(seconds["ours"].mean(0))), 1)}


def steps(name: str, count: int, copies: int) -> tuple[dict[str, "Program"], dict[str, np.ndarray]]:
    """One program of each side, and the seconds [copies, count] of interleaved rounds of all compilations."""
    import optax

    ours, theirs = (pairs() | extras())[name]
    shapes = parameter_shapes()
    sides: dict[str, tuple[Any, Any]] = {"ours": (ours, optim.apply_updates), "optax": (theirs, optax.apply_updates)}
    made: dict[str, list[Program]] = {side: [] for side in sides}
    for copy in range(copies):
        for side in list(sides)[:: -1 if copy % 2 else 1]:
            made[side].append(Program(*sides[side], shapes))
    updates = {f"{side}{i}": program.update for side, group in made.items() for i, program in enumerate(group)}
    timed = rounds.interleave(updates, count)
    seconds = {side: np.stack([timed[f"{side}{i}"] for i in range(copies)]) for side in sides}
    return {side: group[0] for side, group in made.items()}, seconds


class Program:
    """A compiled update with its parameters and state."""

    def __init__(self, transformation: Any, apply: Callable[[Any, Any], Any], shapes: Any):
        """`shapes`: the parameters as a tree of jax.ShapeDtypeStruct."""
        self.params, self.grads = draw(shapes, 0, 0.05), draw(shapes, 1, 0.01)
        self.state = jax.jit(transformation.init)(self.params)

        def update(params: Any, state: Any, grads: Any) -> tuple[Any, Any]:
            updates, state = transformation.update(grads, state, params)
            return apply(params, updates), state

        self._update = update
        self.compiled = self.compile()
        self.state_bytes = sum(x.nbytes for x in jax.tree.leaves(self.state))
        program = self.compiled.as_text() or ""
        self.kernels = len(re.findall(r" (?:fusion|copy)\(", program[program.index("\nENTRY") :]))
        self.bytes_moved = (self.compiled.cost_analysis() or {})["bytes accessed"]

    def compile(self) -> jax.stages.Compiled:
        """Trace and compile the update once more."""
        fresh = jax.jit(lambda *trees: self._update(*trees), donate_argnums=(0, 1))  # a new function: nothing is kept
        return fresh.lower(self.params, self.state, self.grads).compile()

    def update(self) -> None:
        """One update, waited for."""
        self.params, self.state = self.compiled(self.params, self.state, self.grads)
        jax.block_until_ready((self.params, self.state))


def parameter_shapes() -> Any:
    """The parameters of ResNet-50 as shapes."""
    return functional.shapes(models.create("resnet50"), jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32))[0]


def draw(shapes: Any, seed: int, scale: float) -> Any:
    """Normal numbers in the given shapes."""
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda s: jnp.asarray(scale * random.standard_normal(s.shape, np.float32)), shapes)


def _torch(name: str, shapes: Any) -> Callable[[], object] | None:
    """Torch's fused optimizer of the same name, or None."""
    if not find_spec("torch"):
        return None
    import torch

    kinds = {
        "sgd": lambda p: torch.optim.SGD(p, RATE, fused=True),
        "momentum": lambda p: torch.optim.SGD(p, RATE, momentum=0.9, fused=True),
        "nesterov": lambda p: torch.optim.SGD(p, RATE, momentum=0.9, nesterov=True, fused=True),
        "adagrad": lambda p: torch.optim.Adagrad(p, RATE, fused=True),
        "adam": lambda p: torch.optim.Adam(p, RATE, fused=True),
        "adamw": lambda p: torch.optim.AdamW(p, RATE, fused=True),
    }
    if name not in kinds:
        return None
    params = [torch.nn.Parameter(0.05 * torch.randn(*s.shape)) for s in jax.tree.leaves(shapes)]
    for p in params:
        p.grad = 0.01 * torch.randn_like(p)
    return kinds[name](params).step
