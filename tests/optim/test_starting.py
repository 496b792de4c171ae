"""Groups that join in later: frozen to the last bit before their start, trained as if they began there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import optim
from cs231n_jax.optim import DecayMode, OptimizerConfig

PARAMS = {"w": jnp.linspace(-1.0, 1.0, 6).reshape(2, 3), "b": jnp.array([0.5, -0.0, 1.0])}
RATE = optim.schedules.cosine(0.1, 8, 0.0)
START, STEPS = 3, 6
ONE = {"rate_paths": ("b",), "rate_factors": (1.0,)}


def gradient(params, step):
    return jax.tree.map(lambda p: jnp.sin(3 * p + step) + 0.2, params)


def run(optimizer, steps=STEPS, params=PARAMS, first=0):
    state, found = optimizer.init(params), []
    for step in range(first, first + steps):
        updates, state = optimizer.update(gradient(params, step), state, params)
        params = optim.apply_updates(params, updates)
        found.append((params, state))
    return found


@pytest.mark.parametrize("inner", [optim.adam(0.1), optim.momentum(0.1), optim.adagrad(RATE)])
def test_before_the_start_nothing_moves_and_after_it_all_is_as_from_there(inner):
    late = optim.start_at(inner, START)
    whole = run(late)
    for params, state in whole[:START]:
        for name in PARAMS:
            assert params[name].tobytes() == PARAMS[name].tobytes()  # the sign of zero too
        assert all(map(np.array_equal, jax.tree.leaves(state.inner), jax.tree.leaves(inner.init(PARAMS))))
    alone = run(inner, STEPS - START, first=START)
    for (params, state), (expected, inner_state) in zip(whole[START:], alone, strict=True):
        for a, b in zip(jax.tree.leaves((params, state.inner)), jax.tree.leaves((expected, inner_state))):
            np.testing.assert_array_equal(a, b)


def test_it_may_begin_at_once_and_is_counted_in_whole_updates():
    late, plain = optim.start_at(optim.adam(0.1), 0), optim.adam(0.1)
    np.testing.assert_array_equal(run(late)[-1][0]["w"], run(plain)[-1][0]["w"])
    with pytest.raises(ValueError, match="start is -1"):
        optim.start_at(plain, -1)


def test_gradients_that_are_not_finite_do_no_harm_before_the_start():
    late = optim.start_at(optim.adam(0.1), 1)
    bad = jax.tree.map(lambda p: jnp.full_like(p, jnp.nan), PARAMS)
    updates, state = late.update(bad, late.init(PARAMS), PARAMS)
    assert all((u == 0).all() for u in jax.tree.leaves(updates))
    assert bool(optim.all_finite(state))


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "sgd"},
        {"name": "momentum", "weight_decay": 0.1, "decay_mode": DecayMode.DECOUPLED},
        {"name": "nesterov", "rate_inside": True, "weight_decay": 0.1, "max_norm": 0.3},
        {"name": "adam", "clip_norm": 0.5, "clip_value": 0.2},
        {"name": "adamw", "weight_decay": 0.1, "measure_ratio": True},
    ],
)
def test_a_late_group_is_that_of_frozen_and_then_trained(fields):
    """Until the start all others are, to the last digit, as beside a frozen group; then the group has its own rate."""
    late = OptimizerConfig(**fields, rate_paths=("^b$",), rate_factors=(0.1,), rate_starts=("3",))
    whole = run(late.build(RATE, group_starts=(START,)))
    plain = OptimizerConfig(**fields).build(RATE)
    frozen = run(optim.partition({"still": ("^b$", optim.freeze()), "rest": (optim.OTHERS, plain)}), START)
    for (params, state), (expected, _) in zip(whole[:START], frozen, strict=True):
        assert params["b"].tobytes() == PARAMS["b"].tobytes()
        np.testing.assert_array_equal(params["w"], expected["w"])
        assert float(optim.measurements(state)["learning_rate/^b$"]) == 0
    after = whole[START]
    read = optim.measurements(after[1])
    assert float(read["learning_rate/^b$"]) == pytest.approx(0.1 * float(RATE(START)), rel=1e-6)
    assert float(read["learning_rate/<others>"]) == pytest.approx(float(RATE(START)), rel=1e-6)
    assert (after[0]["b"] != PARAMS["b"]).all()


def test_the_norm_is_that_of_what_is_trained():
    config = OptimizerConfig(name="sgd", rate_paths=("^b$",), rate_factors=(1.0,), rate_starts=("3",))
    whole = run(config.build(RATE, group_starts=(START,)))
    found = [float(optim.measurements(state)["gradient_norm"]) for _, state in whole]
    params = PARAMS
    for step, (after, _) in enumerate(whole):
        grads = gradient(params, step)
        seen = grads if step >= START else {"w": grads["w"]}
        assert found[step] == pytest.approx(float(optim.global_norm(seen)), rel=1e-6)
        params = after


def test_without_a_start_a_state_is_what_it_was():
    """Snapshots of runs without late groups go on to be read."""
    groups = {"rate_paths": ("^b$",), "rate_factors": (0.1,)}
    plain = OptimizerConfig(name="adam", **groups).build(RATE).init(PARAMS)
    for starts in ((), (0,)):
        made = OptimizerConfig(name="adam", **groups).build(RATE, group_starts=starts).init(PARAMS)
        assert jax.tree.structure(made) == jax.tree.structure(plain)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"rate_starts": ("3",)}, "one for each path"),
        (
            {"rate_paths": ("b",), "rate_factors": (1.0,), "rate_starts": ("soon",)},
            "optimizer.rate_starts: the duration",
        ),
    ],
)
def test_starts_that_make_no_sense_are_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        OptimizerConfig(**fields).validate()
