"""What the scale of the initial weights does to the signal of a deep net before it is trained."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from cs231n_jax.ops import activations, init
from experiments.studies import Result
from experiments.studies.drawing import canvas, save

Shape = tuple[int, ...]
Start = Callable[[Shape], init.Spec]
SATURATED = 0.99  # |tanh| beyond that


def normal(std: float) -> Start:
    """N(0, std²) whatever the shape."""
    return lambda shape: init.normal(shape, std)


class Size(NamedTuple):
    """Examples, units of each layer, layers."""

    examples: int
    width: int
    layers: int

    @property
    def name(self) -> str:
        """'10 × 500'."""
        return f"{self.layers} × {self.width}"


class Stack(NamedTuple):
    """A deep net at its start, and the published standard deviations of its layers' outputs; - where none is."""

    name: str
    activation: str
    start: Start
    published: str

    def numbers(self) -> dict[int, tuple[float, float]]:
        """Layer -> (published number, half a unit of its last digit)."""
        given = {layer: text for layer, text in enumerate(self.published.split(), 1) if text != "-"}
        return {layer: (float(text), 0.5 * 10.0 ** -len(text.partition(".")[2])) for layer, text in given.items()}


SMALL, LARGE = Size(1000, 500, 10), Size(16, 4096, 6)
TEN_TANH = "0.628 0.486 0.407 0.357 0.320 0.292 0.272 0.255 0.240 0.227"
TEN_RELU = "0.585 0.411 0.288 0.195 0.136 0.100 0.069 0.046 0.031 0.023"
STACKS = {
    SMALL: (  # the slides of 2016
        Stack("tanh, 0.01", "tanh", normal(0.01), "0.2138 0.0476 0.0106 0.00238 0.00053"),
        Stack("tanh, 1", "tanh", normal(1.0), " ".join(["0.982"] * 10)),
        Stack("tanh, Xavier", "tanh", init.lecture_xavier, TEN_TANH),
        Stack("ReLU, Xavier", "relu", init.lecture_xavier, TEN_RELU),
        Stack("ReLU, He", "relu", init.he_normal, "0.82 - - - - - - - - 0.73"),
    ),
    LARGE: (  # those of 2018 and later
        Stack("tanh, 0.01", "tanh", normal(0.01), "0.49 0.29 0.18 0.11 0.07 0.05"),
        Stack("tanh, 0.05", "tanh", normal(0.05), "0.87 0.85 0.85 0.85 0.85 0.85"),
        Stack("tanh, Xavier", "tanh", init.lecture_xavier, "0.63 0.49 0.41 0.36 0.32 0.29"),
        Stack("ReLU, Xavier", "relu", init.lecture_xavier, "0.58 0.41 0.29 0.21 0.15 0.10"),
        Stack("ReLU, He", "relu", init.he_normal, "0.82 0.82 0.83 0.83 0.82 0.81"),
    ),
}


