"""Ours inside optax and flax, optax's inside ours, and both under every transformation of JAX."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.training.train_state import TrainState
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from cs231n_jax import optim
from tests.rows import but_for

SLOPE = jax.grad(lambda p: sum(jnp.sum(jnp.sin(x) + 0.3 * x**2) for x in jax.tree.leaves(p)))
RECIPES = {
    "sgd": (optim.sgd, 0),
    "momentum": (optim.momentum, 1),
    "nesterov": (optim.nesterov, 1),
    "adagrad": (optim.adagrad, 1),
    "rmsprop": (optim.rmsprop, 1),
    "adam": (optim.adam, 2),
    "adamw": (optim.adamw, 2),
}
each_recipe = pytest.mark.parametrize("name", RECIPES)
# By default without a slot, with one, and with two and a decay of the weights.
few_recipes = pytest.mark.parametrize("name", but_for(["sgd", "momentum", "adamw"], RECIPES))


def params(dtype=jnp.float32):
    return {"w": jnp.linspace(-1.0, 1.0, 24, dtype=dtype).reshape(8, 3), "b": jnp.full(3, 0.5, dtype)}


def run(optimizer, p=None, steps=4, apply=optim.apply_updates, jit=jax.jit):
    def update(p, state):
        updates, state = optimizer.update(SLOPE(p), state, p)
        return apply(p, updates), state

    p, update = params() if p is None else p, jit(update)
    state = optimizer.init(p)
    for _ in range(steps):
        p, state = update(p, state)
    return p


def assert_same(a, b, **tolerance):
    tolerance = tolerance or {"rtol": 1e-6, "atol": 1e-7}
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)):
        np.testing.assert_allclose(np.asarray(x, np.float64), np.asarray(y, np.float64), **tolerance)


# --- with optax and flax ---


@few_recipes
def test_ours_inside_optax(name):
    make, _ = RECIPES[name]
    assert_same(run(optax.chain(optax.clip(0.5), make(0.1)), apply=optax.apply_updates), clipped_run(make))
    masked = run(optax.masked(make(0.1), {"w": True, "b": False}))
    assert_same(masked["w"], run(make(0.1))["w"])


def clipped_run(make):
    return run(optim.chain(optim.clip_by_value(0.5), make(0.1)))


@few_recipes
def test_ours_inside_optax_multi_steps(name):
    """Two equal gradients are one update."""
    make, _ = RECIPES[name]
    with jax.numpy_dtype_promotion("standard"):  # optax.MultiSteps needs it
        optimizer, p = optax.MultiSteps(make(0.1), 2), params()
        state, update, slope = optimizer.init(p), jax.jit(optimizer.update), jax.jit(SLOPE)
        for _ in range(3):
            g = slope(p)
            for _ in range(2):
                updates, state = update(g, state, p)
                p = optax.apply_updates(p, updates)
    assert_same(p, run(make(0.1), steps=3))


@few_recipes
def test_ours_inside_optax_inject_hyperparams(name):
    make, _ = RECIPES[name]
    rate = optim.schedules.linear(0.1, 0.02, 3)
    injected = optax.inject_hyperparams(make)(learning_rate=rate)
    state, p = injected.init(params()), params()
    assert "learning_rate" in state.hyperparams
    update, slope = jax.jit(injected.update), jax.jit(SLOPE)
    for _ in range(4):
        updates, state = update(slope(p), state, p)
        p = optax.apply_updates(p, updates)
    assert_same(p, run(make(rate)), rtol=2e-5, atol=1e-6)  # hyper-parameters are rounded to float32 there


@few_recipes
def test_ours_inside_flax_train_state(name):
    make, _ = RECIPES[name]
    state = TrainState.create(apply_fn=None, params=params(), tx=make(0.1))
    step = jax.jit(lambda state: state.apply_gradients(grads=SLOPE(state.params)))
    for _ in range(4):
        state = step(state)
    assert_same(state.params, run(make(0.1)))


@pytest.mark.parametrize("make", [optax.sgd, optax.adam, optax.adagrad, lambda rate: optax.sgd(rate, 0.9)])
def test_optax_inside_ours(make):
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam needs it
        expected = run(optax.chain(optax.clip_by_global_norm(0.7), make(0.1)), apply=optax.apply_updates)
        assert_same(run(optim.chain(optim.clip_by_global_norm(0.7), make(0.1))), expected)
        split = optim.partition({"w": ("w", make(0.1)), "b": ("b", optim.freeze())})
        assert_same(run(split)["b"], params()["b"])
        assert_same(run(optim.drop_nonfinite(make(0.1), 0)), run(make(0.1)))


# --- named arguments, which some of optax's transformations need ---


def needs_the_value():
    """optax's plateau scale, and a rate that is Polyak's: both read the value of the loss."""
    return {
        "plateau": optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau(factor=0.5, patience=1)),
        "polyak": optax.polyak_sgd(),
    }


def fed(optimizer, p=None, **more):
    """Four updates that are told the loss."""
    p = params() if p is None else p
    state, loss = optimizer.init(p), 3.0

    @jax.jit
    def update(p, state):
        updates, state = optimizer.update(SLOPE(p), state, p, value=jnp.float32(loss), **more)
        return optim.apply_updates(p, updates), state

    for _ in range(4):
        p, state = update(p, state)
    return p


@pytest.mark.parametrize("name", ["plateau", "polyak"])
def test_named_arguments_reach_optax_through_ours(name):
    with jax.numpy_dtype_promotion("standard"):
        inner = needs_the_value()[name]
        clipped, expected = optim.clip_by_value(0.5), fed(optax.chain(optax.clip(0.5), inner))
        assert_same(fed(optim.chain(clipped, inner)), expected)
        assert_same(fed(optim.chain(clipped, optim.chain(inner)), unused=1.0), expected)
        assert_same(fed(optim.chain(clipped, optim.drop_nonfinite(inner, 0))), expected)
        assert_same(fed(optim.chain(clipped, optim.masked(inner, optim.by_path("")))), expected)
        assert_same(fed(optim.chain(clipped, optim.partition({"all": (optim.OTHERS, inner)}))), expected)
        split = fed(optim.partition({"w": ("w", inner), "b": (optim.OTHERS, optim.freeze())}))
        assert_same(split["w"], fed(inner, {"w": params()["w"]})["w"])
        assert_same(split["b"], params()["b"])


def test_named_arguments_pass_through_ours_inside_optax():
    """optax hands them to its own class alone, which ours becomes by a word."""
    with jax.numpy_dtype_promotion("standard"):
        inner = needs_the_value()["plateau"]
        ours = optax.GradientTransformationExtraArgs(*optim.chain(optim.clip_by_value(0.5), inner))
        expected = fed(optax.chain(optax.clip(0.5), inner))
        assert_same(fed(optax.chain(optax.identity(), ours)), expected)
        assert_same(fed(optax.chain(optim.clip_by_value(0.5), inner)), expected)


def test_a_line_search_takes_its_function_and_gradient_through_ours():
    """`value`, `grad` and the function itself, which is no array; inside a branch of `drop_nonfinite` too."""

    def loss(p):
        return sum(jnp.sum(x**2) for x in jax.tree.leaves(p))

    def searched(optimizer):
        @jax.jit
        def update(p, state):
            value, g = jax.value_and_grad(loss)(p)
            updates, state = optimizer.update(g, state, p, value=value, grad=g, value_fn=loss)
            return optim.apply_updates(p, updates), state

        p, state = params(), optimizer.init(params())
        for _ in range(3):
            p, state = update(p, state)
        return p

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        search = optax.scale_by_backtracking_linesearch(max_backtracking_steps=5)
        expected = searched(optax.chain(optax.sgd(1.0), search))
        assert_same(searched(optim.chain(optim.sgd(1.0), search)), expected)
        assert_same(searched(optim.drop_nonfinite(optim.chain(optim.sgd(1.0), search), 0)), expected)


def test_only_what_an_update_names_is_handed_to_it():
    def update(updates, state, params=None, *, value):
        return jax.tree.map(lambda u: u * value, updates), state

    named = optim.GradientTransformation(lambda p: optim.EmptyState(), update)
    tripled = optim.chain(named, optim.scale(1.0))
    updates, _ = tripled.update({"x": jnp.ones(2)}, tripled.init({"x": jnp.ones(2)}), value=3.0, other="unknown")
    np.testing.assert_array_equal(updates["x"], [3.0, 3.0])
    with pytest.raises(TypeError, match="value"):
        tripled.update({"x": jnp.ones(2)}, tripled.init({"x": jnp.ones(2)}))


# --- dtypes and trees ---


@functools.cache
def in_float64(name):
    return run(RECIPES[name][0](0.1), params(jnp.float64))


@few_recipes
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_every_dtype_stays_what_it_is_and_is_right_to_its_precision(name, dtype):
    make, _ = RECIPES[name]
    with jax.enable_x64(True):
        exact = in_float64(name)
        p = params(jnp.dtype(dtype))
        optimizer = make(0.1)
        state = optimizer.init(p)
        updates, new_state = jax.eval_shape(lambda p: optimizer.update(SLOPE(p), state, p), p)
        assert all(
            x.dtype == dtype for x in jax.tree.leaves((updates, jax.eval_shape(optim.apply_updates, p, updates)))
        )
        assert [x.dtype for x in jax.tree.leaves(new_state)] == [x.dtype for x in jax.tree.leaves(state)]
        assert_same(run(optimizer, p), exact, atol=8 * float(jnp.finfo(dtype).eps), rtol=0)


@pytest.mark.parametrize(
    "make",
    [
        lambda dtype: optim.momentum(0.1, state_dtype=dtype),
        lambda dtype: optim.rmsprop(0.1, momentum=0.9, centered=True, state_dtype=dtype),
        lambda dtype: optim.adam(0.1, state_dtype=dtype),
        lambda dtype: optim.OptimizerConfig(name="adamw", state_float32=True).build(optim.schedules.constant(0.1)),
    ],
)
def test_slots_may_be_wider_than_the_parameters(make):
    p = params(jnp.bfloat16)
    optimizer = make(jnp.float32)
    state = optimizer.init(p)
    updates, new_state = jax.eval_shape(lambda p: optimizer.update(SLOPE(p), state, p), p)
    assert {x.dtype.name for x in jax.tree.leaves(new_state) if x.ndim} == {"float32"}
    assert {x.dtype.name for x in jax.tree.leaves(updates)} == {"bfloat16"}


def test_a_second_moment_in_bfloat16_needs_a_wide_slot():
    """The reason for state_dtype: from 1, an average over 1,000 updates of zeros does not fall in bfloat16."""
    step = {dtype: optim.scale_by_adam(state_dtype=dtype) for dtype in (None, jnp.float32)}
    left = {}
    for dtype, transformation in step.items():
        state = transformation.init(jnp.ones((), jnp.bfloat16))
        state, update = state._replace(square_mean=jnp.ones_like(state.square_mean)), jax.jit(transformation.update)
        for _ in range(100):
            _, state = update(jnp.zeros((), jnp.bfloat16), state)
        left[dtype] = float(state.square_mean)
    assert left[None] == 1.0
    assert left[jnp.float32] == pytest.approx(0.999**100, rel=1e-4)


# --- under the transformations of JAX ---


@few_recipes
def test_compiled_once_and_equal_to_eager(name):
    make, _ = RECIPES[name]
    optimizer = make(optim.schedules.cosine(0.1, 10))
    p, state, traces = params(), optimizer.init(params()), 0

    @jax.jit
    def update(p, state):
        nonlocal traces
        traces += 1
        updates, state = optimizer.update(SLOPE(p), state, p)
        return optim.apply_updates(p, updates), state

    for _ in range(4):
        p, state = update(p, state)
    assert traces == 1
    assert_same(p, run(optimizer, jit=lambda update: update))


@few_recipes
def test_scanned(name):
    optimizer = RECIPES[name][0](0.1)

    def body(carry, _):
        p, state = carry
        updates, state = optimizer.update(SLOPE(p), state, p)
        return (optim.apply_updates(p, updates), state), None

    (p, _), _ = jax.lax.scan(body, (params(), optimizer.init(params())), length=4)
    assert_same(p, run(optimizer))


@few_recipes
def test_vmapped_over_members_and_rates(name):
    make, _ = RECIPES[name]
    rates = jnp.array([0.0, 0.05, 0.1])
    together = jax.vmap(lambda rate: run(make(rate)))(rates)
    assert_same(jax.tree.map(lambda x: x[2], together), run(make(0.1)))
    assert_same(jax.tree.map(lambda x: x[0], together), params(), atol=1e-7, rtol=0)


@few_recipes
def test_sharded_over_eight_devices(name):
    optimizer = optim.chain(optim.clip_by_global_norm(0.5), RECIPES[name][0](0.1))
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    places = {"w": NamedSharding(mesh, PartitionSpec("data")), "b": NamedSharding(mesh, PartitionSpec())}
    p = jax.device_put(params(), places)
    state = jax.jit(optimizer.init)(p)

    @jax.jit
    def update(p, state):
        updates, state = optimizer.update(SLOPE(p), state, p)
        return jax.lax.with_sharding_constraint(optim.apply_updates(p, updates), places), state

    for _ in range(4):
        p, state = update(p, state)
    assert p["w"].sharding.is_equivalent_to(places["w"], 2)
    assert_same(p, run(optimizer))


@each_recipe
def test_the_state_holds_what_the_algorithm_needs(name):
    make, slots = RECIPES[name]
    state = jax.eval_shape(make(0.1).init, params())
    sizes = [x.size * x.dtype.itemsize for x in jax.tree.leaves(state)]
    scalars = [x for x in jax.tree.leaves(state) if x.ndim == 0]
    weights = 4 * sum(x.size for x in jax.tree.leaves(params()))
    assert sum(sizes) == slots * weights + 4 * len(scalars)
    assert len(scalars) <= 3  # the last rate, and counts


def test_the_optimizer_can_be_differentiated():
    """Through an update of momentum: d(x1)/d(rate) = -g."""
    slope = jax.grad(lambda rate: run(optim.momentum(rate), jnp.array([1.0]), steps=1)[0])(0.1)
    assert float(slope) == pytest.approx(-float(SLOPE(jnp.array([1.0]))[0]))
