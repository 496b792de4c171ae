"""What a residual sum does to the signal of an untrained net, and what a trained one loses with one of its blocks."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax import models
from cs231n_jax.models import functional
from cs231n_jax.ops import activations, init, norm
from experiments.studies import Result, convolutional_runs, dense_runs, digit_runs, long_runs, seeds
from experiments.studies.convolutional_runs import Weights
from experiments.studies.drawing import canvas, save

WIDTH, EXAMPLES, DEPTH, EPS = 512, 1024, 20, 1e-5
TOLD = (1, 2, 5, 10, 20)
CHANCE = 90.0  # percent of errors of who guesses one of ten digits
HARDLY = 2.0  # points of error that are hardly a loss

WHOLE = "none"  # deleted

Errors = dict[str, np.ndarray]  # deleted block -> test errors in percent [seeds]
Layer = Callable[[int], Any]  # number of a matrix -> the matrix, He's
Block = Callable[[Any, Layer], Any]


def _plain(x: Any, he: Layer) -> Any:
    return activations.relu(x @ he(1))


def _residual(x: Any, he: Layer) -> Any:
    return x + activations.relu(x @ he(1)) @ (he(2) * 0.5**0.5)  # of the unit gain 1/√n


def _normalized(x: Any, relu: bool = True) -> Any:
    return norm.batch_norm(x, jnp.ones(WIDTH), jnp.zeros(WIDTH), eps=EPS, relu=relu)[0]


def _pre_activation(x: Any, he: Layer) -> Any:
    return x + _normalized(_normalized(x) @ he(1)) @ he(2)


def _post_activation(x: Any, he: Layer) -> Any:
    return activations.relu(x + _normalized(_normalized(x @ he(1)) @ he(2), relu=False))


BLOCKS: dict[str, Block] = {
    "plain": _plain,
    "residual": _residual,
    "residual, batch norm before (v2)": _pre_activation,
    "residual, batch norm after (v1)": _post_activation,
}
PLAIN, BARE, PRE, POST = BLOCKS


class Net(NamedTuple):
    """A net of the package that loses its blocks one at a time."""

    model: str
    options: dict[str, Any]
    delete: Callable[[Weights, str], Weights]  # weights, block -> weights with which the block passes its input on
    blocks: Callable[[Any], list[str]]  # parameters -> those that can be deleted


def without_branch(weights: Weights, block: str) -> Weights:
    """A residual block whose branch adds zero: its last normalisation has a scale and a bias of zero."""
    params, state = weights
    last = {key: jnp.zeros_like(value) for key, value in params[block]["norm2"].items()}
    return {**params, block: {**params[block], "norm2": last}}, state


def without_unit(weights: Weights, unit: str) -> Weights:
    """A plain convolution with batch norm and ReLU that passes its input, which is not negative, on.

    The kernel has a one in its middle from each channel to itself, and the normalisation undoes its running statistics.
    """
    params, state = weights
    block, name = unit.split("/")
    kernel, running = params[block][name]["conv"]["kernel"], state["batch_stats"][block][name]["norm"]
    middle = jnp.zeros_like(kernel).at[kernel.shape[0] // 2, kernel.shape[1] // 2].set(jnp.eye(kernel.shape[3]))
    identity = {
        "conv": {"kernel": middle},
        "norm": {"scale": jnp.sqrt(running["var"] + EPS), "bias": running["mean"]},
    }
    return {**params, block: {**params[block], name: identity}}, state


def residual_blocks(params: Any) -> list[str]:
    """All of them; where the shape changes, the shortcut subsamples and adds channels of zeros."""
    return sorted(name for name in params if "_block" in name)


def square_units(params: Any) -> list[str]:
    """The units of a column with as many channels out as in."""
    units = {f"{block}/{name}": unit for block, own in params.items() if block != "head" for name, unit in own.items()}
    return sorted(
        name for name, unit in units.items() if unit["conv"]["kernel"].shape[2] == unit["conv"]["kernel"].shape[3]
    )


NETS = {
    "ResNet-20": Net("resnet20", {"width": 8}, without_branch, residual_blocks),
    "plain net": Net(
        "fractalnet20", {"widths": (8, 16, 32), "drop_rates": (0.0,) * 3, "column": 3}, without_unit, square_units
    ),
}
PLAN, RATE = dense_runs.Plan(epochs=20), 0.05
QUICK_NETS = {
    "ResNet-20": NETS["ResNet-20"]._replace(model="resnet8"),
    "plain net": NETS["plain net"]._replace(
        options={"widths": (8, 16), "columns": 2, "column": 2, "drop_rates": (0.0, 0.0)}
    ),
}


def residual_at_init(workdir: Path, quick: bool) -> Result:
    """Does the signal of residual nets grow with depth, and can a trained one lose a block?

    Left: the mean square of 512 units after each of 20 blocks over that of the input, for 1,024 examples from N(0, 1),
    before any training; means over draws. Plain: relu(W x), He's weights. Residual: x + V·relu(W x), W from He, V with
    unit gain. With batch norm before the convolutions, x + V·relu(bn(W·relu(bn(x)))), and after them,
    relu(x + bn(V·relu(bn(W x)))), all weights from He. Right: nets of the package, trained on scikit-learn's digits
    (898 images; 20 epochs of momentum 0.9 from 0.05 down half a cosine, batches of 64), lose one block at test and
    are not trained again: ResNet-20 (8, 16, 32 channels) each residual branch in turn; a plain net of twelve
    convolutions of as many channels with batch norm and ReLU, pooled after every fourth (FractalNet-20's deepest
    column alone), each convolution with as many channels out as in. Errors on the 899 test images; ± are standard
    errors over the seeds, and a verdict takes the 95 % interval by Student's t.

    Reference: He et al. 2016, "Identity Mappings in Deep Residual Networks"; Veit, Wilber, Belongie 2016, "Residual
    Networks Behave Like Ensembles of Relatively Shallow Networks", section 4.1.
    """
    draws = 3 if quick else 5
    figure, (left, right) = canvas(1, 2, width=6.5)
    numbers: dict[str, float] = {}
    for name, block in BLOCKS.items():
        grown = np.mean([growth(block, seed) for seed in range(draws)], axis=0)
        numbers |= {f"{name}: after block {depth}": float(grown[depth - 1]) for depth in TOLD}
        left.semilogy(range(1, DEPTH + 1), grown, "o-", markersize=4, label=name)
    numbers["zero-initialised branches: largest change by the blocks of a stage"] = _change_by_zero_branches()
    left.set(title=f"before training, {draws} draws", xlabel="blocks", ylabel="mean square / that of the input")
    left.legend(fontsize=8)
    nets, plan, count = (QUICK_NETS, PLAN._replace(epochs=2), 1) if quick else (NETS, PLAN, 3)
    found = {name: _deleted(net, plan, count) for name, net in nets.items()}
    rows = [row for name, errors in found.items() for row in _rows(name, errors)]
    _draw(right, list(nets), rows)
    for name, errors in found.items():
        numbers |= {f"{name}: {key}": value for key, value in _summary(errors).items() if np.isfinite(value)}
    path = save(figure, workdir / "residual_at_init.png")
    return Result(path, numbers, _sentence(numbers, found), [*_grown_rows(numbers), *rows])


def growth(block: Block, seed: int) -> np.ndarray:
    """The mean square after each block over that of the input [DEPTH]."""
    x = jnp.asarray(np.random.default_rng(seed).standard_normal((EXAMPLES, WIDTH)), jnp.float32)
    start, grown = float((x**2).mean()), []
    for number in range(DEPTH):

        def he(matrix: int, number: int = number) -> Any:
            return jnp.asarray(init.draw(init.he_normal((WIDTH, WIDTH)), seed, f"block{number}/{matrix}"))

        x = block(x, he)
        grown.append(float((x**2).mean()) / start)
    return np.array(grown)


def _change_by_zero_branches() -> float:
    """The largest difference between a stage's output and its input, with `zero_init_last`: branches start as zero."""
    model = models.create("resnet8", zero_init_last=True)
    images = jnp.asarray(np.random.default_rng(0).standard_normal((4, 8, 8, 3)), jnp.float32)
    weights = functional.init(model, 0, images)
    run = partial(functional.apply, model, train=True, noise=False, method="features")
    features, _ = jax.jit(run)(*weights, images)
    return float(jnp.abs(features["stage1"] - features["stem"]).max())