def init_scales(workdir: Path, quick: bool) -> Result:
    """Standard deviations of the activations, layer by layer, for each initialisation of the lecture's slides.

    Inputs from N(0, 1), zero biases; 1000 examples through 10 layers of 500 units and 16 examples through 6 layers of
    4096. Xavier: N(0, 1/n). He: N(0, 2/n). The standard deviation is taken over all units and examples of a layer;
    the spread is its standard deviation over the draws, because a published number is one draw.
    """
    draws = {SMALL: 10} if quick else {SMALL: 10, LARGE: 5}
    figure, axes = canvas(1, len(draws), width=6.5)
    rows: list[dict[str, Any]] = []
    numbers: dict[str, float] = {}
    gaps: dict[str, float] = {}
    for axis, (size, count) in zip(axes, draws.items()):
        found = np.stack([measure(size, STACKS[size], seed) for seed in range(count)])  # [draws, stacks, layers, 2]
        axis.set(title=f"{size.layers} layers of {size.width} units; ○ published", xlabel="layer", ylabel="std")
        for i, stack in enumerate(STACKS[size]):
            name = f"{size.name}, {stack.name}"
            means, spread = found[:, i, :, 0].mean(axis=0), found[:, i, :, 0].std(axis=0, ddof=1)
            published = {layer: number for layer, (number, _) in stack.numbers().items()}
            (line,) = axis.semilogy(range(1, size.layers + 1), means, "-", label=stack.name)
            axis.plot(list(published), list(published.values()), "o", color=line.get_color(), fillstyle="none")
            numbers |= {f"{name}: layer {layer}": float(mean) for layer, mean in enumerate(means, 1)}
            numbers |= {f"{name}: layer {layer}, spread": float(s) for layer, s in enumerate(spread, 1)}
            numbers[f"{name}: saturated (%)"] = float(100 * found[:, i, :, 1].mean())
            for layer, (number, rounding) in stack.numbers().items():
                beyond = max(0.0, abs(means[layer - 1] - number) - rounding)
                gaps[f"{name}, layer {layer}"] = float(beyond / spread[layer - 1])
            measured = dict(enumerate(means, 1)), dict(enumerate(spread, 1)), published
            rows += [_row(size, stack, kind, by) for kind, by in zip(("measured", "spread", "published"), measured)]
        axis.legend(fontsize=8, loc="lower left")
    save(figure, path := workdir / "init_scales.png")
    worst = max(gaps, key=gaps.__getitem__)
    numbers["published numbers"] = len(gaps)
    numbers["farthest published number (spreads)"] = gaps[worst]
    at = lambda name, layer: f"{numbers[f'10 × 500, {name}: layer {layer}']:.2g}"  # noqa: E731
    sentence = (
        f"The {len(gaps)} published numbers lie within {gaps[worst]:.1f} spreads of a draw (the farthest: {worst}): "
        f"with 0.01 the signal of ten tanh layers dies ({at('tanh, 0.01', 10)}), with 1 "
        f"{numbers['10 × 500, tanh, 1: saturated (%)']:.0f} % of the units lie beyond ±{SATURATED}; Xavier, the "
        f"slides' reasonable choice, does not keep the scale either, it falls from {at('tanh, Xavier', 1)} to "
        f"{at('tanh, Xavier', 10)} with tanh and to {at('ReLU, Xavier', 10)} with ReLU; He's keeps it "
        f"({at('ReLU, He', 1)} to {at('ReLU, He', 10)}), though at 500 units only to ± "
        f"{numbers['10 × 500, ReLU, He: layer 10, spread']:.2f} a draw."
    )
    return Result(path, numbers, sentence, rows)


def _row(size: Size, stack: Stack, kind: str, by_layer: Mapping[int, float]) -> dict[str, Any]:
    layers = {str(layer): float(f"{value:.3g}") for layer, value in sorted(by_layer.items())}
    return {"layers": size.name, "net": stack.name, "layer": kind, **layers}


def measure(size: Size, stacks: Sequence[Stack], seed: int) -> np.ndarray:
    """Standard deviation and share of saturated units of every layer [stacks, layers, 2]; one draw for all stacks."""
    x = jnp.asarray(np.random.default_rng(seed).standard_normal((size.examples, size.width)), jnp.float32)
    signals, found = [x] * len(stacks), np.zeros((len(stacks), size.layers, 2))
    for layer in range(size.layers):
        shape = (size.width, size.width)
        unit = jnp.asarray(init.draw(init.normal(shape, 1.0), seed, f"layer{layer}/kernel"))  # all specs are multiples
        for i, stack in enumerate(stacks):
            h = activations.get(stack.activation)(signals[i] @ unit * np.float32(stack.start(shape).scale))
            signals[i] = h
            found[i, layer] = float(h.std()), float((jnp.abs(h) > SATURATED).mean())
    return found


STUDIES = {"init_scales": init_scales}
