"""Averaging the predictions of five ResNet-20 members over 10,000 images, beside the evaluation of one.

Members are read from their snapshots, checked, and evaluated one after another. "Peak" is how much the process's
largest resident set exceeds what it holds before the call; the programs are compiled by then.
"""

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cs231n_jax.config import Config
from cs231n_jax.data import DataConfig
from cs231n_jax.models import ModelConfig
from cs231n_jax.train import record, snapshots
from cs231n_jax.train.assemble import assemble
from cs231n_jax.train.evaluator import Evaluator
from cs231n_jax.train.members import Member
from experiments.benchmarks import rounds

TITLE = "Averaging predictions of ResNet-20 members over 10,000 images (s; ratio to one member, its 95 % interval; MB)"
MEMBERS = 5


def run(quick: bool) -> list[dict]:
    """One member and five.

    Args:
        quick: 1,000 images and two rounds instead of four.

    Returns:
        one row for each number of members.
    """
    data = DataConfig(name=f"synthetic:32x32x3:10:{5_000 if quick else 50_000}", eval_batch_size=500)
    config = Config(model=ModelConfig(name="resnet20"), data=data)
    assembly = assemble(config)
    with tempfile.TemporaryDirectory() as root:
        record.claim(Path(root), config, {})
        chosen = [_member(config, Path(root), seed) for seed in range(MEMBERS)]
        evaluator = Evaluator(assembly)
        programs = {count: _averaging(evaluator, chosen[:count]) for count in (1, MEMBERS)}
        seconds = rounds.interleave({str(count): program for count, program in programs.items()}, 2 if quick else 4)
        peaks = {count: _peak(program) for count, program in programs.items()}
    rows = []
    for count in programs:
        ratio, low, high = rounds.ratio(seconds[str(count)], seconds["1"])
        row = {"members": count, "seconds": round(float(np.median(seconds[str(count)])), 3), "ratio": round(ratio, 3)}
        rows.append(row | {"low": round(low, 3), "high": round(high, 3), "peak": round(peaks[count] / 1e6, 1)})
    return rows


def _member(config: Config, root: Path, seed: int) -> Member:
    """A snapshot of the first parameters of a seed."""
    state = assemble(dataclasses.replace(config, seed=seed)).new_state()
    snapshots.save_weights(root, seed + 1, state.params, state.model_state, {})
    return Member(root, seed + 1)


def _averaging(evaluator: Evaluator, members: list[Member]) -> Callable[[], np.ndarray]:
    def average() -> np.ndarray:
        total = np.zeros(())
        for logs in evaluator.of_each(members):
            total = total + np.exp(logs)
        return total / len(members)

    return average


def _peak(call: Callable[[], object]) -> int:
    """Bytes by which the largest resident set during a call exceeds the one before it (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = _resident("VmHWM")
    call()
    return _resident("VmHWM") - before


def _resident(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
