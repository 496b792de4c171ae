"""What the 1×1 convolutions save in an inception module: the lecture's example, and the nine modules of GoogLeNet."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax import inspect, models
from cs231n_jax.models import functional, googlenet
from cs231n_jax.models.base import Model
from cs231n_jax.ops import pool
from cs231n_jax.typing import Array
from experiments.benchmarks import rounds
from experiments.studies import Result, small_nets
from experiments.studies.drawing import canvas, save

SLIDE_IMAGE = small_nets.image(28, 28, 256)
SLIDE_WIDTHS = (128, 192, 96)  # of the 1×1, 3×3 and 5×5 convolutions
SLIDE_REDUCED = (128, 64, 192, 64, 96, 64)  # as in googlenet.MODULES: 1×1; 1×1, 3×3; 1×1, 5×5; 1×1 after pooling
SLIDE_MILLIONS = {"naive": 854, "with 1×1": 358}  # multiplications, as printed
NAMES = ("naive", "with 1×1")
BRANCHES = {  # the convolutions of both modules, as the slide calls them
    "conv1": "1×1",
    "conv3": "3×3",
    "conv5": "5×5",
    "branch1": "1×1",
    "branch2_reduce": "1×1 before 3×3",
    "branch2": "3×3",
    "branch3_reduce": "1×1 before 5×5",
    "branch3": "5×5",
    "branch4": "1×1 after pooling",
}


class Naive(Model):
    """Images [N, H, W, C] -> [N, H, W, C + the sum of `widths`]: 1×1, 3×3, 5×5 and 3×3 pooling side by side.

    Reference: Szegedy et al. 2015, "Going Deeper with Convolutions", figure 2a.
    """

    widths: tuple[int, int, int] = SLIDE_WIDTHS

    def setup(self) -> None:
        """One convolution a branch."""
        self.conv1, self.conv3, self.conv5 = (
            googlenet.ConvUnit(width, kernel, batch_norm=False) for width, kernel in zip(self.widths, (1, 3, 5))
        )

    def forward(self, x: Array, *, train: bool = False, noise: bool = False) -> dict[str, Array]:
        """The four branches, one after the other in the channels."""
        mode = self.mode("module", train, noise)
        branches = [branch(x, mode) for branch in (self.conv1, self.conv3, self.conv5)]
        return {"logits": jnp.concatenate((*branches, pool.max_pool(x, 3, stride=1, padding=1)), axis=-1)}


class Reduced(Model):
    """The package's inception module as a model of its own, as published: 5×5 kernels and no batch norm."""

    widths: tuple[int, ...] = SLIDE_REDUCED

    def setup(self) -> None:
        """The module."""
        self.module = googlenet.Inception(self.widths, 5, batch_norm=False)

    def forward(self, x: Array, *, train: bool = False, noise: bool = False) -> dict[str, Array]:
        """What the module gives."""
        return {"logits": self.module(x, self.mode("module", train, noise))}


def inception_cost(workdir: Path, quick: bool) -> Result:
    """Do 1×1 convolutions bring an inception module from 854 to 358 million multiplications?

    The slide's module, on 28×28 pixels of 256 channels: 128 filters of 1×1, 192 of 3×3, 96 of 5×5 and a pooling; then
    with 64 filters of 1×1 before the 3×3, before the 5×5 and after the pooling. Multiplications are counted from the
    shapes of the package's own layers, one for every weight and every pixel, as the slide counts. The sum that the
    slide prints is looked for among the sums that count one of the six convolutions twice. Below, the same for the nine
    modules of the published GoogLeNet on 224×224 pixels. The time is that of a forward pass on 4 images, medians of
    alternating rounds with the bootstrap 95 % interval of their ratio.

    Reference: Szegedy et al. 2015, section 4 and table 1.
    """
    nets = dict(zip(NAMES, (Naive(), Reduced())))
    terms = {name: multiplications(net, SLIDE_IMAGE) for name, net in nets.items()}
    numbers = {f"{name}: {branch}": float(term) for name, found in terms.items() for branch, term in found.items()}
    numbers |= {f"{name}: multiplications": float(sum(found.values())) for name, found in terms.items()}
    numbers |= {f"{name}: channels": float(functional.outputs(n, SLIDE_IMAGE).shape[-1]) for name, n in nets.items()}
    twice = counted_twice(terms["with 1×1"], SLIDE_MILLIONS["with 1×1"])
    numbers |= {f"with 1×1, {branch} counted twice": float(total) for branch, total in twice.items()}
    modules = _modules()
    saved = {name: sum(row[f"{name}: multiplications"] for row in modules) for name in NAMES}
    numbers |= {f"GoogLeNet's modules, {name}: multiplications": float(total) for name, total in saved.items()}
    times = rounds.interleave({name: _forward(net) for name, net in nets.items()}, 3 if quick else 20)
    ratio, low, high = rounds.ratio(*(times[name] for name in NAMES))
    numbers |= {f"{name}: forward (ms)": 1e3 * float(np.median(s)) for name, s in times.items()}
    numbers |= {"time, naive / with 1×1": ratio, "time: low": low, "time: high": high}
    slide = {"module": "the slide's", "pixels": "28×28", "channels in": SLIDE_IMAGE.shape[-1]}
    slide |= {f"{name}: channels out": int(numbers[f"{name}: channels"]) for name in NAMES}
    slide |= {f"{name}: multiplications": sum(terms[name].values()) for name in NAMES}
    path = _figure(workdir, terms, modules)
    return Result(path, numbers, _sentence(numbers, twice, (ratio, low, high)), [slide, *modules])


