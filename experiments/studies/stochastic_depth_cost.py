"""What stochastic depth saves: blocks on average, and time where a block that is off is skipped or only multiplied."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax import inspect, models, optim
from cs231n_jax.models import functional
from cs231n_jax.ops import conv, noise, norm, pool
from cs231n_jax.ops.losses import softmax_cross_entropy
from experiments.benchmarks import rounds
from experiments.studies import Result, small_nets
from experiments.studies.drawing import canvas, save

LAST = 0.5  # drop rate of the last block, as published
EPS = 1e-5  # of batch norm, as in the package's layers
MODEL = "resnet110"
BLOCKS = 54  # of that model
PUBLISHED = {"shorter (%)": 25.0}  # the paper: "approximately 25% of training time could be saved"

Branch = Callable[[Any], Any]
Gating = Callable[[Any, Branch, Any], Any]  # (gate, residual branch, x) -> what the branch adds


class Timing(NamedTuple):
    """The net whose steps are timed."""

    model: str
    batch: int
    rounds: int


FULL, QUICK = Timing("resnet32", 16, 10), Timing("resnet8", 4, 2)


def multiplied(gate: Any, branch: Branch, x: Any) -> Any:
    """What the package does: the branch is computed and then set to zero where its gate is off."""
    return jnp.where(gate, y := branch(x), jnp.zeros_like(y))


def conditional(gate: Any, branch: Branch, x: Any) -> Any:
    """The compiled program branches; one program for all draws."""
    shape = jax.eval_shape(branch, x)
    return jax.lax.cond(gate, branch, lambda x: jnp.zeros(shape.shape, shape.dtype), x)


def left_out(gate: Any, branch: Branch, x: Any) -> Any:
    """A program for each draw: a branch that is off is not in it."""
    return branch(x) if gate else jnp.zeros((), x.dtype)


WAYS: dict[str, Gating] = {"multiplied by zero": multiplied, "skipped by lax.cond": conditional, "left out": left_out}
ALL_ON, ZERO, COND, OUT = ("all blocks on", *WAYS)
CLOCKS = {"processor": time.process_time, "clock": time.perf_counter}  # the first is of all threads


def stochastic_depth_cost(workdir: Path, quick: bool) -> Result:
    """Does stochastic depth leave 40 of 54 blocks on average, and a quarter of the time?

    The expected depth is the sum of the probabilities 1 − l/54·0.5 that the package gives the blocks of
    `stochastic_resnet110`; multiply-adds are those of its layers, weighted by these. The time is that of an update of
    ResNet-32, whose 15 blocks compile sooner (forward, backward, momentum 0.9; float32, batches of 16 images of 32×32,
    two CPU cores), for one draw of the gates with as many blocks on as expected: all blocks on; branches multiplied by
    their gate, as the package does it; skipped by `lax.cond`, one program for all draws; and left out of the program,
    which would have to be compiled for each draw. All four are one plain function over the parameters of the package's
    model. Medians of alternating rounds; ratios to all blocks on, with bootstrap 95 % intervals; by the processor's
    time of all threads, to which other work on the machine adds little, and by the clock, on which two threads gain.
    Most of the published saving is half of it or more; a verdict takes the intervals of the processor's time.

    Reference: Huang, Sun, Liu, Sedra, Weinberger 2016, "Deep Networks with Stochastic Depth", equation 4 and section 3:
    "approximately 25% of training time could be saved" (table 2: 15 h 7 min in the place of 20 h 42 min on CIFAR-10).
    """
    drops = np.array(noise.linear_drop_rates(BLOCKS, LAST))
    counted = _counted(1 - drops)
    timing = QUICK if quick else FULL
    gates = typical(noise.linear_drop_rates(len(block_names(_params(timing.model))), LAST))
    calls = programs(timing, gates)
    seconds = {clock: rounds.interleave(calls, timing.rounds, tell) for clock, tell in CLOCKS.items()}
    numbers = counted | {
        "timed net: blocks": float(len(gates)),
        "timed net: blocks on": float(sum(gates)),
    }
    rows = []
    for name in calls:
        row: dict[str, Any] = {"program": name, "blocks computed": len(gates) if name in (ALL_ON, ZERO) else sum(gates)}
        for clock, found in seconds.items():
            row[f"{clock} (ms)"] = 1e3 * float(np.median(found[name]))
            row |= {
                f"{clock}: {key}": v
                for key, v in zip(("ratio", "low", "high"), rounds.ratio(found[name], found[ALL_ON]))
            }
        rows.append(row)
        numbers |= {f"{name}: {key}": float(value) for key, value in row.items() if key != "program"}
    return Result(_figure(workdir, 1 - drops, rows), numbers, _sentence(numbers), rows)


def _counted(on: np.ndarray) -> dict[str, float]:
    """Blocks and multiply-adds on average, from the probabilities of the blocks to be on."""
    layers = inspect.layers(models.create(MODEL), small_nets.image(32, 32, 3))
    names = list(dict.fromkeys(layer.path.partition("/")[0] for layer in layers if "_block" in layer.path))
    work = np.array([sum(one.multiply_adds for one in layers if one.path.startswith(f"{name}/")) for name in names])
    total = sum(layer.multiply_adds for layer in layers)
    return {
        "expected blocks on": float(on.sum()),
        "standard deviation of the blocks on": float(np.sqrt((on * (1 - on)).sum())),
        "first block on": float(on[0]),
        "last block on": float(on[-1]),
        "multiply-adds of all blocks": float(total),
        "expected multiply-adds": float(total - ((1 - on) * work).sum()),
    }


def typical(drops: Sequence[float]) -> list[bool]:
    """The gates of the first draw with as many blocks on as expected, rounded."""
    on = 1 - np.array(drops)
    draws = (np.random.default_rng(seed).random(len(on)) < on for seed in range(10_000))
    return next(draw.tolist() for draw in draws if draw.sum() == round(on.sum()))


def programs(timing: Timing, gates: Sequence[bool]) -> dict[str, Callable[[], Any]]:
    """A call of an update of each kind, on the same parameters and images."""
    random = np.random.default_rng(0)
    images = jnp.asarray(random.standard_normal((timing.batch, 32, 32, 3)), jnp.float32)
    labels = jnp.asarray(random.integers(0, 10, timing.batch), jnp.int32)
    params = _params(timing.model)
    calls: dict[str, Callable[[], Any]] = {}
    for name, gating in {ALL_ON: left_out, **WAYS}.items():
        on = [True] * len(gates) if name == ALL_ON else list(gates)
        calls[name] = _update(params, images, labels, gating, on)
    return calls


def _params(name: str) -> Any:
    return functional.init(models.create(name), 0, small_nets.image(32, 32, 3))[0]


def _update(params: Any, images: Any, labels: Any, gating: Gating, on: list[bool]) -> Callable[[], Any]:
    optimizer = optim.momentum(0.1)
    static = gating is left_out

    @jax.jit
    def update(params: Any, state: Any, gates: Any) -> Any:
        def loss(params: Any) -> Any:
            logits = forward(params, images, on if static else list(gates), gating)
            return softmax_cross_entropy(logits, labels).mean()

        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optim.apply_updates(params, updates), state

    state, gates = optimizer.init(params), jnp.asarray(on)
    return lambda: jax.block_until_ready(update(params, state, gates))


def block_names(params: Mapping[str, Any]) -> list[str]:
    """The residual blocks of a model's parameters, in the order of computation."""
    names = [name for name in params if "_block" in name]
    return sorted(names, key=lambda name: [int(part) for part in name.removeprefix("stage").split("_block")])


