"""Train a config in a run directory; repeat the command to continue it.

python -m experiments.train --workdir=runs/a --config=experiments/configs/cifar10_resnet.py:resnet20
python -m experiments.train --config.optimizer.learning_rate=0.05
"""

from experiments import program  # isort: skip  (first: it sets up the allocator)

from pathlib import Path

from absl import flags
from ml_collections import config_flags

from cs231n_jax.report.console import ConsoleReporter
from cs231n_jax.train import ensemble, processes, profile
from cs231n_jax.train.run import run

_CONFIG = program.define_config()
_MINUTES = flags.DEFINE_float(
    "max_wall_minutes", 0.0, "Save and exit with 75 before so many minutes have passed; 0: no limit.", lower_bound=0.0
)
_PROFILE = flags.DEFINE_string("profile", "", "Trace the updates FIRST:LAST, such as 100:110, into the run directory.")
_WORKDIR = flags.DEFINE_string("workdir", "", "Run directory; default: runs/<config name>.")


def main() -> None:
    """Train and print the result."""
    workdir = Path(_WORKDIR.value or Path("runs") / program.config_name())
    overrides = config_flags.get_override_values(flags.FLAGS["config"])
    traced = profile.parse(_PROFILE.value)
    with ConsoleReporter(quiet=not processes.is_main()) as reporter:
        result = run(
            program.prepare(_CONFIG.value),
            workdir,
            overrides,
            reporter,
            program.process_start(),
            max_wall_minutes=_MINUTES.value,
            profile=traced,
        )
        print_result(result, reporter)
        reporter.line(f"curves: {workdir / 'curves.png'}   record: {workdir / 'result.json'}")


def print_result(result: dict, reporter: ConsoleReporter) -> None:
    """The last evaluation, and the table of the members where there are any."""
    shown = {k: v for k, v in result["eval"].items() if k not in ("step", "epoch", "split")}
    reporter.line(f"after {result['steps']} updates: " + "  ".join(f"{k} {v:.4g}" for k, v in shown.items()))
    if "members" in result:
        reporter.table("test set", ensemble.columns(result["members"]), ensemble.cells(result["members"]))


if __name__ == "__main__":
    program.run(main)
