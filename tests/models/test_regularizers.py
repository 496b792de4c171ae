"""Stochastic depth, drop-path and dropout inside the models that have them."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import models
from cs231n_jax.models import functional
from cs231n_jax.models.base import Mode
from cs231n_jax.models.layers import dropout
from tests import key_record
from tests.descriptors import MODELS, images
from tests.rows import but_for

# row -> the options that switch every random regularizer off
RATES = {
    "alexnet": {"drop_rate": 0.0},
    "vgg11": {"drop_rate": 0.0},
    "nin_cifar": {"drop_rate": 0.0},
    "googlenet_cifar": {"drop_rate": 0.0},
    "stochastic_resnet110": {"depth_drop_rate": 0.0},
    "preresnet110": {"depth_drop_rate": 0.0},
    "wrn28_10": {"drop_rate": 0.0},
    "densenet40_12": {"drop_rate": 0.0},
    "fractalnet20": {"drop_rates": (0.0, 0.0), "path_drop_rate": 0.0, "global_rate": 0.0},
    "squeezenet": {"drop_rate": 0.0},
    "convnet": {"drop_rate": 0.0},
}
ROWS = {str(row): row for row in MODELS}
QUICK = ("stochastic_resnet110", "wrn28_10")


def drawn(model, row):
    x = jnp.asarray(images(row))
    return functional.init(model, 0, x), x


def runner(model, **options):
    def run(variables, x, key):
        return functional.apply(model, *variables, x, key=key, **options)[0]

    return jax.jit(run)


@pytest.mark.parametrize("name", but_for(QUICK, RATES))
def test_at_rate_zero_the_model_is_the_plain_one(name):
    row = ROWS[name]
    variables, x = drawn(row.model(), row)
    noisy = runner(row.model(), train=True)
    plain = runner(row.model(**RATES[name]), noise=True)
    keys = jax.random.split(jax.random.key(5), 3)
    first, second = (plain(variables, x, key) for key in keys[:2])
    np.testing.assert_array_equal(first, second)
    still = runner(row.model(**RATES[name]))(variables, x, None)
    np.testing.assert_allclose(first, still, rtol=1e-5, atol=1e-5 * float(jnp.abs(still).max()))
    draws = [noisy(variables, x, key) for key in keys]
    assert not all(np.array_equal(draws[0], draw) for draw in draws[1:])


def test_the_registry_has_the_published_gates():
    model = models.create("stochastic_resnet110")
    assert (model.depth_drop_rate, model.depth_gate, sum(model.blocks)) == (0.5, "batch", 54)


@pytest.mark.parametrize("gate", but_for(["batch"], ["batch", "row"]))
def test_a_block_that_is_off_passes_its_input_on(gate):
    """The last of three blocks is off always; then its residual branch has no influence and no gradient."""
    row = ROWS["resnet8"]
    model = row.model(depth_drop_rate=1.0, depth_gate=gate)
    variables, x = drawn(model, row)

    def loss(params, key):
        return jnp.sum(jnp.sin(functional.apply(model, params, variables[1], x, key=key, noise=True)[0]))

    gradient = jax.jit(jax.grad(loss))
    gradients = [gradient(variables[0], key) for key in jax.random.split(jax.random.key(0), 8)]
    norms = {name: [float(jnp.abs(g[name]["conv1"]["kernel"]).max()) for g in gradients] for name in BLOCKS}
    assert max(norms["stage3_block1"]) == 0.0
    for name in BLOCKS[:2]:  # drop rates 1/3 and 2/3: on for some of eight keys
        assert max(norms[name]) > 1e-6


BLOCKS = ("stage1_block1", "stage2_block1", "stage3_block1")


@pytest.mark.slow
def test_every_stochastic_block_gets_a_gradient_over_several_keys():
    row = ROWS["stochastic_resnet110"]
    model = row.model()
    variables, x = drawn(model, row)

    def loss(params, key):
        return jnp.sum(jnp.sin(functional.apply(model, params, variables[1], x, key=key, train=True)[0]))

    gradient = jax.jit(jax.grad(loss))
    total = functools.reduce(
        lambda a, b: jax.tree.map(lambda u, v: jnp.abs(u) + jnp.abs(v), a, b),
        [gradient(variables[0], key) for key in jax.random.split(jax.random.key(0), 6)],
    )
    for path, g in jax.tree_util.tree_flatten_with_path(total)[0]:
        assert float(jnp.abs(g).max()) > 1e-8, functional.path_name(path)


@pytest.mark.slow
def test_deepest_column_alone_is_part_of_the_whole_network():
    row = ROWS["fractalnet20"]
    whole, deepest = row.model(), row.model(column=3)
    (params, state), x = drawn(whole, row)
    (few, few_state), _ = drawn(deepest, row)
    assert set(few["stage1"]) == {f"column3_unit{i}" for i in (1, 2, 3, 4)}
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, few["stage1"], pick(params["stage1"], few["stage1"]))))
    logits = runner(deepest)((few, few_state), x, None)
    assert logits.shape == (x.shape[0], 10)
    # with global drop-path alone every draw is one of the columns
    single = row.model(global_rate=1.0, drop_rates=(0.0, 0.0))
    columns = []
    for column in (1, 2, 3):
        alone = row.model(column=column)
        (p, s), _ = drawn(alone, row)
        columns.append(np.asarray(runner(alone)((p, s), x, None)))
    run, seen = runner(single, noise=True), set()
    for key in jax.random.split(jax.random.key(0), 12):
        draw = run((params, state), x, key)
        matches = [i for i, column in enumerate(columns) if np.allclose(draw, column, rtol=1e-4, atol=1e-5)]
        assert len(matches) == 1
        seen.add(matches[0])
    assert seen == {0, 1, 2}


@pytest.mark.parametrize("columns", but_for([3], range(1, 6)))
def test_fractalnets_of_any_number_of_columns(columns):
    """Column j has 2^(j − 1) units; a global draw trains one column alone, and over several keys each of them."""
    options = {"columns": columns, "widths": (3,), "drop_rates": (0.1,), "global_rate": 1.0}
    model = models.create("fractalnet20", **options)
    size = column_gradients(model, 24)
    units = {f"column{j}_unit{i}" for j in range(1, columns + 1) for i in range(1, 2 ** (j - 1) + 1)}
    assert set(size[0]) == units
    trained = [{name.split("_")[0] for name, g in draw.items() if g > 0} for draw in size]
    assert all(len(alone) == 1 for alone in trained)
    assert set.union(*trained) == {f"column{j}" for j in range(1, columns + 1)}
    for draw, alone in zip(size, trained):  # the whole column, from its first unit to its last
        assert all(g > 1e-8 for name, g in draw.items() if name.split("_")[0] in alone)


@pytest.mark.slow
def test_local_drop_path_trains_every_unit_over_several_keys():
    options = {"columns": 4, "widths": (3,), "drop_rates": (0.0,), "global_rate": 0.0, "path_drop_rate": 0.5}
    size = column_gradients(models.create("fractalnet20", **options), 8)
    assert any(g == 0 for draw in size for g in draw.values())
    for name in size[0]:
        assert max(draw[name] for draw in size) > 1e-8, name


def column_gradients(model, keys):
    """For each of so many keys: the largest gradient of each unit's kernel in the first block, in training."""
    x = jnp.asarray(np.random.default_rng(0).standard_normal((4, 4, 4, 3)).astype(np.float32))
    params, state = functional.init(model, 0, x)

    def loss(params, key):
        return jnp.sum(jnp.sin(functional.apply(model, params, state, x, key=key, train=True)[0]))

    gradient = jax.jit(jax.grad(loss))
    draws = [gradient(params, key)["stage1"] for key in jax.random.split(jax.random.key(0), keys)]
    return [{name: float(jnp.abs(unit["conv"]["kernel"]).max()) for name, unit in draw.items()} for draw in draws]