def _deleted(net: Net, plan: dense_runs.Plan, count: int) -> Errors:
    """Errors of a trained net as it is, and without each of its blocks."""
    data, model = digit_runs.digits(), models.create(net.model, num_classes=10, **net.options)
    train = convolutional_runs.trainer(model, data, plan, RATE)
    error = convolutional_runs.error_of(model, data)
    found: dict[str, list[float]] = {}
    for seed in range(count):
        weights = train(seed).weights
        found.setdefault(WHOLE, []).append(100 * error(weights))
        for block in net.blocks(weights[0]):
            found.setdefault(block, []).append(100 * error(net.delete(weights, block)))
    return {block: np.array(errors) for block, errors in found.items()}


def _rows(name: str, errors: Errors) -> list[dict[str, Any]]:
    return [
        {"net": name, "deleted": block, "error (%)": float(e.mean()), "± error": seeds.error(e)}
        for block, e in errors.items()
    ]


def without_a_block(errors: Errors) -> np.ndarray:
    """The mean over the blocks of the error without one of them [seeds]."""
    return np.mean([e for block, e in errors.items() if block != WHOLE], axis=0)


def _summary(errors: Errors) -> dict[str, float]:
    """Means and standard errors over the seeds: whole, without a block, and what that loses."""
    whole, without = errors[WHOLE], without_a_block(errors)
    summary = {"worst error without a block (%)": max(e.mean() for block, e in errors.items() if block != WHOLE)}
    named = {
        "error (%)": whole,
        "mean error without a block (%)": without,
        "points lost without a block": without - whole,
    }
    for key, values in named.items():
        mean, error = long_runs.mean_and_error(values)
        summary |= {key: mean, f"± {key.removesuffix(' (%)')}": error}
    return {key: float(value) for key, value in summary.items()}


