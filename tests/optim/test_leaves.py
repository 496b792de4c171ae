"""What a leaf and a hyper-parameter may be, and which word the others get."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import optim

MIXED = {"scale": 2.0, "shift": np.float32(0.5), "layers": {"count": jnp.int32(3)}}
RECIPES = {
    "sgd": optim.sgd(0.1),
    "momentum": optim.momentum(0.1, rate_inside=True),
    "adagrad": optim.adagrad(0.1),
    "rmsprop": optim.rmsprop(0.1),
    "adamw": optim.adamw(0.1, weight_decay=0.1),
    "clipped": optim.chain(optim.clip_by_global_norm(1.0), optim.clip_by_value(0.5), optim.sgd(0.1)),
    "averaged": optim.chain(optim.sgd(0.1), optim.track_ema(0.5), optim.measure_update_ratio()),
}
each_recipe = pytest.mark.parametrize("name", RECIPES)


def slope(params):
    return jax.grad(lambda p: p["scale"] ** 2 * p["shift"], allow_int=True)(params)


def run(optimizer, params, gradient, steps=3):
    state = optimizer.init(params)
    for _ in range(steps):
        updates, state = optimizer.update(gradient(params), state, params)
        params = optim.apply_updates(params, updates)
    return params


@each_recipe
def test_numbers_of_python_and_numpy_are_leaves_like_arrays(name):
    numbers = {"scale": 2.0, "shift": np.float32(0.5)}
    moved = run(RECIPES[name], numbers, slope)
    expected = run(RECIPES[name], jax.tree.map(jnp.float32, numbers), slope)
    for key, x in expected.items():
        np.testing.assert_array_equal(moved[key], x)
    fed = run(RECIPES[name], numbers, lambda p: {"scale": 1.0, "shift": np.float32(2.0)})
    given = run(RECIPES[name], numbers, lambda p: {"scale": jnp.float32(1.0), "shift": jnp.float32(2.0)})
    assert fed == given


@each_recipe
def test_an_integer_is_refused_by_its_path_and_may_be_frozen(name):
    words = r"'layers/count' is of dtype int32, and only floats are optimized: give it the rule freeze\(\)"
    with pytest.raises(ValueError, match=words):
        RECIPES[name].init(MIXED)
    state = RECIPES[name].init({**MIXED, "layers": {"count": 0.0}})
    with pytest.raises(ValueError, match="'layers/count' is of dtype float0"):
        RECIPES[name].update(slope(MIXED), state, MIXED)
    rules = {"counts": ("count$", optim.freeze()), "rest": (optim.OTHERS, RECIPES[name])}
    for optimizer in (optim.partition(rules), optim.drop_nonfinite(optim.partition(rules), 1)):
        moved = run(optimizer, MIXED, slope)
        assert moved["layers"]["count"].dtype == jnp.int32
        assert int(moved["layers"]["count"]) == 3
        assert float(moved["scale"]) != 2.0


def test_what_adds_up_leaves_says_which_it_cannot_add():
    counts = {"a": jnp.int32(3), "b": jnp.float32(1.0)}
    moved = optim.apply_updates(counts, {"a": jnp.int32(2), "b": jnp.float32(1.0)})
    assert (int(moved["a"]), float(moved["b"])) == (5, 2.0)
    with pytest.raises(ValueError, match="'a' is of dtype int32"):
        optim.apply_updates(counts, {"a": jnp.float32(2), "b": jnp.float32(1.0)})
    with pytest.raises(ValueError, match="'a' is of dtype int32"):
        optim.global_norm(counts)
    with pytest.raises(ValueError, match="the tree is of dtype complex64"):
        optim.adam(0.1).init(jnp.ones(2, jnp.complex64))
    assert bool(optim.all_finite(counts))


@pytest.mark.parametrize("rate", [np.asarray(0.1), np.float32(0.1), np.asarray(0.1, np.float32), jnp.asarray(0.1)])
def test_a_rate_may_be_any_one_number(rate):
    updates, state = optim.adam(rate, np.asarray(0.9), np.asarray(0.999)).update(1.0, optim.adam(rate).init(1.0))
    assert float(updates) == pytest.approx(-0.1)
    assert float(optim.measurements(state)["learning_rate"]) == pytest.approx(0.1)


@pytest.mark.parametrize("rate", [np.array([0.1, 0.2]), jnp.array([0.1])])
def test_a_rate_of_several_numbers_is_refused(rate):
    with pytest.raises(TypeError, match=r"learning_rate is an array of shape \(.,\); it must be one number"):
        optim.sgd(rate)
    with pytest.raises(ValueError, match=r"learning_rate is -0\.1"):
        optim.sgd(np.asarray(-0.1))
