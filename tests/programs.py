"""The programs, each in a process of its own that begins with their imports done: most of what starting one costs."""

import atexit
import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import jax

ROOT = Path(__file__).parents[1]
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    [
        "tests.programs",
        "tests.train.shortest",
        "orbax.checkpoint",
        "rich.progress",
        "matplotlib.backends.backend_agg",
        "matplotlib.figure",
        "jaxlib.mlir.dialects.mhlo",
    ]
)


def ready() -> None:
    """Wait for the imports of the server that starts processes: whoever looks at a clock next does not count them."""
    process = PROCESSES.Process(target=_nothing)
    process.start()
    process.join()


def _nothing() -> None:
    """What a process does that is to show that one can be started."""


class Started:
    """`python -m experiments.PROGRAM WORDS…` at the root of the repository, under way."""

    def __init__(self, program: str, *words: object):
        self.words, self._folder = [program, *map(str, words)], tempfile.TemporaryDirectory()
        self._printed = [Path(self._folder.name) / name for name in ("out", "err")]
        given = (program, self.words[1:], *self._printed, dict(os.environ))
        self._process = PROCESSES.Process(target=_become, args=given)
        self._process.start()

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid or 0

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._process.is_alive()

    def handles(self, number: signal.Signals) -> bool:
        """Whether it has a handler of its own for a signal yet, as the kernel of Linux tells."""
        assert self.runs
        status = Path(f"/proc/{self.pid}/status").read_text()
        return bool(int(status.partition("SigCgt:")[2].split()[0], 16) >> (number - 1) & 1)

    def send(self, number: signal.Signals) -> None:
        """A signal, if it still runs."""
        if self.runs:
            os.kill(self.pid, number)

    def end(self, seconds: float = 300) -> CompletedProcess:
        """Its end, with what it printed. To be called once, also of a process that was killed."""
        self._process.join(seconds)
        late = self.runs
        if late:
            self._process.kill()
            self._process.join()
        texts = [path.read_text() if path.exists() else "" for path in self._printed]
        self._folder.cleanup()
        if late:
            raise TimeoutError(f"{' '.join(self.words)} is not at its end after {seconds} s")
        return CompletedProcess(self.words, self._process.exitcode or 0, *texts)


def run(program: str, *words: object) -> CompletedProcess:
    """The end of a program, with what it printed."""
    return Started(program, *words).end()


def on_terminal(place: Path, program: str, *words: object) -> BaseProcess:
    """A program that has begun to print on the terminal at a place in /dev."""
    process = PROCESSES.Process(target=_become, args=(program, [*map(str, words)], place, place, dict(os.environ)))
    process.start()
    return process


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


def launched(words: list[str], log: Path, supervised: bool) -> None:
    """`python launch/multihost.py WORDS…` with four devices, in this process; what it prints goes to a file.

    Args:
        words: its arguments.
        log: the file.
        supervised: start the child that the launcher watches, which has all imports before it; False: be that child.
    """
    os.environ["JAX_NUM_CPU_DEVICES"] = "4"
    jax.config.update("jax_num_cpu_devices", 4)
    if not supervised:
        os.environ["CS231N_JAX_SUPERVISOR"] = str(os.getppid())
    _print_to(log, log)
    os.chdir(ROOT)
    sys.argv = ["launch/multihost.py", *words]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # jax takes leave of the other processes there; a forked process runs none by itself


def _print_to(out: Path, err: Path) -> None:
    for stream, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), stream)


def _become(program: str, words: list[str], out: Path, err: Path, environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    _print_to(out, err)
    os.chdir(ROOT)
    sys.argv = [program, *words]
    runpy.run_module(f"experiments.{program}", run_name="__main__", alter_sys=True)
