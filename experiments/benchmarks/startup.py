"""Seconds from starting a process to its first finished update: ResNet-20, batch 128, 32×32×3, synthetic images."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

TITLE = "process start to first finished update, ResNet-20 at batch 128 (s)"

ROOT = Path(__file__).parents[2]
TRAIN = (
    "experiments.train",
    "--config=experiments/configs/cifar10_resnet.py:resnet20",
    "--config.data.name=synthetic",
    "--config.train.steps=1",
)


def run(quick: bool) -> list[dict]:
    """Ours with an empty and with a warm compile cache, a plain Flax and optax script, and torch where it is installed.

    Args:
        quick: one process each instead of five.

    Returns:
        one row a program: its name, the median, the smallest and the largest of the seconds, and the number of runs.
    """
    repeats = 1 if quick else 5
    programs = {"cs231n_jax, empty compile cache": _ours_cold, "cs231n_jax, warm compile cache": _ours_warm}
    programs["flax + optax script"] = lambda: _rival("plain_flax")
    if find_spec("torch"):
        programs["torch script"] = lambda: _rival("plain_torch")
    with tempfile.TemporaryDirectory() as cache:
        os.environ["CS231N_JAX_CACHE"] = cache
        _ours_warm()  # fills the cache, and the disk cache with the libraries
        seconds: dict[str, list[float]] = {name: [] for name in programs}
        for _ in range(repeats):  # interleaved, so that a busy moment hits all of them
            for name, program in programs.items():
                seconds[name].append(program())
    return [
        {
            "program": name,
            "median": round(statistics.median(values), 2),
            "min": round(min(values), 2),
            "max": round(max(values), 2),
            "runs": len(values),
        }
        for name, values in seconds.items()
    ]


def _ours_cold() -> float:
    with tempfile.TemporaryDirectory() as empty:
        return _ours({"CS231N_JAX_CACHE": empty})


def _ours_warm() -> float:
    return _ours({})


def _ours(environment: dict[str, str]) -> float:
    """The real program, by the clock of its own record."""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", *TRAIN, f"--workdir={directory}/run"]
        subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=True, capture_output=True)
        first = (Path(directory) / "run" / "timing.jsonl").read_text().splitlines()[0]
        return json.loads(first)["process_start_to_first_update"]


def _rival(name: str) -> float:
    """A script that prints time.time() after its first update."""
    before = time.time()
    command = [sys.executable, "-m", f"experiments.benchmarks.{name}"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1]) - before
