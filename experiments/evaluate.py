"""Evaluate a snapshot of a run: python -m experiments.evaluate --workdir=runs/a [--step=latest]."""

from experiments import program  # isort: skip  (first: it sets up the allocator)

from pathlib import Path

from absl import flags

from cs231n_jax.report.console import ConsoleReporter
from cs231n_jax.train.evaluate import evaluate_snapshot
from cs231n_jax.train.record import stored_config

_WORKDIR = flags.DEFINE_string("workdir", None, "Run directory.", required=True)
_STEP = flags.DEFINE_string("step", "latest", "Which snapshot: a step, or latest.")


def main() -> None:
    """Print the metrics of one snapshot on the whole evaluation split."""
    program.prepare(stored_config(Path(_WORKDIR.value)))
    with ConsoleReporter() as reporter:
        step, numbers = evaluate_snapshot(Path(_WORKDIR.value), _STEP.value, reporter.line)
        rows = [(name, f"{value:.6g}") for name, value in numbers.items()]
        reporter.table(f"{_WORKDIR.value}, snapshot at step {step}", ("metric", "value"), rows)


if __name__ == "__main__":
    program.run(main)