def pick(tree, like):
    return {name: tree[name] for name in like}


def test_monte_carlo_inference_draws_and_training_without_noise_does_not():
    row = ROWS["wrn28_10"]
    model = row.model()
    variables, x = drawn(model, row)
    monte_carlo = runner(model, noise=True)
    a, b = (monte_carlo(variables, x, jax.random.key(i)) for i in (0, 1))
    assert not np.array_equal(a, b)
    silent = runner(model, train=True, noise=False)
    assert np.array_equal(silent(variables, x, None), silent(variables, x, None))


@pytest.mark.parametrize("name", but_for(["wrn28_10"], ["wrn28_10", "preresnet164", "densenet40_12"]))
def test_spatial_dropout_draws_a_number_for_each_example_and_channel(name):
    """Where dropout draws one for each element; the number of draws is the same, and without it nothing changes."""
    row = ROWS[name]
    variables, x = drawn(row.model(), row)

    def shapes(**options):
        model = row.model(drop_rate=0.3, **options)
        apply = functools.partial(functional.apply, model, *variables, noise=True)
        used = key_record.uses(lambda x, key: apply(x, key=key)[0], x, jax.random.key(0))
        return [use.what for use in used if use.kind == "draw"]

    single, whole = shapes(), shapes(spatial_dropout=True)
    assert len(single) == len(whole) > 1
    assert all(h * w > 1 for n, h, w, c in single)
    assert whole == [(n, 1, 1, c) for n, h, w, c in single]
    still = runner(row.model(drop_rate=0.3, spatial_dropout=True))(variables, x, None)
    np.testing.assert_array_equal(still, runner(row.model(drop_rate=0.0))(variables, x, None))


class Dropped(nn.Module):
    """What two draws of one layer keep, and a draw each of the two layers inside it: [layers, N, C]."""

    spatial: bool
    depth: int = 1

    @nn.compact
    def __call__(self, x, mode):
        kept = [dropout(self, x, 0.4, mode, self.spatial)[:, 0, 0] != 0 for _ in range(2)]
        inside = [Dropped(self.spatial, 0, name=name)(x, mode)[0] for name in "ab" if self.depth]
        return jnp.stack(kept + inside)


@pytest.mark.parametrize("spatial", [False, True])
def test_layers_examples_and_steps_drop_independently(spatial):
    """Each unit of each layer is kept with probability 0.6; no two of the 24 are correlated, now or a step apart."""
    draws, x = 4000, jnp.ones((2, 1, 1, 3))
    keys = jax.vmap(lambda step: jax.random.fold_in(jax.random.key(0), step))(jnp.arange(draws))
    apply = functools.partial(Dropped(spatial).apply, {}, x, Mode(train=False, noise=True))
    kept = np.asarray(jax.jit(jax.vmap(lambda key: apply(rngs={"noise": key})))(keys)).reshape(draws, -1)
    assert kept.shape[1] == 24
    np.testing.assert_allclose(kept.mean(0), 0.6, atol=4.5 * np.sqrt(0.24 / draws))
    together = np.corrcoef(kept.T)[~np.eye(24, dtype=bool)]
    apart = np.corrcoef(kept[:-1].T, kept[1:].T)[:24, 24:]
    assert max(np.abs(together).max(), np.abs(apart).max()) < 4.8 / np.sqrt(draws)  # of 852 correlations
