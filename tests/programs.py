"""The programs, each in a process of its own that begins with their imports done: most of what starting one costs."""

import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import jax

ROOT = Path(__file__).parents[1]
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["tests.programs", "tests.train.shortest", "orbax.checkpoint", "rich.progress", "matplotlib.backends.backend_agg"]
)


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


def as_users_have(function: Callable[[], Any]) -> Any:
    """What a function of a module returns in a new process, where all is compiled as it is for users."""
    receiving, sending = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=_tell, args=(function, sending))
    process.start()
    sending.close()
    with receiving:
        try:
            return receiving.recv()
        except EOFError:
            raise RuntimeError(f"{function.__name__} raised in its process; its output has the traceback") from None
        finally:
            process.join()


def _tell(function: Callable[[], Any], sending: Connection) -> None:
    os.environ.pop("XLA_FLAGS", None)
    jax.config.update("jax_disable_most_optimizations", False)
    with sending:
        sending.send(function())


def _become(program: str, words: list[str], out: Path, err: Path, environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for stream, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), stream)
    os.chdir(ROOT)
    sys.argv = [program, *words]
    runpy.run_module(f"experiments.{program}", run_name="__main__", alter_sys=True)
