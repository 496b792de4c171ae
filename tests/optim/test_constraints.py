"""The max-norm constraint against float64 numpy: unit by unit, after every update."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import optim
from cs231n_jax.optim import OptimizerConfig
from tests.references import optimizers as reference
from tests.rows import but_for

SHAPES = {"dense": (6, 4), "conv": (3, 3, 2, 5), "bias": (7,)}


def draw(seed, dtype="float64"):
    random = np.random.default_rng(seed)
    return {name: jnp.asarray(random.normal(size=shape), dtype) for name, shape in SHAPES.items()}


def units(w):
    return np.linalg.norm(np.asarray(w, np.float64).reshape(-1, w.shape[-1]), axis=0)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-14), ("float32", 1e-6)])
@pytest.mark.parametrize("compiled", but_for([True], [False, True]))
def test_many_updates(dtype, tolerance, compiled, x64):
    """Twenty steps of momentum: each followed by the projection of the parameters."""
    limit = 2.0
    optimizer = optim.chain(optim.trace(0.9), optim.scale_by_learning_rate(0.05), optim.max_norm(limit))
    update = jax.jit(optimizer.update) if compiled else optimizer.update
    params, target = draw(0, dtype), draw(1, dtype)
    params["dense"], target["dense"] = (x.at[:, 0].multiply(0.2) for x in (params["dense"], target["dense"]))
    state, expected, memory = optimizer.init(params), jax.tree.map(lambda x: np.asarray(x, np.float64), params), {}
    rule, touched = reference.momentum(0.9), set()
    for t in range(1, 21):
        updates, state = update(jax.tree.map(lambda p, q: p - 2 * q, params, target), state, params)
        params = optim.apply_updates(params, updates)
        for name, x in expected.items():
            slots = memory.setdefault(name, {})
            moved = rule(x, x - 2 * np.asarray(target[name], np.float64), 0.05, t, slots)
            expected[name] = moved if name == "bias" else reference.max_norm(moved, limit)
            touched |= {name} if (expected[name] != moved).any() else set()
            np.testing.assert_allclose(params[name], expected[name], rtol=0, atol=20 * tolerance)
        assert max(units(params["dense"]).max(), units(params["conv"]).max()) <= limit * (1 + 4 * tolerance)
    assert touched == {"dense", "conv"}
    assert units(params["dense"]).min() < limit * 0.99  # a unit that stays inside


def test_units_inside_keep_their_update_bit_for_bit():
    params, updates = draw(0, "float32"), jax.tree.map(lambda x: 0.01 * x, draw(1, "float32"))
    limit = float(np.median(units(optim.apply_updates(params, updates)["dense"])))
    new, _ = optim.max_norm(limit).update(updates, optim.EmptyState(), params)
    inside = units(optim.apply_updates(params, updates)["dense"]) <= limit
    assert 0 < inside.sum() < 4
    np.testing.assert_array_equal(new["dense"][:, inside], updates["dense"][:, inside])
    assert (new["dense"][:, ~inside] != updates["dense"][:, ~inside]).any(0).all()
    np.testing.assert_array_equal(new["bias"], updates["bias"])
    far, _ = optim.max_norm(1e6).update(updates, optim.EmptyState(), params)
    for name, x in updates.items():
        np.testing.assert_array_equal(far[name], x)


def test_narrow_parameters_vmap_and_nan():
    params, updates = draw(0, "bfloat16"), draw(1, "bfloat16")
    updates["dense"] = updates["dense"].at[2, 1].set(jnp.nan)
    project = optim.max_norm(1.0)
    new, _ = project.update(updates, project.init(params), params)
    assert new["dense"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(jnp.isnan(new["dense"]), jnp.isnan(updates["dense"]))
    # bfloat16 has 8 bits: the update and the sum are rounded once each.
    assert np.nanmax(units(optim.apply_updates(params, new)["dense"])[[0, 2, 3]]) <= 1 + 2**-6
    params, updates = draw(0, "float32"), draw(1, "float32")
    two = jax.vmap(lambda u, p: project.update(u, optim.EmptyState(), p)[0])(
        *[jax.tree.map(lambda x: jnp.stack([x, x]), tree) for tree in (updates, params)]
    )
    one, _ = project.update(updates, optim.EmptyState(), params)
    for name in ("dense", "conv"):
        np.testing.assert_allclose(two[name][1], one[name], rtol=1e-6, atol=1e-6)


def test_the_config_puts_it_behind_the_rate_and_off_is_the_same_chain():
    params, gradient = draw(0, "float32"), draw(1, "float32")

    def first_update(**fields):
        optimizer = OptimizerConfig(name="adam", **fields).build(lambda count: 0.5)
        updates, state = optimizer.update(gradient, optimizer.init(params), params)
        return optim.apply_updates(params, updates), state

    bound, _ = first_update(max_norm=1.5)
    free, state = first_update()
    assert units(free["conv"]).max() > 1.6
    assert units(bound["conv"]).max() <= 1.5 * (1 + 1e-6)
    np.testing.assert_allclose(bound["dense"], reference.max_norm(np.asarray(free["dense"]), 1.5), rtol=0, atol=1e-6)
    assert jax.tree.structure(state) == jax.tree.structure(first_update(max_norm=0.0)[1])
    with pytest.raises(ValueError, match=r"optimizer\.max_norm is -1"):
        OptimizerConfig(max_norm=-1.0).validate()


def test_what_cannot_be():
    with pytest.raises(ValueError, match=r"limit is 0.*above 0"):
        optim.max_norm(0.0)
    with pytest.raises(ValueError, match="max_norm needs the parameters"):
        optim.max_norm(1.0).update(draw(0, "float32"), optim.EmptyState())