def _grown_rows(numbers: dict[str, float]) -> list[dict[str, Any]]:
    return [
        {"net": name} | {f"after block {depth}": numbers[f"{name}: after block {depth}"] for depth in TOLD}
        for name in BLOCKS
    ]


def _draw(axis: Any, nets: Sequence[str], rows: list[dict[str, Any]]) -> None:
    for name in nets:
        found = [row for row in rows if row["net"] == name]
        errors, bars = ([row[key] for row in found[1:]] for key in ("error (%)", "± error"))
        drawn = axis.errorbar(range(1, len(errors) + 1), errors, np.nan_to_num(bars), fmt="o-", label=name)
        axis.axhline(found[0]["error (%)"], color=drawn[0].get_color(), linestyle=":")
    axis.axhline(CHANCE, color="gray", linestyle="--", label="guessing")
    axis.set(title="trained, one block deleted (dotted: none)", xlabel="deleted block", ylabel="test error (%)")
    axis.legend(fontsize=8)


def _sentence(numbers: Mapping[str, float], found: Mapping[str, Errors]) -> str:
    def of(name: str, depth: int) -> float:
        return numbers[f"{name}: after block {depth}"]

    def spread(name: str, key: str) -> str:
        error = numbers.get(f"{name}: ± {key.removesuffix(' (%)')}", math.nan)
        return seeds.told(numbers[f"{name}: {key}"], error, 1).lstrip("+")

    residual, plain = found
    told = [
        f"{name} goes from {spread(name, 'error (%)')} to {spread(name, 'mean error without a block (%)')} % on "
        f"average, {numbers[f'{name}: worst error without a block (%)']:.1f} % at worst"
        for name in found
    ]
    guesses = long_runs.verdict(without_a_block(found[plain]) - (CHANCE - 2 * HARDLY))
    hardly = long_runs.verdict(HARDLY - (without_a_block(found[residual]) - found[residual][WHOLE]))
    lost = {name: spread(name, "points lost without a block") for name in found}
    return (
        f"Without normalisation a residual net doubles its signal at every block ({of(BARE, 1):.2f} after one, "
        f"{of(BARE, 10):.0f} after ten, {of(BARE, 20):.2g} after twenty) where a plain one keeps it "
        f"({of(PLAIN, 20):.2f} after twenty); with batch norm before the convolutions it grows by one a block "
        f"({of(PRE, 1):.2f}, {of(PRE, 10):.1f}, {of(PRE, 20):.1f}), after them to {of(POST, 20):.1f}; with one block "
        f"deleted at test the error of {told[0]}, that of the {told[1]} (guessing: {CHANCE:.0f} %): that a plain net "
        f"without one of its layers only guesses (is within {2 * HARDLY:.0f} points of it) is {guesses}, that a "
        f"residual net of so few blocks hardly misses one (loses at most {HARDLY:.0f} points) is {hardly}; it loses "
        f"{lost[residual]} points on average, the plain one {lost[plain]}."
    )


STUDIES = {"residual_at_init": residual_at_init}
