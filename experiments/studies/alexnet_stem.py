"""AlexNet's first layer: 11×11 with stride 4, as in the paper, or 7×7, as in the notes."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cs231n_jax import inspect, models
from experiments.studies import Result, small_nets
from experiments.studies.drawing import canvas, save
from experiments.studies.small_nets import Chain, Step

SIDE = 227  # pixels: on 224 the windows of the paper do not fit
NOTES = 7  # the size of the filters in the notes
POOL = Step(3, stride=2)


class Stem(NamedTuple):
    """The first convolution with its pooling, and the second convolution."""

    steps: tuple[Step, ...]
    whose: str


STEMS = {
    "11×11, stride 4": Stem((Step(11, 4, 0, 96), POOL, Step(5, 1, 2, 256)), "AlexNet's paper"),
    "7×7, stride 4": Stem((Step(7, 4, 0, 96), POOL, Step(5, 1, 2, 256)), "the notes' filters, the paper's stride"),
    "7×7, stride 2": Stem((Step(7, 2, 1, 96), POOL, Step(5, 2, 2, 256)), "Zeiler and Fergus 2014"),
}
PAPER, SWAPPED, SUCCESSOR = STEMS


def alexnet_stem(workdir: Path, quick: bool) -> Result:
    """Are AlexNet's first filters 7×7? What the difference costs, and what the units see.

    The first convolution (96 filters), the 3×3 pooling with stride 2 and the second convolution (256 filters of 5×5,
    one group) of three networks on images of 227×227: AlexNet as published, the same with 7×7 filters, and its
    successor of Zeiler and Fergus with 7×7 filters and stride 2, whose second convolution has stride 2 (in their paper
    images have 224×224 pixels and the first outputs 110×110, not 112×112). Sizes, parameters and multiply-adds come
    from the shapes of the package's layers, those of the first row also from its `alexnet`. Receptive fields are
    measured by gradients on chains with one filter a layer, which see the same, and stand beside
    1 + Σ (k − 1) · strides.

    Reference: Krizhevsky, Sutskever, Hinton 2012, section 3.5; Zeiler, Fergus 2014, "Visualizing and Understanding
    Convolutional Networks", figure 3 and section 4.1.
    """
    rows = [_row(name, stem) for name, stem in STEMS.items()]
    numbers = {f"{row['first layer']}: {key}": float(v) for row in rows for key, v in row.items() if isinstance(v, int)}
    own = next(layer for layer in inspect.layers(_alexnet(), _image()) if layer.path == "stage1/conv")
    positions = int(np.prod(own.output[1:]))
    numbers |= {
        "alexnet's first layer: multiply-adds": float(own.multiply_adds),
        "alexnet's first layer: parameters": float(own.parameters),
        "alexnet's first layer: neurons": float(positions),
        "alexnet's first layer: parameters if none were shared": float(positions * (own.parameters // own.output[-1])),
        "alexnet's filters (pixels)": float(_kernel()[0]),
        "places of an 11×11 window with stride 4 on 224 pixels": (224 - STEMS[PAPER].steps[0].kernel) / 4 + 1,
    }
    return Result(_figure(workdir, rows), numbers, _sentence(numbers), rows)


def _alexnet() -> Any:
    return models.create("alexnet", variant="paper")


def _image(channels: int = 3) -> Any:
    return small_nets.image(SIDE, SIDE, channels)


def _kernel() -> tuple[int, ...]:
    return next(p.shape for p in inspect.parameters(_alexnet(), _image()) if p.path == "stage1/conv/kernel")


def _row(name: str, stem: Stem) -> dict[str, Any]:
    model = Chain(steps=stem.steps, use_bias=True)
    first, second = inspect.layers(model, _image())
    thin = Chain(steps=tuple(step._replace(width=min(step.width, 1)) for step in stem.steps))
    row: dict[str, Any] = {
        "first layer": name,
        "whose": stem.whose,
        "side of the output": first.output[1],
        "activations": first.activations,
        "parameters": first.parameters,
        "multiply-adds": first.multiply_adds,
        "multiply-adds of the second": second.multiply_adds,
    }
    for step, where in zip(thin.stages, ("first layer", "pooling", "second layer")):
        height, width = inspect.receptive_field(thin, (SIDE, SIDE, 1), step).size
        formula = small_nets.field(stem.steps[: thin.stages.index(step) + 1])
        row |= {f"field after the {where}": height, f"field after the {where}, formula": formula}
        if height != width:
            raise ArithmeticError(f"square kernels see {height}×{width} pixels")
    return row


def _figure(workdir: Path, rows: list[dict[str, Any]]) -> Path:
    figure, (left, middle, right) = canvas(1, 3)
    places = np.arange(len(rows))
    names = [row["first layer"].replace(", ", "\n") for row in rows]
    bottom = np.zeros(len(rows))
    for key, label in (("multiply-adds", "first layer"), ("multiply-adds of the second", "second layer")):
        values = np.array([row[key] / 1e6 for row in rows])
        left.bar(places, values, bottom=bottom, label=label)
        bottom += values
    left.set(title="multiply-adds (10⁶)")
    left.legend(fontsize=8)
    middle.bar(places, [row["activations"] / 1e3 for row in rows])
    middle.set(title="activations of the first layer (10³)")
    for shift, where in zip((-0.25, 0, 0.25), ("first layer", "pooling", "second layer")):
        right.bar(places + shift, [row[f"field after the {where}"] for row in rows], 0.25, label=f"after the {where}")
    right.set(title="receptive field, measured (pixels)")
    right.legend(fontsize=8)
    for axis in (left, middle, right):
        axis.set_xticks(places, names)
    return save(figure, workdir / "alexnet_stem.png")


def _sentence(numbers: dict[str, float]) -> str:
    def of(name: str, key: str) -> float:
        return numbers[f"{name}: {key}"]

    filters = numbers["alexnet's filters (pixels)"]
    fields = {
        name: [of(name, f"field after the {where}") for where in ("first layer", "pooling", "second layer")]
        for name in STEMS
    }
    seen = {name: ", ".join(f"{size:.0f}" for size in sizes) for name, sizes in fields.items()}
    dearer = of(SUCCESSOR, "multiply-adds") / of(PAPER, "multiply-adds")
    return (
        f"{'Confirmed' if filters == NOTES else 'Refuted'}: AlexNet's first filters are {filters:.0f}×{filters:.0f} "
        f"with stride 4 ({of(PAPER, 'parameters'):,.0f} parameters, {of(PAPER, 'multiply-adds'):,.0f} multiply-adds; "
        f"units after it, its pooling and the second layer see {seen[PAPER]} pixels), not 7×7: with those and the same "
        f"stride they would cost {of(SWAPPED, 'multiply-adds') / of(PAPER, 'multiply-adds'):.2f} times as much and "
        f"see {seen[SWAPPED]}; the 7×7 are Zeiler and Fergus's, with stride 2, where they keep "
        f"{of(SUCCESSOR, 'activations') / of(PAPER, 'activations'):.1f} times as many activations and cost "
        f"{dearer:.2f} times as much in spite of {of(SUCCESSOR, 'parameters') / of(PAPER, 'parameters'):.2f} times the "
        f"parameters, and see {seen[SUCCESSOR]}."
    )


STUDIES = {"alexnet_stem": alexnet_stem}
