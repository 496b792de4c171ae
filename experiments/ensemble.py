"""Compare the member snapshots of a run: python -m experiments.ensemble --workdir=runs/a [--last=5]."""

from experiments import program  # isort: skip  (first: it sets up the allocator)

from pathlib import Path

from absl import flags

from cs231n_jax.report.console import ConsoleReporter
from cs231n_jax.train import ensemble
from cs231n_jax.train.record import stored_config
from cs231n_jax.train.signals import StopRequest

_WORKDIR = flags.DEFINE_string("workdir", None, "Run directory.", required=True)
_LAST = flags.DEFINE_integer("last", 0, "Only the newest so many members; 0: all.", lower_bound=0)


def main() -> None:
    """Print each member, the average of predictions, the average of weights."""
    program.prepare(stored_config(Path(_WORKDIR.value)))
    with ConsoleReporter() as reporter, StopRequest() as stop:
        rows = ensemble.compare_run(Path(_WORKDIR.value), _LAST.value, lambda: bool(stop))
        reporter.table(f"{_WORKDIR.value}, test set", ensemble.COLUMNS, ensemble.cells(rows))


if __name__ == "__main__":
    program.run(main)
