"""The programs, each in a process of its own that begins with their imports done: most of what starting one costs."""

import multiprocessing
import os
import runpy
import sys
import tempfile
from pathlib import Path
from subprocess import CompletedProcess

ROOT = Path(__file__).parents[1]
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.programs", "tests.train.shortest", "orbax.checkpoint", "rich.progress"])


def run(program: str, *words: object) -> CompletedProcess:
    """The end of `python -m experiments.PROGRAM WORDS…` at the root of the repository, with what it printed."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = (Path(folder) / name for name in ("out", "err"))
        process = PROCESSES.Process(target=_become, args=(program, [*map(str, words)], out, err, dict(os.environ)))
        process.start()
        process.join(300)
        if process.is_alive():
            process.kill()
            raise TimeoutError(f"{program} {' '.join(map(str, words))} is not at its end after 300 s")
        return CompletedProcess([program, *words], process.exitcode, out.read_text(), err.read_text())


def _become(program: str, words: list[str], out: Path, err: Path, environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for stream, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), stream)
    os.chdir(ROOT)
    sys.argv = [program, *words]
    runpy.run_module(f"experiments.{program}", run_name="__main__", alter_sys=True)
