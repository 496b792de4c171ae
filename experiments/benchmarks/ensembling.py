"""Averaging the predictions of five ResNet-20 members over 10,000 images, beside the evaluation of one.

Members are read from their snapshots, checked, and evaluated one after another. "Peak" is of other members, wide enough
to be seen (39 MB each, over 100 images), and of a process of its own for each row: how far its largest resident set
rises above what it holds before the first member is read, compilation included; malloc gives freed memory back at once
there. The last row holds all five at once through their evaluation, for comparison.
"""

import dataclasses
import multiprocessing
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from cs231n_jax.config import Config
from cs231n_jax.data import DataConfig
from cs231n_jax.models import ModelConfig
from cs231n_jax.train import members as member_snapshots
from cs231n_jax.train import record, snapshots
from cs231n_jax.train.assemble import assemble
from cs231n_jax.train.evaluator import Evaluator
from cs231n_jax.train.members import Member
from experiments.allocator import give_back
from experiments.benchmarks import rounds

TITLE = "Averaging predictions of ResNet-20 members over 10,000 images (s; ratio to one member, its 95 % interval; MB)"
MEMBERS = 5
WIDE = 96  # channels of the first stage of the members whose memory is measured; 16 of the others


def run(quick: bool) -> list[dict]:
    """One member and five; and the memory of five at once.

    Args:
        quick: 1,000 images, two rounds instead of four, and narrow members.

    Returns:
        one row for each number of members, and one more of memory alone.
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
    peaks = _peaks(16 if quick else WIDE)
    rows = []
    for count in programs:
        ratio, low, high = rounds.ratio(seconds[str(count)], seconds["1"])
        row = {"members": count, "seconds": round(float(np.median(seconds[str(count)])), 3), "ratio": round(ratio, 3)}
        rows.append(row | {"low": round(low, 3), "high": round(high, 3), "peak": round(peaks[count, False] / 1e6, 1)})
    return [*rows, {"members": f"{MEMBERS} at once", "peak": round(peaks[MEMBERS, True] / 1e6, 1)}]


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


def _peaks(width: int) -> dict[tuple[int, bool], int]:
    """Bytes by (members, all at once?)."""
    data = DataConfig(name="synthetic:32x32x3:10:500", eval_batch_size=100)
    config = Config(model=ModelConfig(name="resnet20", options={"width": width}), data=data)
    with tempfile.TemporaryDirectory() as root:
        record.claim(Path(root), config, {})
        chosen = [_member(config, Path(root), seed) for seed in range(MEMBERS)]
        found = {}
        for count, at_once in ((1, False), (MEMBERS, False), (MEMBERS, True)):
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                found[count, at_once] = process.submit(_peak, config, chosen[:count], at_once).result()
    return found


def _peak(config: Config, members: list[Member], at_once: bool) -> int:
    """Bytes by which this process's largest resident set exceeds the one before the first member is read (Linux)."""
    give_back()
    evaluator = Evaluator(assemble(config))
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = _resident("VmHWM")
    held = [member_snapshots.load(member) for member in members] if at_once else []
    _averaging(evaluator, members)()
    peak = _resident("VmHWM") - before
    del held
    return peak


def _resident(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
