"""Which rows of a long table are tested by default."""

from collections.abc import Container, Iterable, Sequence
from typing import Any

import pytest


def but_for(quick: Container[Any], values: Iterable[Any]) -> list[Any]:
    """Each value, or tuple of several, as parameters; all that are not in `quick` are left to the slow run."""
    held = [(value, value if isinstance(value, tuple) else (value,)) for value in values]
    return [pytest.param(*parts, marks=() if value in quick else pytest.mark.slow) for value, parts in held]


def one_in(n: int, rows: Sequence[Sequence[Any]]) -> list[Any]:
    """Each row as the parameters that it holds; all but one in `n` are left to the slow run."""
    return [pytest.param(*row, marks=pytest.mark.slow if i % n else ()) for i, row in enumerate(rows)]
