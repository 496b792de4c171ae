"""Which rows of a long table are tested by default."""

from collections.abc import Sequence
from typing import Any

import pytest


def one_in(n: int, rows: Sequence[Sequence[Any]]) -> list[Any]:
    """Each row as the parameters that it holds; all but one in `n` are left to the slow run."""
    return [pytest.param(*row, marks=pytest.mark.slow if i % n else ()) for i, row in enumerate(rows)]