def multiplications(model: Model, image: jax.ShapeDtypeStruct) -> dict[str, int]:
    """Those of every convolution, by its name."""
    found = inspect.layers(model, image)
    return {BRANCHES[layer.path.removeprefix("module/").removesuffix("/conv")]: layer.multiply_adds for layer in found}


def counted_twice(terms: Mapping[str, int], millions: int) -> dict[str, int]:
    """Which of the terms makes a sum of that many millions, rounded, if it is added once more; and the sum."""
    total = sum(terms.values())
    return {name: total + term for name, term in terms.items() if round((total + term) / 1e6) == millions}


def _modules() -> list[dict[str, Any]]:
    """The modules of the published GoogLeNet: what they cost, and would cost without 1×1 before and after."""
    model = models.create("googlenet", norm="lrn", kernel5=5)
    layers = {layer.path: layer for layer in inspect.layers(model, small_nets.image(224, 224, 3))}
    shapes = {p.path: p.shape for p in inspect.parameters(model, small_nets.image(224, 224, 3))}
    rows = []
    for name, widths in googlenet.MODULES.items():
        _, height, width, _ = layers[f"{name}/branch1/conv"].output
        channels = shapes[f"{name}/branch1/conv/kernel"][2]
        image = small_nets.image(height, width, channels)
        nets = dict(zip(NAMES, (Naive(widths=(widths[0], widths[2], widths[4])), Reduced(widths=widths))))
        row: dict[str, Any] = {"module": f"GoogLeNet {name[5:].replace('_', '')}", "pixels": f"{height}×{width}"}
        row |= {"channels in": channels}
        row |= {f"{key}: channels out": functional.outputs(net, image).shape[-1] for key, net in nets.items()}
        rows.append(row | {f"{key}: multiplications": inspect.multiply_adds(net, image) for key, net in nets.items()})
    return rows


def _forward(model: Model) -> Callable[[], Any]:
    images = jnp.asarray(np.random.default_rng(0).standard_normal((4, *SLIDE_IMAGE.shape[1:])), jnp.float32)
    params, _ = functional.init(model, 0, images)
    run = jax.jit(lambda params, images: functional.apply(model, params, {}, images)[0])
    return lambda: jax.block_until_ready(run(params, images))


def _figure(workdir: Path, terms: Mapping[str, Mapping[str, int]], modules: list[dict[str, Any]]) -> Path:
    figure, (left, right) = canvas(1, 2, width=6)
    for color, (name, found) in zip(("C0", "C1"), terms.items()):
        bars = {f"{name}: {branch}": term / 1e6 for branch, term in found.items()}
        bars[f"{name}: sum"] = sum(bars.values())
        left.bar_label(left.barh(list(bars), list(bars.values()), color=color), fmt="%.1f", fontsize=8, padding=2)
        left.plot(
            SLIDE_MILLIONS[name], f"{name}: sum", "k|", markersize=18, label="the slide" if color == "C0" else None
        )
    left.invert_yaxis()
    left.tick_params(axis="y", labelsize=8)
    left.set(title="the slide's module: multiplications (10⁶)", xlim=(0, 1000))
    left.legend(fontsize=8)
    for name in NAMES:
        right.plot(
            [row["module"].split()[1] for row in modules],
            [row[f"{name}: multiplications"] / 1e6 for row in modules],
            "o-",
            label=name,
        )
    right.set(title="the modules of GoogLeNet", ylabel="multiplications (10⁶)", yscale="log")
    right.legend()
    return save(figure, workdir / "inception_cost.png")


def _sentence(numbers: dict[str, float], twice: Mapping[str, int], time: tuple[float, float, float]) -> str:
    naive, reduced = (int(numbers[f"{name}: multiplications"]) for name in NAMES)
    said = {name: round(total / 1e6) == SLIDE_MILLIONS[name] for name, total in zip(NAMES, (naive, reduced))}
    verdict = {True: "confirmed", False: "refuted"}
    explained = " or ".join(
        f"{total:,}, which counts the {branch} convolution twice" for branch, total in twice.items()
    )
    whole = [numbers[f"GoogLeNet's modules, {name}: multiplications"] for name in NAMES]
    return (
        f"The naive module takes {naive:,} multiplications (the slide's {SLIDE_MILLIONS['naive']} million: "
        f"{verdict[said['naive']]}) and the one with 1×1 convolutions {reduced:,} (its "
        f"{SLIDE_MILLIONS['with 1×1']} million: {verdict[said['with 1×1']]}; the slide's sum is "
        f"{explained or 'no sum with one convolution counted twice'}): the saving is a factor of "
        f"{naive / reduced:.2f}, not {naive / 1e6 / SLIDE_MILLIONS['with 1×1']:.2f}, in time here {time[0]:.2f} "
        f"({time[1]:.2f} to {time[2]:.2f}), and over the nine modules of GoogLeNet {whole[0] / whole[1]:.2f}; the "
        f"naive module's {numbers['naive: channels']:.0f} channels, of which {SLIDE_IMAGE.shape[-1]} are the input "
        f"again, become {numbers['with 1×1: channels']:.0f}."
    )


STUDIES = {"inception_cost": inception_cost}
