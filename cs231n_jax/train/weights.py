"""Where the weights lie that a run begins with or looks through: a file, or another run."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cs231n_jax.interop import published
from cs231n_jax.train import snapshots
from cs231n_jax.typing import ModelState, Params

DIRECTORY = "CS231N_WEIGHTS_DIR"


def find(field: str, given: str) -> Path:
    """A path from the working directory or, where there is nothing, from $CS231N_WEIGHTS_DIR.

    Raises:
        FileNotFoundError: there is nothing in either place; `field` names what was given.
    """
    path, root = Path(given).expanduser(), os.environ.get(DIRECTORY, "")
    places = [path, *([Path(root).expanduser() / path] if root else [])]
    if found := next((place for place in places if place.exists()), None):
        return found
    where = " or ".join(map(str, places)) + ("" if root else f", and {DIRECTORY} names no folder to look in")
    raise FileNotFoundError(
        f"{field}={given!r}: there is nothing at {where}; give a file of weights (experiments.import_weights writes "
        "one) or a run directory"
    )


def load(field: str, given: str, name: str, options: Mapping[str, Any]) -> tuple[Params, ModelState]:
    """Parameters and state from a file, as `published.load`, or from the newest whole snapshot of a run.

    Args:
        field: the config's field, for messages.
        given: its value.
        name: the model that the weights are of; read for names of torch and Caffe.
        options: of that model.

    Raises:
        FileNotFoundError: there is no such file, or no snapshot in the run directory.
        ValueError: the file is damaged, or holds the weights of another model.
    """
    path = find(field, given)
    if path.is_dir():
        return snapshots.load(path)[1:]
    try:
        return published.load(path, name, **options)
    except ValueError as error:
        raise ValueError(f"{field}={given!r}: {error}") from None
