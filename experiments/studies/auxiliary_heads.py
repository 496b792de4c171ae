"""How much gradient GoogLeNet's auxiliary heads bring to its lower layers, at the start and in training."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from cs231n_jax import optim
from cs231n_jax.models import googlenet, registry
from experiments.studies import Result, convolutional_runs, dense_runs, digit_runs, seeds
from experiments.studies.drawing import canvas, save

FORMS: dict[str, dict[str, Any]] = {
    "as published": {"norm": "lrn", "kernel5": 5},  # response normalisation, biases
    "with batch norm": {"norm": "batch", "kernel5": 5},
}
HEADS = {"without": False, "with": True}
FEW = ("stage4_a", "stage4_d", "stage5_b")  # modules of the quick form
MORE = 1.1  # times the gradient without heads
PLAN, RATE, SCALE = dense_runs.Plan(epochs=5), 0.02, 0.125


def auxiliary_heads(workdir: Path, quick: bool) -> Result:
    """Do the auxiliary heads of GoogLeNet bring more gradient to its lower layers?

    The length of the gradient of the training loss by the weights of each part, with the heads (whose losses are added
    0.3 times) and without them, at the start, from the same weights on the same batch, and on average over training:
    scikit-learn's digits (8×8 pixels, the CIFAR form of the net at an eighth of its widths), momentum 0.9 from 0.02
    down half a cosine, 5 epochs in batches of 64, without dropout, three seeds; in the published form (biases and
    response normalisation) and with batch norm in their place. Both heads stand above 4a and 4d. Errors are standard
    errors over the seeds.

    Reference: Szegedy et al. 2015, "Going Deeper with Convolutions", section 5: "we would expect to encourage
    discrimination in the lower stages in the classifier, increase the gradient signal that gets propagated back".
    """
    plan, count, modules = (PLAN._replace(epochs=1), 1, FEW) if quick else (PLAN, 3, googlenet.MODULES)
    parts, forms = ("stem", *modules), dict(list(FORMS.items())[: 1 if quick else None])
    numbers: dict[str, float] = {}
    rows: list[dict[str, Any]] = []
    figure, (left, middle, right) = canvas(1, 3)
    for color, (form, options) in zip(("C0", "C1"), forms.items()):
        found = {name: _trained({**options, "modules": modules}, heads, plan, count) for name, heads in HEADS.items()}
        for i, part in enumerate(parts):
            lengths = {name: gradients[..., i] for name, (gradients, _, _) in found.items()}
            rows.append({"form": form, "part": part, **_ratios(lengths)})
        for name, (gradients, losses, errors) in found.items():
            style, label = ("-" if HEADS[name] else ":"), f"{form}, {name} heads"
            left.semilogy(parts, gradients[:, 0].mean(axis=0), f"o{style}", color=color, label=label)
            epochs = np.arange(1, plan.epochs + 1)
            middle.semilogy(epochs, _by_epoch(gradients[:, :, 0], plan), style, color=color, label=label)
            right.plot(epochs, _by_epoch(losses, plan), style, color=color, label=label)
            numbers[f"{label}: main loss of the last epoch"] = float(_by_epoch(losses, plan)[-1])
            numbers |= {f"{label}: test error (%)": float(errors.mean()), f"{label}: ± test error": seeds.error(errors)}
    numbers |= {f"{r['form']}, {r['part']}: {key}": r[key] for r in rows for key in list(r)[2:]}
    left.set(title="gradient at the start, by the weights of each part", ylabel="length")
    left.set_xticks(range(len(parts)), map(_short, parts))
    middle.set(title="gradient by the stem in training", xlabel="epoch", ylabel="length")
    right.set(title="loss of the main scores in training", xlabel="epoch", ylabel="nats")
    for axis in (left, middle, right):
        axis.legend(fontsize=7)
    return Result(save(figure, workdir / "auxiliary_heads.png"), numbers, _sentence(numbers, tuple(forms), parts), rows)


def net(options: Mapping[str, Any], heads: bool) -> Any:
    """A small GoogLeNet for ten classes, of all of its modules or of some."""
    row = registry.VARIANTS["googlenet_cifar"]
    free = {"num_classes": 10, "scale": SCALE, "aux_heads": heads, **options}
    return row.module(**{**row.options, **row.defaults, **free})


def by_part(parts: Sequence[str], gradient: Any) -> Any:
    """The length of the gradient by all weights of each part [parts]; those of the heads belong to none."""
    trees = [
        [tree for name, tree in gradient.items() if name == part or name.startswith(f"{part}_conv")] for part in parts
    ]
    return jnp.stack([optim.global_norm(part) for part in trees])


def _trained(
    options: Mapping[str, Any], heads: bool, plan: dense_runs.Plan, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lengths of gradients [seeds, updates, parts], main losses [seeds, updates] and test errors (%) [seeds]."""
    data, model = digit_runs.digits(), net(options, heads)
    lengths = partial(by_part, ("stem", *options["modules"]))
    train = convolutional_runs.trainer(model, data, plan, RATE, lengths)
    error = convolutional_runs.error_of(model, data)
    runs = [train(seed) for seed in range(count)]
    errors = np.array([100 * error(run.weights) for run in runs])
    return np.stack([run.measured for run in runs]), np.stack([run.loss for run in runs]), errors


