"""Whether plain nets get worse with depth on the images that they are trained on, and residual ones better."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cs231n_jax.models import ModelConfig
from cs231n_jax.optim import OptimizerConfig, ScheduleConfig
from experiments.studies import Result, long_runs, seeds
from experiments.studies.drawing import canvas, save
from experiments.studies.long_runs import TEST, TINY, TRAINING, Setting

PLAIN, RESIDUAL = ("plain20", "plain56"), ("resnet20", "resnet56")  # shallow, deep
HE = OptimizerConfig(learning_rate=0.1, momentum=0.9, weight_decay=1e-4)
STEPS = ScheduleConfig(name="step", boundaries=("50%", "75%"), factors=(0.1, 0.1))
FULL = Setting({name: ModelConfig(name=name) for name in (*PLAIN, *RESIDUAL)}, HE, STEPS, epochs=40, seeds=2)
SMALL = {name: ModelConfig(name="mlp", options={"hidden": (8 + 2 * i,)}) for i, name in enumerate(FULL.nets)}
QUICK = FULL._replace(nets=SMALL, epochs=2, seeds=1, data=TINY)

Found = Mapping[str, Sequence[Mapping[str, Any]]]


def depth_degradation(workdir: Path, quick: bool) -> Result:
    """Do plain nets train worse when they are deeper, and residual nets better?

    The claim: 56 layers have a higher error than 20 on the *training* images, which is no overfitting, and shortcuts
    turn that round. Plain nets are the residual ones without shortcuts, of the same parameters (option A has none).
    The first 10,000 training images of CIFAR-10, 40 epochs in batches of 128 (3,120 updates), pad-4 crops and flips;
    momentum 0.9, weight decay 1e-4, a rate of 0.1 divided by 10 after half and three quarters, as in the paper but for
    images and length (there 45,000, and 64,000 updates). Training errors are those of the last weights in inference on
    the images as they are; the curves left are gathered while training, on crops, as in the paper. ± is the standard
    error over two seeds; a verdict takes the 95 % interval of the paired differences by Student's t. Of all nets but
    resnet56 a third seed is on record; it is not used here.

    The trainings, in float32, are hours of work for two CPU cores; on an accelerator they are computed in
    bfloat16. `--runs=plain56_seed1` does one of them alone, so that several commands can share the work. With
    experiments/pinned/depth_degradation copied into --workdir the command prints the page of the findings on record.

    Reference: He, Zhang, Ren, Sun 2016, "Deep Residual Learning for Image Recognition", sections 1 and 4.2, figure 6.
    """
    setting, root = _setting(quick), workdir / "depth_degradation"
    found = long_runs.findings(setting, root)
    rows = [long_runs.row(setting, net, found[net]) for net in setting.nets]
    numbers = {f"{row['net']}: {key}": float(value) for row in rows for key, value in list(row.items())[1:]}
    return Result(_figure(workdir, setting, found), numbers, _sentence(setting, found, root), rows)


def train(workdir: Path, quick: bool, labels: Sequence[str]) -> list[str]:
    """Some of the runs, or all, ahead of the study."""
    return long_runs.train(_setting(quick), workdir / "depth_degradation", labels)


def _setting(quick: bool) -> Setting:
    return long_runs.here(QUICK if quick else FULL)


def _deeper(found: Found, pair: tuple[str, str], kind: str) -> np.ndarray:
    """How much higher the deep net's error is than the shallow one's, for each seed, in points."""
    shallow, deep = (long_runs.errors(found[net], kind) for net in pair)
    return deep - shallow


def _sentence(setting: Setting, found: Found, root: Path) -> str:
    told, judged = [], []
    for name, pair, sign in (("plain", PLAIN, 1), ("residual", RESIDUAL, -1)):
        change = _deeper(found, pair, TRAINING)
        at = " to ".join(f"{long_runs.errors(found[net], TRAINING).mean():.2f}" for net in pair)
        test = seeds.told(*long_runs.mean_and_error(_deeper(found, pair, TEST)), 2)
        of = seeds.told(*long_runs.mean_and_error(change), 2)
        told.append(f"of {name} nets goes from {at} % ({of} points; test error {test})")
        judged.append(long_runs.verdict(sign * change))
    return (
        f"From 20 to 56 layers the training error on {long_runs.images(setting)} after {setting.epochs} epochs "
        f"{told[0]} and {told[1]}: "
        f"that a deeper plain net trains worse is {judged[0]}, that a deeper residual net trains better is {judged[1]} "
        f"(± standard errors, seeds: {setting.seeds}; {long_runs.places(setting, root)})."
    )


def _figure(workdir: Path, setting: Setting, found: Found) -> Path:
    figure, axes = canvas(1, 2, width=6)
    for axis, pair, title in zip(axes, (PLAIN, RESIDUAL), ("plain", "residual")):
        for net, color in zip(pair, ("C0", "C3")):
            epochs, errors = long_runs.mean_curve(found[net], "while training").T
            axis.plot(epochs, errors, color=color, label=f"{net}, while training")
            end = long_runs.errors(found[net], TRAINING)
            axis.plot(np.full(len(end), setting.epochs), end, "x", color=color, label=f"{net}, trained, as they are")
            axis.plot(*long_runs.mean_curve(found[net], "test").T, "--", color=color, alpha=0.5, label=f"{net}, test")
        axis.set(xlabel="epoch", ylabel="error (%)", title=f"{title} nets, means over {setting.seeds} seeds", ylim=0)
        axis.legend(fontsize="small")
    axes[0].sharey(axes[1])
    return save(figure, workdir / "depth_degradation.png")


STUDIES = {"depth_degradation": depth_degradation}
RUNS = {"depth_degradation": train}
