"""Runs a program as one of several processes that train together, through jax.distributed.

    python launch/multihost.py --coordinator=n1:8476 --process_id=0 --processes=2 experiments.train --workdir=/shared/a
    srun python launch/multihost.py experiments.train --workdir=/shared/a      # Slurm: one process a task
    python launch/multihost.py experiments.train --workdir=gs-mount/a          # TPU VM, or a Kubernetes JobSet

Start it once for each process, with the same program and the same arguments. The options of this launcher come before
the program's name. The run directory must be on a file system that all processes share; process 0 writes the records,
all write their shards of the snapshots. If one process dies the others end with an error within --timeout seconds;
the same commands again continue the run.
"""

import argparse
import ctypes
import os
import runpy
import shlex
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

PORT = 8476
CONTINUE = 75  # exit code of what was saved and can go on
SUPERVISOR = "CS231N_JAX_SUPERVISOR"  # process id of the launcher that watches this process
AGAIN = "the same command in every process continues the run"
TRANSFER = ("Gloo", "NCCL", "coordination service")  # in what jax says when data cannot reach another process
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def jobset(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """Place in a Kubernetes JobSet whose containers are given these variables (see launch/gke_jobset.yaml)."""
    names = (
        "JOBSET_NAME",
        "REPLICATED_JOB_NAME",
        "JOB_INDEX",
        "JOB_COMPLETION_INDEX",
        "JOB_PODS",
        "REPLICATED_JOB_COUNT",
    )
    if any(name not in environment for name in names):
        return None
    jobset_name, group, job, pod, pods, jobs = (environment[name] for name in names)
    return {
        "coordinator_address": f"{jobset_name}-{group}-0-0.{jobset_name}:{PORT}",
        "num_processes": int(pods) * int(jobs),
        "process_id": int(job) * int(pods) + int(pod),
    }


def slurm(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """Slurm's own variables, read by jax: the first node coordinates.

    A task that sees one GPU takes it (Slurm binds one to each task); of several visible ones a task takes that of its
    number on the node, and a task that is alone on its node takes all.
    """
    names = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
    if any(name not in environment for name in names):
        return None
    visible = len([gpu for gpu in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu])
    alone = environment.get("SLURM_NTASKS") == environment.get("SLURM_STEP_NUM_NODES", environment.get("SLURM_NNODES"))
    found: dict[str, Any] = {"cluster_detection_method": "slurm"}
    if visible == 1 or (visible and alone):
        found["local_device_ids"] = list(range(visible))
    return found


def tpu(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """The metadata of a TPU VM, read by jax."""
    found = Path("/dev/accel0").exists() or Path("/dev/vfio/0").exists() or "TPU_WORKER_ID" in environment
    return {} if found else None


DETECTORS = {"Kubernetes JobSet": jobset, "Slurm": slurm, "TPU VM": tpu}  # the first that applies is used


def place(options: argparse.Namespace, environment: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """What told this process its place, and the arguments for jax.distributed.initialize.

    Raises:
        ValueError: nothing did, or the options are incomplete or out of range.
    """
    given = {
        "coordinator_address": options.coordinator,
        "num_processes": options.processes,
        "process_id": options.process_id,
    }
    missing = [name for name, value in given.items() if value is None]
    if not missing:
        if not 0 <= options.process_id < options.processes:
            raise ValueError(f"--process_id={options.process_id} must lie in 0 … {options.processes - 1}")
        if not options.coordinator.rpartition(":")[2].isdecimal() or ":" not in options.coordinator:
            raise ValueError(f"--coordinator={options.coordinator} must be HOST:PORT, such as node1:{PORT}")
        return "options", given
    if len(missing) < len(given):
        raise ValueError("--coordinator, --process_id and --processes belong together: give all three or none")
    for name, detect in DETECTORS.items():
        found = detect(environment)
        if found is not None:
            return name, found
    raise ValueError(
        f"this is no {', '.join(DETECTORS)} process: give --coordinator=HOST:{PORT} --process_id=I --processes=N"
    )


def parse(arguments: list[str]) -> argparse.Namespace:
    """The launcher's options, the module to run, and the module's own arguments."""
    parser = argparse.ArgumentParser(
        prog="multihost.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--coordinator", help="HOST:PORT where process 0 can be reached")
    parser.add_argument("--process_id", type=int, help="number of this process, from 0")
    parser.add_argument("--processes", type=int, help="how many there are")
    parser.add_argument("--timeout", type=int, default=100, help="seconds after which a silent process counts as dead")
    parser.add_argument("--start_timeout", type=int, default=300, help="seconds to wait for all processes to start")
    parser.add_argument("--dry-run", action="store_true", help="say what would be run, and end")
    parser.add_argument("module", help="such as experiments.train")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="for the module")
    return parser.parse_args(arguments)


def supervise(arguments: list[str], timeout: int) -> int:
    """Run this launcher again as a child that does the work, hand signals on to it, and return its exit code.

    jax ends a process that has lost another one by abort(), which no handler in it survives: the word about it, and an
    ordinary exit code, have to come from outside.
    """
    command = [sys.executable, __file__, *arguments]
    child = subprocess.Popen(command, env={**os.environ, SUPERVISOR: str(os.getpid())}, start_new_session=True)
    asked: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, lambda received, frame: (asked.append(received), child.send_signal(received)))
    while (code := _wait(child)) is None:
        for number in {*asked} - {signal.SIGINT}:  # again: jax swallows what comes while it starts
            child.send_signal(number)
    if code >= 0:
        return code
    ended_by = signal.Signals(-code)
    if ended_by in asked:
        print(f"{ended_by.name} before the run had begun; the same command starts it", file=sys.stderr)
        return CONTINUE
    if ended_by is signal.SIGABRT:
        reason = f"another process of this run died or was silent for {timeout} s, for which jax aborts this one"
    else:
        reason = f"this process was ended by {ended_by.name}"
    print(f"error: {reason}; {AGAIN}", file=sys.stderr)
    return 1


def _wait(child: subprocess.Popen) -> int | None:
    try:
        return child.wait(timeout=5)
    except subprocess.TimeoutExpired:
        return None


def end_with_the_supervisor() -> None:
    """Let the kernel kill this process when its supervisor is killed; only Linux can."""
    supervisor = int(os.environ[SUPERVISOR])
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:
        sys.exit(1)


def join(options: argparse.Namespace, where: dict[str, Any]) -> None:
    """Join the other processes, then run the module as if `python -m` had started it in the repository's root."""
    sys.path[0] = str(Path(__file__).parents[1])
    from experiments import allocator

    allocator.keep_pages()  # before anything starts threads
    import jax

    patience = {"heartbeat_timeout_seconds": options.timeout, "shutdown_timeout_seconds": options.timeout}
    try:
        jax.distributed.initialize(**where, **patience, initialization_timeout=options.start_timeout)
        sys.argv = [options.module, *options.arguments]
        runpy.run_module(options.module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code not in (None, 0, CONTINUE):
            _leave(end.code if isinstance(end.code, int) else 1)
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # all is saved: a signal must not break the common end
        raise
    except BaseException as error:
        if isinstance(error, jax.errors.JaxRuntimeError) and any(word in str(error) for word in TRANSFER):
            reason = str(error).splitlines()[0]
            print(f"error: another process of this run died: {reason}; {AGAIN}", file=sys.stderr)
        else:
            traceback.print_exc()
        _leave(1)


def _leave(code: int) -> NoReturn:
    """End at once: an ordinary end would first wait for the other processes, which wait for this one."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main(arguments: list[str]) -> int:
    """Say what would be run, supervise, or join the others and work."""
    options = parse(arguments)
    try:
        told_by, where = place(options, os.environ)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.dry_run:
        shown = ", ".join(f"{name}={value!r}" for name, value in where.items()) or "by metadata"
        print(f"place from {told_by}: {shown}")
        print("would run:", shlex.join(("python", "-m", options.module, *options.arguments)))
        return 0
    if SUPERVISOR not in os.environ:
        return supervise(arguments, options.timeout)
    end_with_the_supervisor()
    join(options, where)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
