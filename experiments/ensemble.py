"""Compare member snapshots, alone and averaged in every way.

python -m experiments.ensemble --workdir=runs/a [--last=5 | --snapshots=100,200] [--save=runs/average]
python -m experiments.ensemble --workdir=runs/a,runs/b,runs/c --last=1
"""

from experiments import program  # isort: skip  (first: it sets up the allocator)

import errno
import os
from pathlib import Path

from absl import flags

from cs231n_jax.report import plots
from cs231n_jax.report.console import ConsoleReporter
from cs231n_jax.train import averaged, ensemble, members, record
from cs231n_jax.train.assemble import assemble_here
from cs231n_jax.train.signals import StopRequest
from experiments.overrides import UsageError

_WORKDIR = flags.DEFINE_list("workdir", None, "Run directory; several with commas between.", required=True)
_LAST = flags.DEFINE_integer("last", 0, "Only the newest so many members of each run; 0: all.", lower_bound=0)
_SNAPSHOTS = flags.DEFINE_list("snapshots", [], "The snapshots at these steps instead of the members.")
_LEAVE_OUT = flags.DEFINE_bool("leave_out_damaged", False, "Go on without members that are damaged.")
_TOGETHER = flags.DEFINE_integer(
    "together", 1, "Members that go through the network at once: faster on a GPU or TPU.", lower_bound=1
)
_SAVE = flags.DEFINE_string("save", "", "A new run directory for the average of the weights.")
_REPORT = flags.DEFINE_string(
    "report", "", "Where ensemble.json and ensemble.png go; default: the first run directory."
)


def main() -> None:
    """Print each member and the averages, how the members differ, and what their number is worth."""
    if _LAST.value and _SNAPSHOTS.value:
        raise UsageError("--last and --snapshots both choose members: give one of them")
    if wrong := [text for text in _SNAPSHOTS.value if not text.isdecimal()]:
        raise UsageError(f"--snapshots={wrong[0]!r} is no step: give numbers with commas between")
    if not _WORKDIR.value or not all(_WORKDIR.value):
        raise UsageError(f"--workdir={','.join(_WORKDIR.value)} leaves a run without a name: give run directories")
    workdirs = [Path(text) for text in _WORKDIR.value]
    report, saved = Path(_REPORT.value) if _REPORT.value else workdirs[0], Path(_SAVE.value)
    program.prepare(record.stored_config(workdirs[0]))  # the others must have its dtype
    with ConsoleReporter() as reporter, StopRequest() as stop:
        steps = [int(text) for text in _SNAPSHOTS.value]
        chosen = members.find(workdirs, _LAST.value, steps, reporter.line if _LEAVE_OUT.value else None)
        for workdir in [] if steps else workdirs:
            if gone := ", ".join(map(str, members.gone(workdir))):
                reporter.line(f"the member snapshots of {workdir} at steps {gone} are gone: compared without them")
        if _SAVE.value:
            averaged.check(chosen, saved)
        _check_report(report)
        found = ensemble.compare(
            assemble_here(members.reference(chosen)[1]),
            chosen,
            lambda: bool(stop),
            thorough=True,
            together=_TOGETHER.value,
        )
        _show(found, reporter)
        if _SAVE.value:
            reporter.line(f"average of weights: {averaged.save(chosen, found.weights, saved)}")
            if len(workdirs) > 1:
                reporter.line("weights of runs that began differently seldom average well: compare its row above")
        content = {"members": averaged.origin(chosen), "rows": found.rows, "pairs": found.pairs, "sizes": found.sizes}
        record.write_json(report / "ensemble.json", content)
        plots.ensemble(report / "ensemble.png", found.rows, found.sizes)
        reporter.line(f"figure: {report / 'ensemble.png'}   record: {report / 'ensemble.json'}")


def _check_report(folder: Path) -> None:
    """Refuse a folder that cannot be written, before anything is computed."""
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


def _show(found: ensemble.Comparison, reporter: ConsoleReporter) -> None:
    reporter.table(f"{_WORKDIR.value[0]}, test set", ensemble.columns(found.rows), ensemble.cells(found.rows))
    if found.pairs:
        columns = ("", "", "disagreement", "correlation of errors")
        reporter.table("how members differ", columns, ensemble.pair_cells(found.pairs))
    sizes = [(str(s["members"]), f"{s['accuracy']:.2%}", f"{s['standard_error']:.2%}") for s in found.sizes]
    reporter.table("newest members averaged", ("members", "accuracy", "standard error"), sizes)


if __name__ == "__main__":
    program.run(main)
