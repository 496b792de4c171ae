"""The lecture's claims, measured: each module has STUDIES, name -> study(workdir, quick) -> Result."""

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


def registry() -> dict[str, Study]:
    """All studies by name, from every module of this package."""
    found: dict[str, Study] = {}
    for module in pkgutil.iter_modules(__path__):
        found |= getattr(importlib.import_module(f"{__name__}.{module.name}"), "STUDIES", {})
    return dict(sorted(found.items()))
