"""A whole run in its directory: claim it, train, compare the members, leave the results."""

from pathlib import Path
from typing import Any

from cs231n_jax.config import Config
from cs231n_jax.report import plots
from cs231n_jax.train import ensemble, record, snapshots
from cs231n_jax.train.assemble import Assembly, assemble
from cs231n_jax.train.loop import Loop, Reporter
from cs231n_jax.train.signals import StopRequest


def run(config: Config, workdir: Path, overrides: dict[str, Any], reporter: Reporter, started: float) -> dict[str, Any]:
    """Train `config` in `workdir` from wherever that stands, and return the content of its result.json.

    Args:
        config: the run.
        workdir: its directory; made if need be.
        overrides: what was changed on the command line, for the record.
        reporter: told of the progress.
        started: time.time() at the start of the process.

    Raises:
        WorkdirError: the directory cannot be written, is in use, or holds another run.
        ValueError, FileNotFoundError: the config cannot run.
        DivergedError: gradients stopped being finite.
        Interrupted: a signal came; the same call continues.
    """
    with StopRequest() as stop, record.locked(workdir):
        assembly = assemble(config)
        record.claim(workdir, config, overrides)
        if (workdir / "result.json").exists():
            reporter.line(f"the run in {workdir} is finished; this is its result again")
            return _finished(workdir / "result.json")
        _note_environment(assembly, workdir, reporter)
        loop = Loop(assembly, workdir, reporter, stop, started)
        loop.run()
        result = _result(assembly, workdir, loop, stop)
        plots.curves(
            workdir / "curves.png",
            loop.metrics.read(),
            assembly.schedule,
            assembly.total_steps,
            assembly.member_steps(),
        )
        record.write_json(workdir / "result.json", result)
        return result


def _finished(path: Path) -> dict[str, Any]:
    """The result of a finished run, after a look at what is needed to show it."""
    result = record.read_json(path)
    rows = result.get("members", [])
    numbers = isinstance(result.get("eval"), dict) and all(
        isinstance(v, int | float | str) for v in result["eval"].values()
    )
    whole = (
        numbers and "steps" in result and all({"name", "accuracy", "loss", "wrong", "total"} <= set(r) for r in rows)
    )
    if not whole:
        raise record.WorkdirError(f"{path} is damaged: delete it, and the same command makes it again")
    return result


def _note_environment(assembly: Assembly, workdir: Path, reporter: Reporter) -> None:
    """Record where the run began; say what is different where it continues; refuse other data."""
    now, path = record.environment(assembly.fingerprints()), workdir / "environment.json"
    if not path.exists():
        record.write_json(path, now)
        return
    before = record.read_json(path)
    if before.get("data") != now["data"]:
        raise record.WorkdirError(
            f"the data is not what the run in {workdir} began with ({before.get('data')} → {now['data']}): "
            "restore the data, or pass another --workdir"
        )
    for difference in record.differences(before, now):
        reporter.line(f"the environment has changed since the run began, {difference}")


def _result(assembly: Assembly, workdir: Path, loop: Loop, stop: StopRequest) -> dict[str, Any]:
    last = {line["split"]: line for line in loop.metrics.read()}
    seconds = sum(line.get("seconds", 0.0) for line in loop.timing.read())
    result = {"steps": assembly.total_steps, "train_seconds": round(seconds, 1), **last}
    members = snapshots.members(workdir)
    if lost := sorted(set(assembly.member_steps()) - set(members)):
        result["lost_members"] = lost
        loop.reporter.line(f"the member snapshots at steps {', '.join(map(str, lost))} are gone: compared without them")
    if len(members) > 1:
        result["members"] = ensemble.compare(assembly, workdir, members, lambda: bool(stop))
    return result