def forward(params: Any, images: Any, gates: Sequence[Any], gating: Gating) -> Any:
    """Logits [N, K] of a CIFAR ResNet with shortcuts of option A in training, each residual branch behind its gate.

    x ← relu(gate · branch(x) + shortcut(x)), as in Huang et al. 2016, equation 2.
    """
    x = _normalized(conv.conv(images, params["stem_conv"]["kernel"], padding=1), params["stem_norm"], relu=True)
    for name, gate in zip(block_names(params), gates):
        own = params[name]
        stride = 1 if own["conv1"]["kernel"].shape[2] == own["conv1"]["kernel"].shape[3] else 2

        def branch(x: Any, own: Any = own, stride: int = stride) -> Any:
            y = conv.conv(x, own["conv1"]["kernel"], stride=stride, padding=1)
            y = conv.conv(_normalized(y, own["norm1"], relu=True), own["conv2"]["kernel"], padding=1)
            return _normalized(y, own["norm2"])

        missing = own["conv2"]["kernel"].shape[3] - x.shape[3]
        shortcut = jnp.pad(x[:, ::stride, ::stride], ((0, 0),) * 3 + ((missing // 2, missing - missing // 2),))
        x = jnp.maximum(gating(gate, branch, x) + shortcut, 0)
    return pool.global_avg_pool(x) @ params["head"]["kernel"] + params["head"]["bias"][None]


def _normalized(x: Any, own: Mapping[str, Any], relu: bool = False) -> Any:
    return norm.batch_norm(x, own["scale"], own["bias"], eps=EPS, relu=relu)[0]


def _figure(workdir: Path, on: np.ndarray, rows: list[dict[str, Any]]) -> Path:
    figure, (left, right) = canvas(1, 2, width=6)
    left.plot(range(1, len(on) + 1), on, ".")
    left.set(
        title=f"{on.sum():.2f} of {len(on)} blocks are on",
        xlabel="block",
        ylabel="probability to be on",
        ylim=(0, 1.05),
    )
    places = np.arange(len(rows))
    for shift, clock in zip((-0.2, 0.2), CLOCKS):
        ratio, low, high = (np.array([row[f"{clock}: {key}"] for row in rows]) for key in ("ratio", "low", "high"))
        bars = np.maximum([ratio - low, high - ratio], 0)
        right.barh(places + shift, ratio, 0.4, xerr=bars, capsize=3, label=f"by the {clock}")
    right.set_yticks(places, [row["program"] for row in rows])
    right.axvline(on.sum() / len(on), color="gray", linestyle=":", label="expected share of blocks")
    right.invert_yaxis()
    right.set(title="time of an update, beside all blocks on")
    right.legend(fontsize=8)
    return save(figure, workdir / "stochastic_depth_cost.png")


def _sentence(numbers: dict[str, float]) -> str:
    depth, work = (
        numbers["expected blocks on"],
        numbers["expected multiply-adds"] / numbers["multiply-adds of all blocks"],
    )
    share = numbers["timed net: blocks on"] / numbers["timed net: blocks"]

    def told(name: str) -> str:
        ratio, low, high = (numbers[f"{name}: processor: {key}"] for key in ("ratio", "low", "high"))
        by_clock = numbers[f"{name}: clock: ratio"]
        return f"{ratio:.2f} ({low:.2f} to {high:.2f}) of the processor's time and {by_clock:.2f} of the clock's"

    intervals = {name: (numbers[f"{name}: processor: low"], numbers[f"{name}: processor: high"]) for name in WAYS}
    return (
        f"On average {depth:.2f} of {BLOCKS} blocks are on, with {100 * work:.1f} % of the multiply-adds; for a draw "
        f"with {numbers['timed net: blocks on']:.0f} of {numbers['timed net: blocks']:.0f} ({100 * share:.0f} %) an "
        f"update takes, beside all blocks on, {told(OUT)} where the others are left out of the program, "
        f"{told(COND)} where lax.cond skips them, and {told(ZERO)} where they are multiplied by "
        f"zero: that most of the paper's saving of {PUBLISHED['shorter (%)']:.0f} % is had is {verdict(intervals)}."
    )


def verdict(intervals: Mapping[str, tuple[float, float]]) -> str:
    """What is to be said of half of the published saving or more, by the intervals of the ratios to all blocks on."""
    most = 1 - PUBLISHED["shorter (%)"] / 200
    told: dict[str, list[str]] = {"confirmed": [], "not decided": [], "refuted": []}
    for name, (low, high) in intervals.items():
        told["confirmed" if high < most else "refuted" if low > most else "not decided"].append(name)
    return ", ".join(f"{kind} for blocks {' and '.join(names)}" for kind, names in told.items() if names)


STUDIES = {"stochastic_depth_cost": stochastic_depth_cost}
