"""How many blocks stochastic depth leaves, and that all ways to leave them out are one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import inspect, models
from cs231n_jax.models import functional
from cs231n_jax.ops import noise
from experiments.studies import small_nets, stochastic_depth_cost
from tests.rows import one_in


def share_of_the_work(blocks):
    """Of a CIFAR ResNet with 16, 32, 64 channels: block l of L, two 3×3 convolutions, is on with 1 − l/L·0.5."""
    thirds = [stage for stage in range(3) for _ in range(blocks // 3)]
    entries = [i % (blocks // 3) == 0 and i > 0 for i in range(blocks)]
    pixels, widths = ([base * factor**stage for stage in thirds] for base, factor in ((1024, 0.25), (16, 2)))
    work = [9 * p * (c * (c // 2 if entry else c) + c * c) for p, c, entry in zip(pixels, widths, entries)]
    rest = 27 * 16 * 1024 + 640
    return (rest + sum(w * (1 - (i + 1) / blocks / 2) for i, w in enumerate(work))) / (rest + sum(work))


def test_stochastic_depth_leaves_forty_blocks():
    drops = noise.linear_drop_rates(54, 0.5)
    numbers = stochastic_depth_cost._counted(1 - np.array(drops))
    assert numbers["expected blocks on"] == pytest.approx(40.25, abs=1e-9)
    assert numbers["first block on"] == pytest.approx(0.99074, abs=5e-6)
    assert numbers["last block on"] == 0.5
    total = inspect.multiply_adds(models.create("resnet110"), small_nets.image(32, 32, 3))
    assert numbers["multiply-adds of all blocks"] == total
    assert numbers["expected multiply-adds"] / total == pytest.approx(share_of_the_work(54), abs=1e-9)
    gates = stochastic_depth_cost.typical(drops)
    assert (len(gates), sum(gates)) == (54, 40)


@pytest.mark.slow
def test_the_plain_function_is_the_packages_residual_net():
    model = models.create("resnet14")
    images = jnp.asarray(np.random.default_rng(0).standard_normal((4, 16, 16, 3)), jnp.float32)
    params, state = functional.init(model, 0, images)
    expected, _ = functional.apply(model, params, state, images, train=True, noise=False)
    names = stochastic_depth_cost.block_names(params)
    assert names == [f"stage{s}_block{b}" for s in (1, 2, 3) for b in (1, 2)]
    found = stochastic_depth_cost.forward(params, images, [True] * 6, stochastic_depth_cost.left_out)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("gates", one_in(2, [((False,) * 6,), ((True, False, False, True, False, True),)]))
def test_all_ways_of_leaving_a_block_out_give_the_same(gates):
    model = models.create("resnet14", width=4)
    images = jnp.asarray(np.random.default_rng(0).standard_normal((4, 16, 16, 3)), jnp.float32)
    params, _ = functional.init(model, 0, images)

    def gradients(gating, gates):
        def value(params):
            return (stochastic_depth_cost.forward(params, images, gates, gating) ** 2).sum()

        return jax.jit(jax.value_and_grad(value))(params)

    expected = gradients(stochastic_depth_cost.left_out, gates)
    for gating in (stochastic_depth_cost.multiplied, stochastic_depth_cost.conditional):
        found = gradients(gating, [jnp.asarray(gate) for gate in gates])
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), expected, found)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.70, 0.80, "confirmed for blocks left out, refuted for blocks multiplied by zero and skipped by lax.cond"),
        (0.70, 0.90, "not decided for blocks left out, refuted for blocks multiplied by zero and skipped by lax.cond"),
        (0.90, 0.95, "refuted for blocks multiplied by zero and skipped by lax.cond and left out"),
    ],
)
def test_a_saving_is_had_where_its_interval_says_so(low, high, said):
    """An eighth of the time or more; the best guess alone does not decide."""
    intervals = {stochastic_depth_cost.ZERO: (0.99, 1.2), stochastic_depth_cost.COND: (2.9, 3.6)}
    assert stochastic_depth_cost.verdict(intervals | {stochastic_depth_cost.OUT: (low, high)}) == said
