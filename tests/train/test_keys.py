"""No random number is used twice: not by two layers, examples, steps, epochs, micro-batches or passes."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import optim
from cs231n_jax.data import DataConfig
from cs231n_jax.ops import dropconnect
from cs231n_jax.tasks import augmentations
from cs231n_jax.tasks.classification import Classification
from cs231n_jax.train import accumulate, average, marginalise, sharding, state
from cs231n_jax.train.step import make_train_step
from tests import key_record
from tests.descriptors import MODELS
from tests.rows import but_for

ROWS = {str(row): row for row in MODELS}
EXAMPLES = 4
NOISY = {  # row -> options, and how often a pass draws for the batch
    "wrn28_10": ({"depth_drop_rate": 0.5, "depth_gate": "row"}, 6),  # dropout and stochastic depth in three blocks
    "stochastic_resnet110": ({}, 3),
    "densenet40_12": ({"spatial_dropout": True}, 4),
    "alexnet": ({}, 2),
    "fractalnet20": ({"drop_rates": (0.1, 0.1)}, 21),  # 1 kind, 2 for a column, 2 joins and 7 units a block
    "convnet": ({"drop_connect_rate": 0.5}, 1),  # dropout
    "convnet-fractional": ({}, 6),  # borders of rows and of columns, and stochastic depth, in two stages
    "mlp": ({"drop_connect_rate": 0.5}, 0),
    "fmp_digits": ({"drop_rate": 0.5}, 10),  # borders of rows and of columns in three stages, and dropout in four
}
QUICK = (("wrn28_10", 1), ("convnet", 2), ("mlp", 1))  # draws for the batch, for an example, and both in pieces
MASKS = {"convnet": 1, "mlp": 2}  # draws an example: of DropConnect
CROP_FLIP = augmentations.build(DataConfig(augment="crop_flip:1"), (0.5,))


def task_of(name, crop_flip=CROP_FLIP):
    row = ROWS[name]
    channels = row.input_shape[-1]
    return Classification(row.model(**NOISY[name][0]), (0.5,) * channels, (0.25,) * channels, augment=crop_flip)


def batch_of(name):
    shape = (EXAMPLES, *ROWS[name].input_shape[1:])
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return {"image": jnp.asarray(images), "label": jnp.arange(EXAMPLES, dtype=jnp.int32)}


def draws_of(name, pieces=1):
    """How often a pass over the batch draws."""
    return pieces * NOISY[name][1] + EXAMPLES * MASKS.get(name, 0)


def kinds(found):
    return [use.what for use in found if use.kind == "draw" and not use.again]


@pytest.mark.parametrize(("name", "pieces"), but_for(QUICK, itertools.product(NOISY, (1, 2))))
def test_no_key_is_used_twice(name, pieces, monkeypatch):
    """Over four steps, the re-estimation of statistics and Monte-Carlo passes over two batches of the same run."""
    monkeypatch.setattr(accumulate, "_once_there", lambda index, grads: index)  # only orders the work of XLA:CPU
    task, batch, optimizer = task_of(name), batch_of(name), optim.sgd(0.1)
    mesh = sharding.make_mesh(sharding.MeshConfig(data=1), 1)
    like = state.shapes(task, optimizer, batch, mesh)
    start = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like)
    step = make_train_step(task, optimizer, 0, accumulate=pieces)
    steps = [key_record.uses(step, start._replace(step=jnp.int32(i)), batch) for i in range(4)]
    assert len(kinds(steps[0])) >= pieces + draws_of(name, pieces)
    if pieces == 1:
        assert len(kinds(steps[0])) == 1 + draws_of(name)
    assert all(kinds(found) == kinds(steps[0]) for found in steps)
    weights, mc = (start.params, start.model_state), marginalise.parse("mc:5")

    def passes(index):
        key = state.stream_key(0, "marginalise", index)
        return marginalise.log_probabilities(task, mc, *weights, batch, key=key, together=2)

    def moments(index):
        return average.make_moments_step(task)(*weights, batch, state.stream_key(0, "reestimate", index))

    later = [key_record.uses(f, jnp.int32(index)) for f in (passes, moments) for index in (0, 1)]
    assert len(kinds(later[0])) == 5 * draws_of(name)
    everything = [use for found in (*steps, *later) for use in found]
    assert key_record.repeated(everything) == []


@pytest.mark.parametrize("name", but_for(["wrn28_10", "convnet", "fractalnet20"], NOISY))
def test_each_draw_has_a_number_for_each_example_or_one_for_the_batch(name):
    task, batch = task_of(name), batch_of(name)
    params, model_state = task.init(0, batch)

    def loss(key):
        return task.loss(params, model_state, batch, key=key, train=True)[0]

    shapes = kinds(key_record.uses(loss, jax.random.key(0)))
    assert shapes[0] == (3, EXAMPLES)  # the augmentation: two places and a flip for each
    # gates, paths and borders of the whole batch, and masks of one example; four of the borders look like the examples
    ours = {"stochastic_resnet110": 1, "fractalnet20": 7, "convnet": EXAMPLES, "convnet-fractional": 4}
    ours = (ours | {"mlp": 2 * EXAMPLES, "fmp_digits": 4}).get(name, 0)
    others = sum(EXAMPLES not in shape[:1] for shape in shapes[1:])
    assert others >= ours
    if name not in ("stochastic_resnet110", "fractalnet20"):
        assert others == ours


def test_the_terms_of_a_chain_of_augmentations_draw_apart():
    chain = augmentations.build(DataConfig(augment="crop:1+flip+cutout:2+jitter:0.4:0.1+lighting"), (0.5,) * 3)
    batch = batch_of("wrn28_10")
    found = [
        use
        for step in range(2)
        for use in key_record.uses(lambda key: chain(key, batch), state.stream_key(0, "train", step))
    ]
    assert len(kinds(found)) >= 2 * 5
    assert key_record.repeated(found) == []


@pytest.mark.parametrize("name", but_for(["wrn28_10", "convnet", "mlp"], NOISY))
def test_inference_takes_no_key_and_is_deterministic(name):
    task, batch = task_of(name), batch_of(name)
    params, model_state = task.init(0, batch)

    def evaluated(params):
        return task.loss(params, model_state, batch, key=None, train=False), task.predict(params, model_state, batch)

    assert key_record.uses(evaluated, params) == []
    for way in ("exact", "tta:flip"):
        predict = functools.partial(marginalise.log_probabilities, task, marginalise.parse(way))
        assert key_record.uses(lambda p: predict(p, model_state, batch), params) == []  # noqa: B023
    predict = jax.jit(task.predict)
    first, second = (predict(params, model_state, batch) for _ in range(2))
    assert np.array_equal(first, second)


# --- the recorder itself ---


def twice_drawn(key):
    return jax.random.normal(key, (2,)) + jax.random.uniform(key, (2,))


def drawn_and_split(key):
    return jax.random.normal(key), jax.random.split(key)


def drawn_and_folded(key):
    return jax.random.bits(key), jax.random.bits(jax.random.fold_in(key, 1))


def folded_twice(key):
    return [jax.random.bits(jax.random.fold_in(key, 3)) for _ in range(2)]


def same_in_every_round(key):
    return jax.lax.map(lambda x: x + jax.random.normal(key), jnp.ones(3))


def same_for_every_row(key):
    return jax.vmap(lambda key: jax.random.normal(key))(jnp.stack((key, key)))


def same_in_a_derivative(key):
    return jax.grad(lambda x: jax.jit(jax.random.normal)(key) * x + jax.random.normal(key) * x)(1.0)


def drawn_again(key, times=1, shape=()):
    first = jax.random.normal(key)
    with jax.named_scope(dropconnect.AGAIN):
        return first, [jax.jit(lambda: jax.random.normal(key, shape))() for _ in range(times)]


def drawn_again_twice(key):
    return drawn_again(key, times=2)


def drawn_again_in_another_shape(key):
    return drawn_again(key, shape=(2,))


def two_layers_with_one_key(key):
    layer = functools.partial(dropconnect.drop_connect, key, kernel=jnp.ones((3, 2)), drop_rate=0.5)
    return jax.grad(lambda x: jnp.sum(layer(x)) + jnp.sum(layer(2 * x)))(jnp.ones((4, 3)))


@pytest.mark.parametrize(
    "slip",
    [
        twice_drawn,
        drawn_and_split,
        drawn_and_folded,
        folded_twice,
        same_in_every_round,
        same_for_every_row,
        same_in_a_derivative,
        drawn_again_twice,
        drawn_again_in_another_shape,
        two_layers_with_one_key,
    ],
)
def test_the_recorder_finds(slip):
    assert key_record.repeated(key_record.uses(slip, jax.random.key(0)))


def test_the_recorder_passes_what_is_right():
    def right(key):
        a, b = jax.random.split(key)
        rounds = jax.lax.map(lambda i: jax.random.normal(jax.random.fold_in(a, i)), jnp.arange(3))
        picked = jax.lax.cond(rounds[0] > 100, lambda k: jax.random.normal(k), lambda k: jax.random.uniform(k), b)
        return jnp.sum(rounds) + picked

    found = key_record.uses(right, jax.random.key(0))
    assert [use.kind for use in found] == ["split", *["fold", "draw"] * 3, "draw"]
    assert key_record.repeated(found) == []


def test_the_recorder_excuses_what_is_drawn_again_once():
    found = key_record.uses(drawn_again, jax.random.key(0))
    assert [(use.kind, use.again) for use in found] == [("draw", False), ("draw", True)]
    assert key_record.repeated(found) == []
    assert key_record.repeated(found[1:]) != []  # not drawn before

    def gradient(key):
        layer = functools.partial(dropconnect.drop_connect, key, kernel=jnp.ones((3, 2)), drop_rate=0.5)
        return jax.grad(lambda x: jnp.sum(layer(x)))(jnp.ones((4, 3)))

    found = key_record.uses(gradient, jax.random.key(0))
    assert [(use.kind, use.again) for use in found].count(("draw", True)) == 4
    assert key_record.repeated(found) == []
    assert key_record.repeated([use._replace(again=False) for use in found]) != []
