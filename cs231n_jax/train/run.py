"""A whole run in its directory: claim it, train, compare the members, leave the results."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cs231n_jax.config import Config, to_json
from cs231n_jax.report import plots
from cs231n_jax.train import ensemble, initial, processes, record, snapshots
from cs231n_jax.train.assemble import Assembly, assemble
from cs231n_jax.train.loop import Loop, Reporter
from cs231n_jax.train.members import Member
from cs231n_jax.train.signals import StopRequest


def run(
    config: Config,
    workdir: Path,
    overrides: dict[str, Any],
    reporter: Reporter,
    started: float,
    *,
    max_wall_minutes: float = 0.0,
    profile: tuple[int, int] = (0, 0),
) -> dict[str, Any]:
    """Train `config` in `workdir` from wherever that stands, and return the content of its result.json.

    Args:
        config: the run.
        workdir: its directory; made if need be.
        overrides: what was changed on the command line, for the record.
        reporter: told of the progress.
        started: time.time() at the start of the process.
        max_wall_minutes: save and raise Interrupted before so many minutes since `started` have passed; 0: no limit.
        profile: trace the updates from the first to the second number into workdir/profile; (0, 0): none.

    Raises:
        WorkdirError: the directory cannot be written, is in use, or holds another run.
        ValueError, FileNotFoundError: the config cannot run.
        DivergedError: gradients stopped being finite.
        Interrupted: a signal came, or the time is nearly over; the same call continues.
        OtherProcessError: of several processes, process 0 raised one of these.

    Of several processes each calls this; process 0 alone holds the lock and writes what is not a snapshot.
    """
    with StopRequest(max_wall_minutes, started) as stop, ExitStack() as held:
        processes.on_main(lambda: held.enter_context(record.locked(workdir)))
        assembly = assemble(config, lambda: bool(stop))
        processes.same("config", json.dumps(to_json(config)))
        processes.on_main(lambda: record.claim(workdir, config, overrides))
        if processes.agree((workdir / "result.json").exists()):
            reporter.line(f"the run in {workdir} is finished; this is its result again")
            return _finished(workdir / "result.json")
        processes.on_main(lambda: _note_environment(assembly, workdir, reporter))
        loop = Loop(assembly, workdir, reporter, stop, started, profile)
        loop.run()
        rows, lost = _compare(assembly, workdir, reporter, stop)
        processes.on_main(lambda: _conclude(assembly, workdir, loop, rows, lost))
        return record.read_json(workdir / "result.json")


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
    """Record where the run began; say what is different where it continues; refuse other data, and an average."""
    now, path = record.environment(assembly.fingerprints()), workdir / "environment.json"
    if not path.exists():
        if (step := snapshots.latest_good(workdir)) is not None:
            snapshots.refuse_weights_alone(workdir, step)
        for source in (assembly.train_source, assembly.eval_source):
            for what, count in getattr(source, "noticed", {}).items():
                reporter.line(f"{source.info.name} {source.info.split}: {count} {what}")
        if words := assembly.train_source.info.vocabularies:
            record.write_json(workdir / "vocabularies.json", {name: one.to_json() for name, one in words.items()})
        for text in initial.told(assembly.config.initial, assembly.state_shapes.params):
            reporter.line(text)
        record.write_json(path, {**now, **initial.digest(assembly.config.initial)})
        return
    before = record.read_json(path)
    if before.get("data") != now["data"]:
        raise record.WorkdirError(
            f"the data is not what the run in {workdir} began with ({before.get('data')} → {now['data']}): "
            "restore the data, or pass another --workdir"
        )
    before.pop("initial", None)  # read at the beginning alone
    for difference in record.differences(before, now):
        reporter.line(f"the environment has changed since the run began, {difference}")


def _compare(
    assembly: Assembly, workdir: Path, reporter: Reporter, stop: StopRequest
) -> tuple[list[ensemble.Row], list[int]]:
    """The table of the members, empty if there are not two, and the steps of those that are gone."""
    members = snapshots.members(workdir)
    if lost := sorted(set(assembly.member_steps()) - set(members)):
        reporter.line(f"the member snapshots at steps {', '.join(map(str, lost))} are gone: compared without them")
    if len(members) < 2:
        return [], lost
    chosen = [Member(workdir, step) for step in members]
    return ensemble.compare(assembly, chosen, lambda: processes.anyone(bool(stop))).rows, lost


def _conclude(assembly: Assembly, workdir: Path, loop: Loop, rows: list[ensemble.Row], lost: list[int]) -> None:
    """Write curves.png and, last, result.json."""
    lines = loop.metrics.read()
    plots.curves(workdir / "curves.png", lines, assembly.schedule, assembly.total_steps, assembly.member_steps())
    last = {line["split"]: line for line in lines}
    seconds = sum(line.get("seconds", 0.0) for line in loop.timing.read())
    result = {"steps": assembly.total_steps, "train_seconds": round(seconds, 1), **last}
    result |= {"lost_members": lost} if lost else {}
    result |= {"members": rows} if rows else {}
    record.write_json(workdir / "result.json", result)
