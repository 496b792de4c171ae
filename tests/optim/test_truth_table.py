"""Every row of the table of docs/optimizers.md, step by step in float64: the formula, torch, optax."""

import numpy as np
import pytest

from tests.golden import make_optimizers_page, optimizers_table
from tests.golden.make_optimizers_page import points
from tests.golden.optimizers_table import ROWS, Row
from tests.references import optimizers as reference

GOLDEN = np.load(make_optimizers_page.GOLDEN)
EQUAL = make_optimizers_page.EQUAL


def each_row(rows=ROWS):
    return pytest.mark.parametrize("row", rows, ids=lambda row: row.name)


def formula(row: Row) -> np.ndarray:
    rule = eval(row.reference, vars(reference))
    rates = [optimizers_table.rate(step) for step in range(optimizers_table.STEPS)]
    return reference.run(rule, optimizers_table.START, optimizers_table.gradient, rates)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.max(np.abs(a - b)))


@each_row()
def test_ours_is_the_formula(row):
    assert distance(points(row, "cs231n_jax"), formula(row)) <= EQUAL


@each_row([row for row in ROWS if row.torch])
def test_ours_and_torch(row):
    apart = distance(points(row, "cs231n_jax"), GOLDEN[row.name])
    if row.torch_equal:
        assert apart <= EQUAL
    else:  # as far apart as torch is from the formula of the other rule
        assert apart > 1e-8
        assert abs(apart - distance(formula(row), GOLDEN[row.name])) <= EQUAL


@each_row([row for row in ROWS if row.optax])
def test_ours_and_optax(row):
    apart = distance(points(row, "cs231n_jax"), points(row, "optax"))
    assert apart <= EQUAL if row.optax_equal else apart > 1e-8


@pytest.mark.parity
@each_row([row for row in ROWS if row.torch])
def test_the_stored_numbers_are_those_of_torch(row):
    pytest.importorskip("torch", reason="torch is not installed (the extra 'parity')")
    from tests.golden.make_optimizers import trajectory

    assert distance(trajectory(row), GOLDEN[row.name]) <= EQUAL


def test_the_rows_cover_every_optimizer_and_have_their_numbers():
    code = " ".join(row.ours for row in ROWS)
    for name in ("sgd(", "momentum(", "nesterov(", "adagrad(", "rmsprop(", "adam(", "adamw(", "clip_by_value("):
        assert name in code
    assert {row.name for row in ROWS if row.torch} == set(GOLDEN.files) - {"torch_version"}


def test_the_page_is_up_to_date():
    written = make_optimizers_page.PAGE.read_text(encoding="utf-8")
    assert written == make_optimizers_page.page(), "run python -m tests.golden.make_optimizers_page"
