"""The seeds of a study: runs in directories of their own, what each seed found kept beside them, errors over seeds."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cs231n_jax.config import Config
from cs231n_jax.train import record
from cs231n_jax.train.loop import Silent
from cs231n_jax.train.run import run
from cs231n_jax.train.signals import Interrupted, StopRequest
from experiments import pages


def trained(config: Config, workdir: Path) -> Path:
    """Train without a word in `workdir`, from wherever that stands; returns it.

    Raises:
        Interrupted: a signal came, be it too late for the run itself.
    """
    with StopRequest() as stop:
        run(config, workdir, {}, Silent(), 0.0)
        if stop:
            raise Interrupted(f"interrupted when the run in {workdir} had ended")
    return workdir


def kept(path: Path, setting: Mapping[str, Any], measure: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """What a seed found: from `path`, where an earlier call left it, or measured and left there.

    Args:
        path: seedN.json.
        setting: plain values that a finding belongs to.
        measure: finds something of each way that is compared, by name.

    Raises:
        ValueError: it was found with another setting.
    """
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["setting"] != json.loads(json.dumps(setting)):
            raise ValueError(f"{path} was found with another setting of the study: give another --workdir")
        return found["ways"]
    ways = measure()
    path.parent.mkdir(parents=True, exist_ok=True)
    record.write_json(path, {"where": pages.where(), "setting": setting, "ways": ways})
    return ways


def error(values: np.ndarray) -> float:
    """The standard error of a mean over seeds; not a number for one seed."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else math.nan


def told(mean: float, spread: float, digits: int) -> str:
    """A change and its error as text; the change alone where one seed has no error."""
    return f"{mean:+.{digits}f}" + ("" if math.isnan(spread) else f" ± {spread:.{digits}f}")
