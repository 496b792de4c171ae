"""The lecture's claims, measured: each module has STUDIES, name -> study(workdir, quick) -> Result.

Those with long trainings have RUNS too, name -> train(workdir, quick, names of runs) -> what these found, in words.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Result(NamedTuple):
    """What a study found."""

    figure: Path  # a PNG
    numbers: dict[str, float]
    sentence: str  # the answer, with its numbers
    rows: Sequence[Mapping[str, Any]] = ()  # the numbers as a table, where they make one


Study = Callable[[Path, bool], Result]
Train = Callable[[Path, bool, Sequence[str]], list[str]]


def registry() -> dict[str, Study]:
    """All studies by name, from every module of this package."""
    return _gathered("STUDIES")


def trainings() -> dict[str, Train]:
    """By study, what does some of its runs ahead of it and keeps what they find."""
    return _gathered("RUNS")


def _gathered(table: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for module in pkgutil.iter_modules(__path__):
        found |= getattr(importlib.import_module(f"{__name__}.{module.name}"), table, {})
    return dict(sorted(found.items()))
