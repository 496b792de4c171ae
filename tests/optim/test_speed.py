"""The update beside optax's: never slower, in place, and no more kernels."""

import jax
import numpy as np
import pytest

from cs231n_jax import optim
from experiments.benchmarks import optimizers, rounds

NAMES = tuple(optimizers.pairs())


def test_the_benchmark_has_the_parameters_of_resnet50():
    leaves = jax.tree.leaves(optimizers.parameter_shapes())
    assert (len(leaves), sum(x.size for x in leaves)) == (161, 25_557_032)


@pytest.fixture(scope="module")
def small():
    """Leaves large enough for XLA to treat them as it does the real ones."""
    return {f"layer{i}": {"kernel": jax.ShapeDtypeStruct((300, 300), "float32")} for i in range(3)}


@pytest.mark.parametrize("name", NAMES)
def test_an_update_is_in_place_and_has_no_more_kernels_than_optaxs(name, small, optimised):
    import optax

    ours, theirs = optimizers.pairs()[name]
    mine = optimizers.Program(ours, optim.apply_updates, small)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        other = optimizers.Program(theirs, optax.apply_updates, small)
    weights = sum(4 * x.size for x in jax.tree.leaves(small))
    # Clipping reads the gradients twice; nothing else may need room for anything but scalars.
    assert mine.compiled.memory_analysis().temp_size_in_bytes < 0.01 * weights
    kernels = [program.compiled.as_text().count(" fusion(") for program in (mine, other)]
    assert kernels[0] <= kernels[1] + (2 if "clip" in name else 0)  # of scalars: what the state tells
    assert mine.state_bytes <= other.state_bytes + 16


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_an_update_is_not_slower_than_optaxs(name, optimised):
    """Two compilations of one program differ by up to 3 %, hence the limit; the goal is 1, read from the benchmark."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        _, seconds = optimizers.steps(name, 40, 1)
    ratio, low, high = rounds.ratio(seconds["ours"], seconds["optax"])
    assert low <= 1.10, (ratio, low, high)


def test_ratios_are_paired_by_round():
    drift = [1.0, 5.0, 2.0, 3.0, 1.5]
    assert rounds.ratio([0.5 * x for x in drift], drift) == (0.5, 0.5, 0.5)
    twice = np.asarray([[1.0] * 9, [1.1] * 9])  # the same program, compiled twice
    middle, low, high = rounds.ratio(twice, twice)
    assert (middle, low, high) == pytest.approx((1.0, 1 / 1.1, 1.1))
    seconds = rounds.interleave({"a": lambda: None, "b": lambda: None}, 4)
    assert {name: len(values) for name, values in seconds.items()} == {"a": 4, "b": 4}
