"""What a config would do, without doing it: python -m experiments.plan --config=experiments/configs/NAME.py."""

from experiments import program  # isort: skip  (first: it sets up the allocator)

from pathlib import Path

from absl import flags

from cs231n_jax.report import plots
from cs231n_jax.report.console import ConsoleReporter
from cs231n_jax.train import plan
from cs231n_jax.train.assemble import assemble

_CONFIG = program.define_config()
_WORKDIR = flags.DEFINE_string("workdir", "", "Where to draw the learning rate; default: runs/plan_<config name>.")


def main() -> None:
    """Print sizes and durations, draw the learning rate."""
    assembly = assemble(program.prepare(_CONFIG.value))
    with ConsoleReporter() as reporter:
        reporter.table(program.config_name(), ("", "plan"), plan.rows(plan.plan(assembly)))
    workdir = Path(_WORKDIR.value or Path("runs") / f"plan_{program.config_name()}")
    figure = plots.learning_rate(workdir / "learning_rate.png", assembly.schedule, assembly.total_steps)
    print(f"learning rate: {figure}")


if __name__ == "__main__":
    program.run(main)
