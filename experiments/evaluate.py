"""Evaluate a snapshot of a run, in one pass or by averages over noise or views.

python -m experiments.evaluate --workdir=runs/a [--step=latest]
python -m experiments.evaluate --workdir=runs/a --marginalise=exact,mc:32,tta:flip,tta:shifts:1,tta:ten_crop:28

Ctrl-C, SIGTERM and SIGUSR1 end it with exit code 75.
"""

from experiments import program  # isort: skip  (first: it sets up the allocator)

from pathlib import Path

from absl import flags

from cs231n_jax.report.console import ConsoleReporter
from cs231n_jax.train import marginalise
from cs231n_jax.train.evaluate import evaluate_snapshot
from cs231n_jax.train.record import stored_config
from cs231n_jax.train.signals import StopRequest
from experiments.overrides import UsageError

_WORKDIR = flags.DEFINE_string("workdir", None, "Run directory.", required=True)
_STEP = flags.DEFINE_string("step", "latest", "Which snapshot: a step, or latest.")
_MARGINALISE = flags.DEFINE_list(
    "marginalise", None, f"Ways of predicting to compare, with commas between: {marginalise.ALLOWED}."
)
_TOGETHER = flags.DEFINE_integer(
    "together", marginalise.TOGETHER, "With --marginalise: passes or views in the network at once.", lower_bound=1
)


def main() -> None:
    """Print the metrics of one snapshot on the whole evaluation split."""
    ways = _ways()
    workdir = Path(_WORKDIR.value)
    program.prepare(stored_config(workdir))
    with ConsoleReporter() as reporter, StopRequest() as stop:
        if ways:
            step, found = marginalise.compare_snapshot(
                workdir, ways, _STEP.value, _TOGETHER.value, reporter.line, lambda: bool(stop)
            )
            columns, rows = marginalise.COLUMNS, marginalise.cells(found)
        else:
            step, numbers = evaluate_snapshot(workdir, _STEP.value, reporter.line, lambda: bool(stop))
            columns, rows = ("metric", "value"), [(name, f"{value:.6g}") for name, value in numbers.items()]
        reporter.table(f"{_WORKDIR.value}, snapshot at step {step}", columns, rows)


def _ways() -> list[marginalise.Way]:
    """What --marginalise asks for; nothing without it."""
    texts = _MARGINALISE.value
    if texts is None:
        return []
    if not texts:
        raise UsageError(f"--marginalise is empty: give some of {marginalise.ALLOWED}")
    try:
        return [marginalise.parse(text) for text in texts]
    except ValueError as error:
        raise UsageError(f"--marginalise={error}") from error


if __name__ == "__main__":
    program.run(main)
