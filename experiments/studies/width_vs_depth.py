"""Whether width or depth is what residual nets owe their accuracy to: nets of equal parameters."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cs231n_jax.models import ModelConfig
from cs231n_jax.optim import OptimizerConfig, ScheduleConfig
from experiments.studies import Result, long_runs, seeds
from experiments.studies.drawing import canvas, save
from experiments.studies.long_runs import TEST, TINY, Setting

NETS = {  # from wide to deep, 2.7 to 2.8 million parameters each
    "depth16": ModelConfig(name="wrn16_4"),
    "depth40": ModelConfig(name="wrn40_2", options={"width": 18}),
    "depth110": ModelConfig(name="preresnet110", options={"width": 20, "shortcut": "B"}),
}
WIDE, *DEEPER = NETS
WRN = OptimizerConfig(name="nesterov", learning_rate=0.1, momentum=0.9, weight_decay=5e-4)
STEPS = ScheduleConfig(name="step", boundaries=("30%", "60%", "80%"), factors=(0.2,))
FULL = Setting(NETS, WRN, STEPS, epochs=30)
SMALL = {name: ModelConfig(name="mlp", options={"hidden": (9 + 2 * i,)}) for i, name in enumerate(NETS)}
QUICK = FULL._replace(nets=SMALL, epochs=2, seeds=1, data=TINY)
SECONDS = "seconds an update"


def width_vs_depth(workdir: Path, quick: bool) -> Result:
    """Is width the factor: does a wide residual net beat deeper, thinner ones of equal parameters?

    Three pre-activation nets with 1×1 shortcuts: WRN-16-4 (stages of 64, 128 and 256 channels), 40 layers of 36, 72 and
    144, and 110 layers of 20, 40 and 80. The first 10,000 training images of CIFAR-10, 30 epochs in batches of 128
    (2,340 updates), pad-4 crops and flips; Nesterov momentum 0.9, weight decay 5e-4, a rate of 0.1 times 0.2 after
    30, 60 and 80 % of the run, the recipe of wide nets but for images and length (there 50,000 and 200 epochs). Errors
    on all 10,000 test images after the last update; ± is the standard error over three seeds; a verdict takes the
    95 % interval of the paired differences by Student's t. Seconds are those of an update inside the training loop,
    seed 0, on the machine of the call that printed this page: the median of twelve calls of the compiled step, which
    on an accelerator makes up to an epoch of updates. On record they were measured while another program started.

    The trainings, in float32, are hours of work for two CPU cores; on an accelerator they are computed in
    bfloat16. `--runs=depth110_seed1` does one of them alone, so that several commands can share the work. With
    experiments/pinned/width_vs_depth copied into --workdir the command prints the page of the findings on record.

    Reference: Zagoruyko, Komodakis 2016, "Wide Residual Networks", sections 3 and 4.
    """
    setting, root = _setting(quick), workdir / "width_vs_depth"
    found = long_runs.findings(setting, root)
    times = seeds.kept(
        root / "update.json",
        {net: long_runs.essence(setting, net) for net in setting.nets},
        lambda: {net: long_runs.seconds_an_update(setting, net) for net in setting.nets},
    )
    rows = [long_runs.row(setting, net, found[net]) | {SECONDS: times[net]} for net in setting.nets]
    numbers = {f"{row['net']}: {key}": float(value) for row in rows for key, value in list(row.items())[1:]}
    return Result(_figure(workdir, rows), numbers, _sentence(setting, found, rows, root), rows)


def train(workdir: Path, quick: bool, labels: Sequence[str]) -> list[str]:
    """Some of the runs, or all, ahead of the study."""
    return long_runs.train(_setting(quick), workdir / "width_vs_depth", labels)


def _setting(quick: bool) -> Setting:
    return long_runs.here(QUICK if quick else FULL)


def _sentence(setting: Setting, found: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], root: Path) -> str:
    by_net = {row["net"]: row for row in rows}
    wide, told = by_net[WIDE], []
    for net in DEEPER:
        behind = long_runs.errors(found[net], TEST) - long_runs.errors(found[WIDE], TEST)
        more = 100 * (by_net[net]["parameters"] / wide["parameters"] - 1)
        told.append(
            f"{net} ({more:+.1f} % parameters) {by_net[net][TEST]:.2f} %, "
            f"{seeds.told(*long_runs.mean_and_error(behind), 2)} points, at {by_net[net][SECONDS] / wide[SECONDS]:.1f} "
            f"times the time: that width is the better use of them is {long_runs.verdict(behind)}"
        )
    return (
        f"On {long_runs.images(setting)}, {setting.epochs} epochs, {WIDE} with {wide['parameters']:,} parameters has "
        f"a test error of {wide[TEST]:.2f} % and takes {1000 * wide[SECONDS]:.3g} ms an update; {'; '.join(told)} "
        f"(± standard errors, seeds: {setting.seeds}; {long_runs.places(setting, root)})."
    )


def _figure(workdir: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    figure, (left, right) = canvas(1, 2, width=5)
    names, errors = [row["net"] for row in rows], [row[TEST] for row in rows]
    left.errorbar(names, errors, yerr=[row.get(f"± {TEST}", 0.0) for row in rows], fmt="o", capsize=4)
    left.set(ylabel=TEST, title="nets of equal parameters")
    right.bar(names, [1000 * row[SECONDS] for row in rows])
    right.set(ylabel="ms an update", title="time of an update, batch 128")
    return save(figure, workdir / "width_vs_depth.png")


STUDIES = {"width_vs_depth": width_vs_depth}
RUNS = {"width_vs_depth": train}
