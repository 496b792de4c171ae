"""Laws that hold for every tree and every gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cs231n_jax import optim

few = settings(max_examples=25, derandomize=True)
RECIPES = {
    "sgd": optim.sgd,
    "momentum": optim.momentum,
    "nesterov": optim.nesterov,
    "adagrad": optim.adagrad,
    "rmsprop": optim.rmsprop,
    "adam": optim.adam,
    "adamw": optim.adamw,
}

# One shape of leaf, so that the compilations of one example serve the others.
leaves = st.integers(0, 2**31 - 1).map(lambda seed: np.random.default_rng(seed).normal(size=3).astype(np.float32))
trees = st.recursive(
    leaves | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3)
        | st.tuples(inner, inner)
    ),
    max_leaves=6,
)


def run(optimizer, tree, gradients):
    state, out = optimizer.init(tree), []
    for g in gradients:
        updates, state = optimizer.update(jax.tree.map(jnp.asarray, g), state, tree)
        out.append(updates)
    return out, state


def close(a, b, rtol=1e-5, atol=1e-6):
    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        np.allclose(x, y, rtol=rtol, atol=atol) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b))
    )


@few
@given(tree=trees, name=st.sampled_from(sorted(RECIPES)))
def test_any_tree_keeps_its_structure_and_every_leaf_goes_its_own_way(tree, name):
    optimizer = RECIPES[name](0.1)
    tree = jax.tree.map(jnp.asarray, tree)
    (updates,), state = run(optimizer, tree, [tree])
    assert jax.tree.structure(updates) == jax.tree.structure(tree)
    assert jax.tree.structure(optimizer.update(tree, state, tree)[1]) == jax.tree.structure(state)
    alone = [run(optimizer, leaf, [leaf])[0][0] for leaf in jax.tree.leaves(tree)]
    assert close(jax.tree.leaves(updates), alone)


@few
@given(name=st.sampled_from(["adam", "adagrad", "rmsprop"]), factor=st.integers(-20, 20), seed=st.integers(0, 99))
def test_adaptive_steps_do_not_depend_on_the_scale_of_the_gradient(name, factor, seed):
    optimizer = RECIPES[name](0.1, eps=0.0)
    gradients = list(np.random.default_rng(seed).normal(size=(4, 3)).astype(np.float32))
    scaled = [g * np.float32(2.0**factor) for g in gradients]
    x = jnp.zeros(3)
    assert close(run(optimizer, x, gradients)[0], run(optimizer, x, scaled)[0], rtol=1e-5)


@few
@given(name=st.sampled_from(["sgd", "momentum", "nesterov"]), factor=st.floats(0.01, 100.0), seed=st.integers(0, 99))
def test_plain_steps_are_linear_in_the_gradient(name, factor, seed):
    gradients = list(np.random.default_rng(seed).normal(size=(4, 3)).astype(np.float32))
    x = jnp.zeros(3)
    plain = [u * np.float32(factor) for u in run(RECIPES[name](0.1), x, gradients)[0]]
    assert close(plain, run(RECIPES[name](0.1), x, [g * np.float32(factor) for g in gradients])[0], 1e-4, 1e-4)


STEPS = (
    optim.clip_by_value(0.5),
    optim.clip_by_global_norm(0.7),
    optim.trace(0.9),
    optim.scale_by_adam(),
    optim.scale_by_rms(),
    optim.add_decayed_weights(0.1),
    optim.scale(2.0),
    optim.scale_by_learning_rate(0.1),
)


@few
@given(st.lists(st.sampled_from(STEPS), max_size=5), st.integers(0, 5), st.integers(0, 99))
def test_chains_are_associative_and_the_empty_one_is_neutral(steps, cut, seed):
    g = list(np.random.default_rng(seed).normal(size=(3, 3)).astype(np.float32))
    x = jnp.ones(3)
    flat, state = run(optim.chain(*steps), x, g)
    nested, other = run(optim.chain(optim.chain(*steps[:cut]), optim.chain(), optim.chain(*steps[cut:])), x, g)
    for a, b in zip(flat + jax.tree.leaves(state), nested + jax.tree.leaves(other)):
        np.testing.assert_array_equal(a, b)


@few
@given(tree=trees, limit=st.floats(1e-3, 1e3))
def test_a_clipped_gradient_fits_and_keeps_its_direction(tree, limit):
    tree = jax.tree.map(jnp.asarray, tree)
    clipping = optim.clip_by_global_norm(limit)
    clipped, state = clipping.update(tree, clipping.init(tree))
    assert float(optim.global_norm(clipped)) <= limit * (1 + 1e-5)
    assert close(clipped, jax.tree.map(lambda x: x * float(state.clip_factor), tree))


@few
@given(tree=trees, seed=st.integers(0, 99))
def test_a_partition_is_its_parts_side_by_side(tree, seed):
    """Each leaf by a coin goes to one of two rules; the result is theirs on the two halves."""
    tree = jax.tree.map(jnp.asarray, tree)
    paths = [optim.masking.path_name(path) for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]
    coins = dict(zip(paths, np.random.default_rng(seed).integers(0, 2, len(paths)).astype(bool)))
    rules = {"heads": (lambda path: bool(coins[path]), optim.adam(0.1)), "tails": (optim.OTHERS, optim.sgd(0.3))}
    both, _ = run(optim.partition(rules), tree, [tree, tree])
    adam, sgd = (run(make, tree, [tree, tree])[0] for make in (optim.adam(0.1), optim.sgd(0.3)))
    for new, by_adam, by_sgd in zip(both, adam, sgd):
        expected = [a if coins[p] else b for p, a, b in zip(paths, jax.tree.leaves(by_adam), jax.tree.leaves(by_sgd))]
        assert close(jax.tree.leaves(new), expected)


@pytest.mark.parametrize("last", [2**31 - 2, 2**31 - 1])
def test_counts_stay_at_their_maximum(last):
    optimizer = optim.adam(optim.schedules.constant(0.1))  # a constant rate counts nothing
    state = jax.tree.map(lambda x: jnp.full_like(x, last) if x.dtype == jnp.int32 else x, optimizer.init(jnp.ones(3)))
    updates, state = optimizer.update(jnp.ones(3), state)
    assert np.all(np.isfinite(updates))
    assert {int(x) for x in jax.tree.leaves(state) if x.dtype == jnp.int32} == {2**31 - 1}
