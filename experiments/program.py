"""What all programs share: flags, a clear word about mistakes, the compile cache, exit codes."""

import inspect
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from experiments import allocator


def _aborted(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print("aborted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _aborted  # while all that follows is imported, too
allocator.keep_pages()  # before anything starts threads
allocator.collect_rarely()

import jax  # noqa: E402
from absl import flags  # noqa: E402

from cs231n_jax.config import Config  # noqa: E402
from cs231n_jax.models import Precision  # noqa: E402
from cs231n_jax.train.loop import DivergedError  # noqa: E402
from cs231n_jax.train.processes import OtherProcessError  # noqa: E402
from cs231n_jax.train.record import WorkdirError  # noqa: E402
from cs231n_jax.train.signals import Interrupted  # noqa: E402
from cs231n_jax.train.snapshots import DamagedSnapshotError  # noqa: E402
from experiments import overrides  # noqa: E402
from experiments.overrides import UsageError  # noqa: E402

DONE, ERROR, USAGE, CONTINUE = 0, 1, 2, 75
EXPECTED = (
    ValueError,
    OSError,
    ImportError,
    WorkdirError,
    DivergedError,
    DamagedSnapshotError,
    OtherProcessError,
)
DEFAULT_CONFIG = Path(__file__).parent / "configs" / "digits_snapshots.py"

_DEBUG = flags.DEFINE_bool("debug", False, "Show the traceback of errors.")


def process_start() -> float:
    """time.time() when this process began, from the kernel where it tells."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
        uptime = float(Path("/proc/uptime").read_text().split()[0])
    except OSError:
        return _IMPORTED
    return time.time() - uptime + ticks / os.sysconf("SC_CLK_TCK")


_IMPORTED = time.time()


def define_config() -> flags.FlagHolder[Config]:
    """The --config flag: a file of experiments/configs, or of one's own, with an optional :argument."""
    from ml_collections import config_flags  # programs without a config do without it

    return config_flags.DEFINE_config_file("config", None, f"Config file[:argument]; default: {DEFAULT_CONFIG}.")


def config_name() -> str:
    """The config's file name and argument as one word: the default name of its run directory."""
    from ml_collections import config_flags

    text = config_flags.get_config_filename(flags.FLAGS["config"])
    path, _, argument = text.partition(":")
    if Path(path).stem == "replay":
        return f"{Path(argument).parent.name}_replay"
    return "_".join(filter(None, (Path(path).stem, argument.replace("/", "_"))))


def run(main: Callable[..., int | None]) -> None:
    """Parse the flags, run `main`, and exit: 0 done, 75 continue me, 1 error, 2 usage.

    A `main` with a parameter is given the arguments that are not flags; without one there may be none.
    """
    wants = bool(inspect.signature(main).parameters)
    if {"--help", "-h"} & set(sys.argv[1:]):
        shared = flags.FLAGS.module_help(sys.modules[__name__])
        print(sys.modules["__main__"].__doc__, flags.FLAGS.main_module_help(), shared, sep="\n")
        sys.exit(DONE)
    try:
        arguments = flags.FLAGS(_with_default_config(sys.argv))[1:]
        if arguments and not wants:
            raise UsageError(f"unexpected argument {arguments[0]!r}: options begin with --")
    except (flags.Error, UsageError, *EXPECTED) as error:
        sys.exit(_complain(error, USAGE))
    compile_cache()
    try:
        code = (main(arguments) if wants else main()) or DONE
    except UsageError as error:
        code = _complain(error, USAGE)
    except Interrupted as interrupted:
        print(f"{interrupted}; the same command finishes it", flush=True)
        code = CONTINUE
    except EXPECTED as error:
        if _DEBUG.value:
            traceback.print_exc()
        code = _complain(error, ERROR)
    except KeyboardInterrupt:
        print("aborted", file=sys.stderr)
        code = ERROR
    sys.exit(code)


def prepare(config: Config) -> Config:
    """Switch jax to 64 bits where a config computes in them; before the first array."""
    if config.model.dtype is Precision.FLOAT64:
        jax.config.update("jax_enable_x64", True)
    return config


def _with_default_config(argv: Sequence[str]) -> list[str]:
    """The command line with --config in it where the program has that flag, its overrides checked."""
    if "config" not in flags.FLAGS:
        return list(argv)
    if not any(word.lstrip("-").split("=")[0] == "config" for word in argv[1:]):
        argv = [argv[0], f"--config={DEFAULT_CONFIG}", *argv[1:]]
    overrides.check(argv[1:])
    return list(argv)


def compile_cache() -> None:
    """Keep compiled programs between processes, below $CS231N_JAX_CACHE or ~/.cache/cs231n_jax."""
    fallback = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cs231n_jax"
    root = Path(os.environ.get("CS231N_JAX_CACHE") or fallback)
    jax.config.update("jax_compilation_cache_dir", str(root / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.02)


def _complain(error: BaseException, code: int) -> int:
    text = str(error)
    if isinstance(error, OSError) and error.strerror and error.filename:
        text = f"{error.filename} cannot be used ({error.strerror}): mend it, or give another path"
    print(f"error: {' '.join(text.split())}", file=sys.stderr)
    return code
