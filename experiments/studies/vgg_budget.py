"""Where VGG-16 keeps its parameters, its activations and its work."""

from pathlib import Path
from typing import Any

import numpy as np

from cs231n_jax import inspect, models
from cs231n_jax.models import functional
from experiments.studies import Result, small_nets
from experiments.studies.drawing import canvas, save

IMAGE = small_nets.image(224, 224, 3)
SLIDE = {"parameters": 138e6, "activations": 24e6, "MB an image": 93.0}  # as printed in the notes
BYTES = 4  # of a float32
QUANTITIES = ("activations", "weights", "multiply-adds")


def vgg_budget(workdir: Path, quick: bool) -> Result:
    """Does VGG-16 have 138 million parameters, most of them in its first hidden layer, and 24 million activations?

    Every line of the notes' table for one image of 224×224: the image, the outputs of the convolutions (after their
    ReLU, which is thought to overwrite what it reads), of the poolings and of the fully connected layers; their weights
    without the biases, as in the notes, and multiply-adds. All of it comes from the shapes of the package's model; no
    parameter is drawn. A megabyte is 10⁶ bytes; an activation has four.

    Reference: Simonyan, Zisserman 2015, table 1, column D.
    """
    rows = budget()
    totals = {key: sum(row[key] for row in rows) for key in (*QUANTITIES, "parameters")}
    numbers = {f"{row['layer']}: {key}": float(row[key]) for row in rows for key in QUANTITIES}
    numbers |= {key: float(total) for key, total in totals.items()}
    numbers |= {"MB an image": BYTES * totals["activations"] / 1e6}
    numbers |= {"MiB an image": BYTES * totals["activations"] / 2**20}
    numbers |= {"convolutions: activations": float(sum(r["activations"] for r in rows if r["kind"] == "convolution"))}
    largest = {key: max(rows, key=lambda row, key=key: row[key])["layer"] for key in QUANTITIES}
    shares = {key: numbers[f"{layer}: {key}"] / totals[key] for key, layer in largest.items()}
    numbers |= {f"share of {largest[key]} in the {key} (%)": 100 * share for key, share in shares.items()}
    early = (
        sum(row["activations"] for row in rows if row["layer"].startswith(("image", "stage1"))) / totals["activations"]
    )
    numbers["share of the first stage in the activations (%)"] = 100 * early
    return Result(_figure(workdir, rows), numbers, _sentence(numbers, largest), rows)


def budget(name: str = "vgg16") -> list[dict[str, Any]]:
    """A row for the image, every layer and every pooling of a VGG, in the order of computation."""
    model = models.create(name)
    pooled = {stage: shape.shape for stage, shape in functional.outputs(model, IMAGE, method="features").items()}
    rows = [_row("image", "image", IMAGE.shape)]
    layers = inspect.layers(model, IMAGE)
    for layer, after in zip(layers, [*layers[1:], None]):
        kind = "convolution" if layer.kind == "Conv" else "fully connected"
        biases = layer.output[-1]  # every layer of VGG has one a channel
        counts = (layer.parameters - biases, layer.parameters, layer.multiply_adds)
        rows.append(_row(layer.path.replace("/", " "), kind, layer.output, *counts))
        stage = layer.path.partition("/")[0]
        if kind == "convolution" and (after is None or not after.path.startswith(f"{stage}/")):
            rows.append(_row(f"{stage} pool", "pooling", pooled[stage]))
    return rows


def _row(layer: str, kind: str, shape: tuple[int, ...], weights: int = 0, parameters: int = 0, work: int = 0) -> dict:
    sizes = {"activations": int(np.prod(shape)), "weights": weights, "parameters": parameters, "multiply-adds": work}
    return {"layer": layer, "kind": kind, "output": "×".join(map(str, shape[1:])), **sizes}


def _figure(workdir: Path, rows: list[dict[str, Any]]) -> Path:
    figure, axes = canvas(1, len(QUANTITIES), width=4.6, height=5)
    for axis, key in zip(axes, QUANTITIES):
        axis.barh([row["layer"] for row in rows], [row[key] / 1e6 for row in rows], color="C0")
        axis.invert_yaxis()
        axis.tick_params(axis="y", labelsize=7)
        axis.set(title=f"{key}: {sum(row[key] for row in rows) / 1e6:,.1f} · 10⁶", xlabel="10⁶")
    return save(figure, workdir / "vgg_budget.png")


def _sentence(numbers: dict[str, float], largest: dict[str, str]) -> str:
    right = {key: f"{numbers[key]:.2g}" == f"{said:.2g}" for key, said in SLIDE.items() if key != "parameters"}
    right["parameters"] = round(numbers["parameters"] / 1e6) == round(SLIDE["parameters"] / 1e6)
    verdict = {True: "confirmed", False: "refuted"}
    share = {key: numbers[f"share of {layer} in the {key} (%)"] for key, layer in largest.items()}
    return (
        f"The {SLIDE['parameters'] / 1e6:.0f} million parameters are {verdict[right['parameters']]}: "
        f"{numbers['parameters']:,.0f}, {numbers['weights']:,.0f} without biases, {share['weights']:.1f} % of them in "
        f"{largest['weights']}; the {SLIDE['activations'] / 1e6:.0f} million activations are "
        f"{verdict[right['activations']]}: the lines of that table sum to {numbers['activations']:,.0f}, "
        f"{numbers['MB an image']:.1f} MB ({numbers['MiB an image']:.1f} MiB) an image in the place of "
        f"{SLIDE['MB an image']:.0f}, {numbers['share of the first stage in the activations (%)']:.0f} % of them in "
        f"the image and the first stage, so memory is early and parameters are late, as the lecture says; of the "
        f"{numbers['multiply-adds'] / 1e9:.2f} · 10⁹ multiply-adds no layer has more than "
        f"{share['multiply-adds']:.0f} % ({largest['multiply-adds']})."
    )


STUDIES = {"vgg_budget": vgg_budget}
