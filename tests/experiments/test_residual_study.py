"""Signals of untrained residual nets, and what deleting a block of a trained one does."""

from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import models
from cs231n_jax.models import functional
from cs231n_jax.ops import conv, norm
from experiments.studies import convolutional_runs, dense_runs, digit_runs, residual_at_init, small_nets


@pytest.mark.slow
def test_signals_grow_by_doubling_by_one_a_block_or_not_at_all():
    """Against numbers found once with other software, one draw of 512 units each."""
    growth = {
        name: np.mean([residual_at_init.growth(block, seed) for seed in range(3)], axis=0)
        for name, block in residual_at_init.BLOCKS.items()
    }
    doubling = np.array([2.01, 4.11, 7.92, 15.9, 30.8])
    np.testing.assert_allclose(growth[residual_at_init.BARE][:5], doubling, rtol=0.1)  # a draw varies by some percent
    assert growth[residual_at_init.BARE][9] == pytest.approx(935, rel=0.2)
    one_a_block = {1: 1.99, 2: 3.01, 5: 6.03, 10: 11.4, 20: 21.0}
    for depth, published in one_a_block.items():
        assert growth[residual_at_init.PRE][depth - 1] == pytest.approx(published, rel=0.06)
    assert 0.5 < growth[residual_at_init.PLAIN][19] < 2  # 0.85 in the one draw
    for depth, expected in after_an_addition_and_relu(20).items():
        assert growth[residual_at_init.POST][depth - 1] == pytest.approx(expected, rel=0.06)


def after_an_addition_and_relu(depth):
    """Of one unit x ← relu(x + z) whose branch z is drawn from N(0, 1), as batch norm leaves it."""
    random = np.random.default_rng(0)
    x, found = random.standard_normal(100_000), {}
    for block in range(1, depth + 1):
        x = np.maximum(x + random.standard_normal(len(x)), 0)
        found[block] = (x**2).mean()
    return found


def test_branches_that_start_as_zero_change_nothing():
    assert residual_at_init._change_by_zero_branches() == 0


def weights_with_statistics(model):
    """New parameters, and running statistics that are not those of the start."""
    random = np.random.default_rng(0)
    images = jnp.asarray(random.standard_normal((8, 8, 8, 1)), jnp.float32)
    params, state = functional.init(model, 0, images)
    _, state = functional.apply(model, params, state, images, train=True, noise=False)
    return images, (params, state)


@pytest.mark.slow
def test_a_residual_block_without_its_branch_passes_its_input_on():
    net = residual_at_init.QUICK_NETS["ResNet-20"]
    model = models.create(net.model, num_classes=10, **net.options)
    images, weights = weights_with_statistics(model)
    run = partial(functional.apply, model, method="features")
    before, after = run(*weights, images)[0], run(*net.delete(weights, "stage1_block1"), images)[0]
    np.testing.assert_array_equal(after["stage1"], after["stem"])
    assert float(jnp.abs(before["stage1"] - after["stage1"]).max()) > 0.1


def test_a_plain_unit_that_is_deleted_passes_its_input_on():
    net = residual_at_init.QUICK_NETS["plain net"]
    model = models.create(net.model, num_classes=10, **net.options)
    _, weights = weights_with_statistics(model)
    unit = net.blocks(weights[0])[0]
    assert unit == "stage1/column2_unit2"
    own = net.delete(weights, unit)[0]["stage1"]["column2_unit2"]
    running = weights[1]["batch_stats"]["stage1"]["column2_unit2"]["norm"]
    x = jnp.asarray(np.random.default_rng(1).random((1, 8, 8, 8)), jnp.float32)
    y = conv.conv(x, own["conv"]["kernel"], padding=1)
    y = norm.normalize(y, running["mean"], running["var"], **own["norm"], eps=1e-5, relu=True)
    np.testing.assert_allclose(y, x, atol=1e-6)


def test_the_blocks_that_can_be_deleted():
    counts = {}
    for name, net in residual_at_init.NETS.items():
        model = models.create(net.model, **net.options)
        counts[name] = len(net.blocks(functional.init(model, 0, small_nets.image(8, 8, 1))[0]))
    assert counts == {"ResNet-20": 9, "plain net": 9}


@pytest.mark.slow
def test_a_small_net_learns_digits():
    data, model = digit_runs.digits(), models.create("resnet8", width=4)
    train = convolutional_runs.trainer(model, data, dense_runs.Plan(epochs=2), 0.05, lambda grads: jnp.ones(3))
    run = train(0)
    assert run.loss.shape == (2 * (len(data["train_y"]) // 64),)
    assert run.measured.shape == (len(run.loss), 3)
    assert run.loss[-5:].mean() < 0.7 * run.loss[:5].mean()
    assert convolutional_runs.error_of(model, data)(run.weights) < 0.6