def _short(part: str) -> str:
    """stage4_a -> 4a."""
    return part.removeprefix("stage").replace("_", "")


def below(parts: Sequence[str]) -> Sequence[str]:
    """Those below the second head, which stands above 4d."""
    return parts[: parts.index("stage4_d") + 1]


def _by_epoch(values: np.ndarray, plan: dense_runs.Plan) -> np.ndarray:
    """The mean over the seeds and the updates of each epoch [epochs]."""
    return values.reshape(len(values), plan.epochs, -1).mean(axis=(0, 2))


def _ratios(gradients: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Of one part, lengths [seeds, updates] with heads and without: at the start, and on average over training."""
    at_start = {name: lengths[:, 0] for name, lengths in gradients.items()}
    in_training = {name: lengths.mean(axis=1) for name, lengths in gradients.items()}
    row: dict[str, Any] = {}
    for when, lengths in {"start": at_start, "training": in_training}.items():
        ratio = lengths["with"] / lengths["without"]
        row |= {f"{when}: {name} heads": float(values.mean()) for name, values in lengths.items()}
        row |= {f"{when}: ratio": float(ratio.mean()), f"{when}: ± ratio": seeds.error(ratio)}
    return row


def _sentence(numbers: dict[str, float], forms: Sequence[str], parts: Sequence[str]) -> str:
    told = []
    for form in forms:
        ratios = {part: numbers[f"{form}, {part}: start: ratio"] for part in parts}
        errors = {name: f"{form}, {name} heads" for name in HEADS}
        error = [
            seeds.told(numbers[f"{e}: test error (%)"], numbers[f"{e}: ± test error"], 1).lstrip("+")
            for e in (errors["with"], errors["without"])
        ]
        told.append(
            f"{form}, they multiply the gradient by the stem by "
            f"{seeds.told(ratios['stem'], numbers[f'{form}, stem: start: ± ratio'], 2).lstrip('+')} at the start "
            f"(4a {ratios['stage4_a']:.2f}, 4d {ratios['stage4_d']:.2f}, {_short(parts[-1])}, above both, "
            f"{ratios[parts[-1]]:.2f}) and "
            f"by {numbers[f'{form}, stem: training: ratio']:.2f} on average over training, which ends with a test "
            f"error of {error[0]} % beside {error[1]} % without"
        )
    ratios = [numbers[f"{form}, {part}: start: ratio"] for form in forms for part in below(parts)]
    more = sum(ratio > MORE for ratio in ratios)
    verdict = {0: "Refuted here", len(ratios): "Confirmed"}.get(more, "Confirmed in part")
    return (
        f"{verdict}: at the start the heads add more than {100 * (MORE - 1):.0f} % to the gradient of {more} of the "
        f"{len(ratios)} parts below them: {'; '.join(told)}."
    )


STUDIES = {"auxiliary_heads": auxiliary_heads}
