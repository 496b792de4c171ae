"""The compiled train step of ResNet-20 (or another net) beside the same step in plain Flax and in torch.

Batch 128 of 32×32×3 images, float32, batch norm by batch statistics, momentum 0.9, L2 1e-4. Ours is the step that
`experiments.train` compiles: it also standardises bytes, keeps the metrics and checks for numbers that are not finite.
What is compiled is compiled five times, the programs by turns and from nothing: seconds are medians, and the ratio to
plain flax has the same interval as that of a step, since one and the same compilation varies by a half.

    python -m experiments.benchmarks.convolution --rounds=40 --keep-pages
"""

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from experiments.allocator import keep_pages

TITLE = "ResNet-20 train step at batch 128 (ms; ratios to plain flax with bootstrap 95 % intervals)"

_ROOT = Path(__file__).parents[2]
_BATCH = 128
_COMPILATIONS = 5

# Options that leave out the random regularizers, which the rival networks do not have
PLAIN: dict[str, dict[str, Any]] = {
    "nin_cifar": {"drop_rate": 0.0},
    "googlenet_cifar": {"drop_rate": 0.0},
    "fractalnet20": {"drop_rates": (0.0,) * 5, "path_drop_rate": 0.0, "global_rate": 0.0},
}


class Program(NamedTuple):
    """What is timed."""

    update: Callable[[], None]  # makes one update and waits for it
    temporaries: int | None = None  # bytes
    compile: Callable[[], tuple[float, float]] | None = None  # anew: seconds to trace and to compile


def run(quick: bool) -> list[dict]:
    """Interleaved rounds in one process, once with the programs' allocator setting and once without.

    Args:
        quick: 6 rounds instead of 40.

    Returns:
        one row a program and setting: whether pages are kept, milliseconds a step (median), the ratio to plain flax in
        the same process with its interval, seconds to trace and to compile, the ratio of their sum with its interval,
        and megabytes of temporaries.
    """
    rounds = 6 if quick else 40
    return [row for keep in (True, False) for row in in_a_process(rounds, keep)]


def in_a_process(rounds: int, keep: bool, net: str = "resnet20", batch: int = _BATCH) -> list[dict]:
    """The allocator must be set before jax starts its threads, so every setting has its own process."""
    command = [sys.executable, "-P", "-m", "experiments.benchmarks.convolution", f"--rounds={rounds}"]
    command += [f"--net={net}", f"--batch={batch}", *(["--keep-pages"] if keep else [])]
    done = subprocess.run(command, cwd=_ROOT, check=True, capture_output=True, text=True)
    return [{"pages kept": "yes" if keep else "no", **json.loads(line)} for line in done.stdout.splitlines()]


def measure(rounds: int, net: str, batch: int) -> list[dict]:
    """Time all programs in this process, one step each a round."""
    import jax
    import numpy as np

    from experiments.benchmarks.rounds import interleave, ratio

    jax.config.update("jax_enable_compilation_cache", False)  # a variable of the shell may have set one up
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (batch, 32, 32, 3), np.uint8)
    labels = random.integers(0, 10, batch).astype(np.int32)
    programs = {"flax + optax": _flax(images, labels, net), "cs231n_jax": ours(images, labels, net)}
    if find_spec("torch") and (torch_step := _torch(images, labels, net)):
        programs["torch, channels last"] = torch_step
    compiled = _compile_by_turns(programs)

    seconds = interleave({name: program.update for name, program in programs.items()}, rounds)
    rows = []
    for name, program in programs.items():
        middle, low, high = ratio(seconds[name], seconds["flax + optax"])
        row = {"program": name, "ms": round(1e3 * float(np.median(seconds[name])), 1), "ratio": round(middle, 3)}
        row |= {"low": round(low, 3), "high": round(high, 3), "rounds": rounds, **compiled.get(name, {})}
        megabytes = {} if program.temporaries is None else {"temporaries MB": round(program.temporaries / 1e6)}
        rows.append(row | megabytes)
    return rows


