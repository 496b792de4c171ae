"""The update beside optax's: never slower, in place, and no more kernels."""

from typing import NamedTuple

import jax
import numpy as np
import pytest

from cs231n_jax import optim
from experiments.benchmarks import optimizers, rounds
from tests.programs import as_users_have

NAMES = tuple(optimizers.pairs())
# Leaves large enough for XLA to treat them as it does the real ones.
SMALL = {f"layer{i}": {"kernel": jax.ShapeDtypeStruct((300, 300), "float32")} for i in range(3)}


class Compiled(NamedTuple):
    """What is known of a program before it runs."""

    temporary_bytes: int
    state_bytes: int
    kernels: int


def compiled() -> dict[str, list[Compiled]]:
    """Our update of the small leaves and optax's, of every recipe."""
    import optax

    found: dict[str, list[Compiled]] = {}
    for name, sides in optimizers.pairs().items():
        for recipe, apply in zip(sides, (optim.apply_updates, optax.apply_updates)):
            program = optimizers.Program(recipe, apply, SMALL)
            temporary = program.compiled.memory_analysis().temp_size_in_bytes
            kernels = program.compiled.as_text().count(" fusion(")
            found.setdefault(name, []).append(Compiled(temporary, program.state_bytes, kernels))
    return found


def ratios() -> dict[str, tuple[float, float, float]]:
    """Our time over optax's with its 95 % interval, of every recipe."""
    found = {}
    for name in NAMES:
        _, seconds = optimizers.steps(name, 40, 1)
        found[name] = rounds.ratio(seconds["ours"], seconds["optax"])
    return found


@pytest.fixture(scope="module")
def programs():
    return as_users_have(compiled)


@pytest.fixture(scope="module")
def measured():
    return as_users_have(ratios)


def test_the_benchmark_has_the_parameters_of_resnet50():
    leaves = jax.tree.leaves(optimizers.parameter_shapes())
    assert (len(leaves), sum(x.size for x in leaves)) == (161, 25_557_032)


@pytest.mark.parametrize("name", NAMES)
def test_an_update_is_in_place_and_has_no_more_kernels_than_optaxs(name, programs):
    ours, theirs = programs[name]
    # Clipping reads the gradients twice; nothing else may need room for anything but scalars.
    assert ours.temporary_bytes < 0.01 * sum(4 * x.size for x in jax.tree.leaves(SMALL))
    assert 0 < ours.kernels <= theirs.kernels + (2 if "clip" in name else 0)  # of scalars: what the state tells
    assert ours.state_bytes <= theirs.state_bytes + 16


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_an_update_is_not_slower_than_optaxs(name, measured):
    """Two compilations of one program differ by up to 3 %, hence the limit; the goal is 1, read from the benchmark."""
    ratio, low, high = measured[name]
    assert low <= 1.10, (ratio, low, high)


def test_ratios_are_paired_by_round():
    drift = [1.0, 5.0, 2.0, 3.0, 1.5]
    assert rounds.ratio([0.5 * x for x in drift], drift) == (0.5, 0.5, 0.5)
    twice = np.asarray([[1.0] * 9, [1.1] * 9])  # the same program, compiled twice
    middle, low, high = rounds.ratio(twice, twice)
    assert (middle, low, high) == pytest.approx((1.0, 1 / 1.1, 1.1))
    seconds = rounds.interleave({"a": lambda: None, "b": lambda: None}, 4)
    assert {name: len(values) for name, values in seconds.items()} == {"a": 4, "b": 4}
