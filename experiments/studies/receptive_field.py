"""Whether three 3×3 convolutions are worth one of 7×7: what they see, weigh, cost, and how long they take."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax import inspect
from cs231n_jax.models import functional
from experiments.benchmarks import rounds
from experiments.studies import Result, small_nets
from experiments.studies.drawing import canvas, save
from experiments.studies.small_nets import Chain, Step

CHANNELS = (16, 64, 256)
SHOWN = 64  # the channels of the figure, the times and the sentence
SIDE = 15  # pixels of the image that fields are measured on
KERNELS = {"three 3×3": (3, 3, 3), "one 7×7": (7,)}


def receptive_field(workdir: Path, quick: bool) -> Result:
    """Are three 3×3 convolutions one of 7×7, with 27·C² weights in the place of 49·C²?

    Chains of the package's convolutions with ReLU, C channels in and out, no biases, no stride. The field is measured:
    the pixels on which the gradient of the central unit is not zero (positive weights and images, so that nothing
    cancels), beside 1 + Σ (k − 1). Weights, multiply-adds and activations come from the shapes of the same chains. The
    reach is that of the gradient with weights as they are drawn (He) and images from N(0, 1): the root of the mean
    squared distance from the centre, weighted by the squared gradient, in pixels. The time is that of a forward and a
    backward pass on 4 images of 56×56 with 64 channels, medians of alternating rounds, with the bootstrap 95 % interval
    of their ratio; it is that of this machine, on which XLA:CPU computes.

    Reference: Simonyan, Zisserman 2015, section 2.3; Luo, Li, Urtasun, Zemel 2016, section 2.
    """
    rows = [_row(name, channels) for channels in CHANNELS for name in KERNELS]
    numbers = {f"{r['net']}, C = {r['C']}: {key}": float(v) for r in rows for key, v in list(r.items())[2:]}
    grown = {depth: measured(chain((3,) * depth, 4), f"step{depth}") for depth in range(1, 6)}
    numbers |= {f"{depth} times 3×3: field": float(size) for depth, size in grown.items()}
    maps = {name: gradient_map(chain(kernels, SHOWN), 4 if quick else 32) for name, kernels in KERNELS.items()}
    numbers |= {f"{name}: reach (pixels)": reach(found) for name, found in maps.items()}
    times = rounds.interleave({name: _step(kernels, quick) for name, kernels in KERNELS.items()}, 4 if quick else 20)
    numbers |= {f"{name}: forward and backward (ms)": 1e3 * float(np.median(s)) for name, s in times.items()}
    ratio, low, high = rounds.ratio(*(times[name] for name in KERNELS))
    numbers |= {"time, three 3×3 / one 7×7": ratio, "time: low": low, "time: high": high}
    return Result(_figure(workdir, grown, maps), numbers, _sentence(numbers, (ratio, low, high)), rows)


def chain(kernels: tuple[int, ...], channels: int) -> Chain:
    """Convolutions of these kernels one after the other that keep the size of the image."""
    return Chain(steps=tuple(Step(kernel, padding=kernel // 2, width=channels) for kernel in kernels))


def measured(model: Chain, feature: str) -> int:
    """The measured field in pixels along an axis.

    Raises:
        ArithmeticError: it is no square.
    """
    height, width = inspect.receptive_field(model, (SIDE, SIDE, model.steps[0].width), feature, draws=1).size
    if height != width:
        raise ArithmeticError(f"square kernels see {height}×{width} pixels")
    return height


def _row(name: str, channels: int) -> dict[str, Any]:
    model = chain(KERNELS[name], channels)
    layers = inspect.layers(model, small_nets.image(1, 1, channels))
    return {
        "net": name,
        "C": channels,
        "field": measured(model, model.stages[-1]),
        "field by formula": small_nets.field(model.steps),
        "weights": sum(layer.parameters for layer in layers),
        "weights / C²": sum(layer.parameters for layer in layers) // channels**2,
        "multiply-adds a pixel": sum(layer.multiply_adds for layer in layers),
        "activations a pixel": sum(layer.activations for layer in layers),
        "ReLUs in a row": len(layers),
    }


def gradient_map(model: Chain, draws: int) -> np.ndarray:
    """The mean squared gradient of the central unit's channels by each pixel [SIDE, SIDE], of sum 1."""
    shape = (1, SIDE, SIDE, model.steps[0].width)

    @jax.jit
    def squared(params: Any, image: Any, signs: Any) -> Any:
        def unit(image: Any) -> Any:
            output, _ = functional.apply(model, params, {}, image)
            return (output[0, SIDE // 2, SIDE // 2] * signs).sum()

        return (jax.grad(unit)(image)[0] ** 2).sum(-1)

    total = np.zeros((SIDE, SIDE))
    for seed in range(draws):
        random = np.random.default_rng(seed)
        params, _ = functional.init(model, seed, jax.ShapeDtypeStruct(shape, jnp.float32))
        image, signs = (random.standard_normal(size).astype(np.float32) for size in (shape, shape[-1:]))
        total += np.asarray(squared(params, image, signs))
    return total / total.sum()


def reach(weights: np.ndarray) -> float:
    """The root of the mean squared distance from the centre of a map of sum 1, in pixels."""
    away = np.arange(len(weights)) - len(weights) // 2
    return float(np.sqrt((weights * (away[:, None] ** 2 + away**2)).sum()))


def _step(kernels: tuple[int, ...], quick: bool) -> Callable[[], Any]:
    """A call of the forward and backward pass."""
    model = chain(kernels, SHOWN)
    images = np.random.default_rng(0).standard_normal((4, *((14, 14) if quick else (56, 56)), SHOWN))
    images = jnp.asarray(images, jnp.float32)
    params, _ = functional.init(model, 0, images)

    @jax.jit
    def gradients(params: Any, images: Any) -> Any:
        def loss(params: Any, images: Any) -> Any:
            return (functional.apply(model, params, {}, images)[0] ** 2).mean()

        return jax.grad(loss, (0, 1))(params, images)

    return lambda: jax.block_until_ready(gradients(params, images))


def _figure(workdir: Path, grown: dict[int, int], maps: dict[str, np.ndarray]) -> Path:
    figure, (left, *others) = canvas(1, 1 + len(maps))
    left.plot(list(grown), list(grown.values()), "o-", label="measured")
    left.plot(list(grown), [1 + 2 * depth for depth in grown], "k:", label="1 + 2·layers")
    left.set(title="receptive field of 3×3 convolutions", xlabel="layers", ylabel="pixels", xticks=list(grown))
    left.legend()
    for axis, (name, found) in zip(others, maps.items()):
        axis.imshow(np.sqrt(found), cmap="viridis")
        axis.grid(visible=False)
        axis.set(
            title=f"gradient of a unit, {name}: reach {reach(found):.2f} pixels", xlabel="pixels (root of the map)"
        )
    return save(figure, workdir / "receptive_field.png")


def _sentence(numbers: dict[str, float], time: tuple[float, float, float]) -> str:
    three, one = (
        {key: numbers[f"{name}, C = {SHOWN}: {key}"] for key in ("field", "weights", "weights / C²")}
        for name in KERNELS
    )
    at = {name: numbers[f"{name}: reach (pixels)"] for name in KERNELS}
    activations = [numbers[f"{name}, C = {SHOWN}: activations a pixel"] for name in KERNELS]
    same = three["field"] == one["field"] and three["weights"] < one["weights"]
    weights = three["weights"] / one["weights"]
    less = "less than" if time[2] < weights else "more than" if time[1] > weights else "as"
    return (
        f"{'Confirmed' if same else 'Refuted'}: by their gradients three 3×3 see {three['field']:.0f}×"
        f"{three['field']:.0f} pixels and one 7×7 sees {one['field']:.0f}×{one['field']:.0f}, with "
        f"{three['weights / C²']:.0f}·C² and {one['weights / C²']:.0f}·C² weights ({three['weights']:,.0f} and "
        f"{one['weights']:,.0f} for C = {SHOWN}, a ratio of {weights:.3f}) and as many multiply-adds a pixel; "
        f"a forward and backward pass takes {time[0]:.2f} times as long here ({time[1]:.2f} to {time[2]:.2f}), {less} "
        f"these say; but training keeps {activations[0] / activations[1]:.0f} times as many activations, and drawn as "
        f"usual they look closer to the centre (a reach of {at['three 3×3']:.2f} pixels beside {at['one 7×7']:.2f})."
    )


STUDIES = {"receptive_field": receptive_field}