def _compile_by_turns(programs: dict[str, Program]) -> dict[str, dict[str, float]]:
    """Seconds to trace and to compile of each program that is compiled, and the ratio of their sum to the first's."""
    from experiments.benchmarks.rounds import ratio

    compiling = {name: program.compile for name, program in programs.items() if program.compile}
    clocks: dict[str, list[tuple[float, float]]] = {name: [] for name in compiling}
    for turn in range(_COMPILATIONS):
        for name in list(compiling)[:: -1 if turn % 2 else 1]:
            clocks[name].append(compiling[name]())
    whole = {name: [sum(parts) for parts in seconds] for name, seconds in clocks.items()}
    rows = {}
    for name, seconds in clocks.items():
        trace, compile_ = (round(statistics.median(part), 2) for part in zip(*seconds))
        numbers = (round(number, 3) for number in ratio(whole[name], next(iter(whole.values()))))
        ratios = zip(("compile ratio", "compile low", "compile high"), numbers)
        rows[name] = {"trace s": trace, "compile s": compile_, **dict(ratios)}
    return rows


def ours(images: Any, labels: Any, net: str) -> Program:
    """One update as `experiments.train` makes it."""
    import jax.numpy as jnp

    from cs231n_jax import models
    from cs231n_jax.optim import OptimizerConfig
    from cs231n_jax.tasks.classification import Classification
    from cs231n_jax.train import sharding, state
    from cs231n_jax.train.step import make_train_step

    model = models.create(net, **PLAIN.get(net, {}))
    task = Classification(model, mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.2435, 0.2616))
    config = OptimizerConfig(name="momentum", learning_rate=0.1, momentum=0.9, weight_decay=1e-4)
    optimizer = config.build(lambda step: 0.1)
    batch = {"image": jnp.asarray(images), "label": jnp.asarray(labels)}
    mesh = sharding.make_mesh(sharding.MeshConfig(data=1), len(batch["label"]))
    step = make_train_step(task, optimizer, 0)
    return _compiled(lambda now, batch: (step(now, batch), None), state.create(task, optimizer, 0, batch, mesh), batch)


def _flax(images: Any, labels: Any, net: str) -> Program:
    """The rival's own initialisation would compile for minutes; any small random numbers do for a clock."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    from experiments.benchmarks import plain_flax, plain_flax_nets

    pixels = jnp.asarray(images, jnp.float32) / 127.5 - 1
    model, random = plain_flax_nets.NETS[net](), np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0), pixels)
    variables = jax.tree.map(lambda x: jnp.asarray(0.05 * random.standard_normal(x.shape, np.float32)), shapes)
    optimizer = optax.chain(optax.add_decayed_weights(1e-4), optax.sgd(0.1, 0.9))
    step = plain_flax.make_step(model, optimizer)
    return _compiled(step, (variables, optimizer.init(variables["params"])), pixels, jnp.asarray(labels))


def _compiled(step: Callable[..., Any], start: Any, *batch: Any) -> Program:
    """The program of a `step` (-> state, loss)."""
    import jax

    compiled = jax.jit(step, donate_argnums=0).lower(start, *batch).compile()
    state = [start]

    def compile_() -> tuple[float, float]:
        jax.clear_caches()
        gc.collect()  # what the one before left
        began = time.perf_counter()
        lowered = jax.jit(step, donate_argnums=0).lower(state[0], *batch)
        traced = time.perf_counter()
        lowered.compile()
        return traced - began, time.perf_counter() - traced

    def update() -> None:
        state[0], loss = compiled(state[0], *batch)
        jax.block_until_ready((state[0], loss))

    return Program(update, compiled.memory_analysis().temp_size_in_bytes, compile_)


def _torch(images: Any, labels: Any, net: str) -> Program | None:
    import torch

    from experiments.benchmarks import plain_torch

    if net not in plain_torch.NETS:
        return None
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float().div(127.5).sub(1)
    pixels, classes = pixels.to(memory_format=torch.channels_last), torch.from_numpy(labels).long()
    step = plain_torch.build(net)
    return Program(lambda: step(pixels, classes).item())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=TITLE.replace("%", "%%"))
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--net", default="resnet20")
    parser.add_argument("--batch", type=int, default=_BATCH)
    parser.add_argument("--keep-pages", action="store_true", help="set the allocator as the programs do")
    arguments = parser.parse_args()
    if arguments.keep_pages:
        keep_pages()
    for measured in measure(arguments.rounds, arguments.net, arguments.batch):
        print(json.dumps(measured))
