import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import optim
from cs231n_jax.optim import DecayMode, OptimizerConfig, ScheduleConfig

PARAMS = {"w": jnp.linspace(-1.0, 1.0, 6).reshape(2, 3), "b": jnp.array([0.5, -0.5, 1.0])}
RATE = optim.schedules.step(0.1, [2], [0.5])
chain, decay = optim.chain, optim.add_decayed_weights


def run(optimizer):
    params, state = PARAMS, optimizer.init(PARAMS)
    for _ in range(4):
        updates, state = optimizer.update(jax.tree.map(lambda p: jnp.sin(3 * p) + 0.2, params), state, params)
        params = optim.apply_updates(params, updates)
    return params


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"name": "sgd"}, optim.sgd(RATE)),
        ({"name": "momentum", "momentum": 0.8}, optim.momentum(RATE, 0.8)),
        ({"name": "momentum", "rate_inside": True}, optim.momentum(RATE, rate_inside=True)),
        ({"name": "nesterov"}, optim.nesterov(RATE)),
        ({"name": "nesterov", "rate_inside": True}, optim.nesterov(RATE, rate_inside=True)),
        ({"name": "adagrad", "initial_accumulator": 0.1}, optim.adagrad(RATE, 1e-8, initial_accumulator=0.1)),
        ({"name": "rmsprop", "decay": 0.8, "centered": True}, optim.rmsprop(RATE, 0.8, centered=True)),
        ({"name": "rmsprop", "rmsprop_momentum": 0.5}, optim.rmsprop(RATE, momentum=0.5)),
        (
            {"name": "rmsprop", "rmsprop_momentum": 0.5, "rate_inside": True, "eps_inside_sqrt": True},
            optim.rmsprop(RATE, momentum=0.5, rate_inside=True, eps_inside_sqrt=True),
        ),
        ({"name": "adam", "b1": 0.8, "b2": 0.9, "eps": 1e-3}, optim.adam(RATE, 0.8, 0.9, 1e-3)),
        ({"name": "adam", "bias_correction": False}, optim.adam(RATE, bias_correction=False)),
        ({"name": "adamw", "weight_decay": 0.1}, optim.adamw(RATE, weight_decay=0.1)),
        (
            {"name": "adamw", "weight_decay": 0.1, "decay_vectors": False},
            optim.adamw(RATE, weight_decay=0.1, mask=optim.not_vectors),
        ),
        ({"name": "adam", "weight_decay": 0.1}, chain(decay(0.1), optim.adam(RATE))),
        (
            {"name": "adam", "weight_decay": 0.1, "decay_mode": DecayMode.DECOUPLED},
            optim.adamw(RATE, weight_decay=0.1),
        ),
        ({"name": "momentum", "weight_decay": 0.1}, chain(decay(0.1), optim.momentum(RATE))),
        (
            {"name": "momentum", "weight_decay": 0.1, "decay_vectors": False},
            chain(decay(0.1, optim.not_vectors), optim.momentum(RATE)),
        ),
        (
            {"name": "momentum", "weight_decay": 0.1, "decay_mode": DecayMode.DECOUPLED},
            chain(optim.trace(0.9), decay(0.1), optim.sgd(RATE)),
        ),
        (
            {"name": "momentum", "weight_decay": 0.1, "clip_norm": 0.5, "clip_value": 0.3},
            chain(optim.clip_by_global_norm(0.5), optim.clip_by_value(0.3), decay(0.1), optim.momentum(RATE)),
        ),
    ],
)
def test_a_config_builds_the_recipe(fields, expected):
    built = run(OptimizerConfig(**fields).build(RATE))
    for name, x in run(expected).items():
        np.testing.assert_allclose(built[name], x, rtol=1e-6)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "addam"}, "did you mean 'adam'"),
        ({"name": "SGD"}, "there are sgd, momentum"),
        ({"learning_rate": -0.1}, "optimizer.learning_rate is -0.1"),
        ({"momentum": 1.0}, "optimizer.momentum is 1.0"),
        ({"b2": 1.0}, "optimizer.b2 is 1.0"),
        ({"eps": -1e-8}, "optimizer.eps is -1e-08"),
        ({"weight_decay": float("nan")}, "optimizer.weight_decay is nan"),
        ({"clip_norm": -1.0}, "optimizer.clip_norm is -1.0"),
        ({"name": "adam", "rate_inside": True}, "optimizer.rate_inside=True is not read by adam, which has eps, .*b1"),
        ({"name": "adamw", "momentum": 0.5}, "leave it at 0.9, or choose another optimizer"),
        ({"name": "sgd", "state_float32": True}, "not read by sgd, which has none of its own"),
        ({"name": "momentum", "rmsprop_momentum": 0.5}, "optimizer.rmsprop_momentum=0.5 is not read by momentum"),
        ({"name": "rmsprop", "rate_inside": True}, "set rmsprop_momentum"),
        ({"rate_paths": ("^w",)}, "one factor for each path"),
        ({"rate_paths": ("w", "w"), "rate_factors": (0.1, 0.1)}, "no path twice"),
        ({"rate_paths": ("(w",), "rate_factors": (0.1,)}, r"one of optimizer.rate_paths is '\(w', which is no regular"),
        ({"rate_paths": ("w",), "rate_factors": (-0.1,)}, "optimizer.rate_factors is -0.1"),
        ({"rate_inside": True, "weight_decay": 0.1, "decay_mode": DecayMode.DECOUPLED}, "cannot be combined"),
    ],
)
def test_a_config_out_of_range_is_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        OptimizerConfig(**fields).build(RATE)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "sgd"},
        {"name": "momentum", "weight_decay": 0.1, "decay_mode": DecayMode.DECOUPLED},
        {"name": "nesterov", "rate_inside": True, "weight_decay": 0.1},
        {"name": "rmsprop", "rmsprop_momentum": 0.5},
        {"name": "adamw", "weight_decay": 0.1},
    ],
)
def test_a_group_is_trained_with_exactly_its_share_of_the_rate(fields):
    """Bit by bit that of an optimizer whose schedule is that much lower; the norm of clipping is still that of all."""
    grouped = OptimizerConfig(**fields, rate_paths=("^b$",), rate_factors=(0.1,), clip_norm=0.5)
    plain = OptimizerConfig(**fields, clip_norm=0.5)
    gradient = jax.tree.map(lambda p: jnp.sin(3 * p) + 0.2, PARAMS)

    def updates(optimizer, rounds=4):
        state, found = optimizer.init(PARAMS), []
        for _ in range(rounds):
            update, state = optimizer.update(gradient, state, PARAMS)
            found.append(update)
        return found, state

    both, state = updates(grouped.build(RATE))
    full, _ = updates(plain.build(RATE))
    low, _ = updates(plain.build(lambda count: 0.1 * RATE(count)))
    for new, at_full_rate, at_low_rate in zip(both, full, low):
        np.testing.assert_array_equal(new["w"], at_full_rate["w"])
        np.testing.assert_array_equal(new["b"], at_low_rate["b"])
    read = optim.measurements(state)
    assert float(read["learning_rate/^b$"]) == pytest.approx(0.005)
    assert float(read["learning_rate/<others>"]) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (("^w", "^c"), r"rate_paths=\('\^w', '\^c'\): '\^c' matches no parameter that is trained"),
        (("w", "w$"), r"rate_paths=.*: the parameter 'w' is matched by w and w\$"),
    ],
)
def test_a_path_that_fits_nothing_and_a_parameter_in_two_groups_are_named(paths, words):
    with pytest.raises(ValueError, match=words):
        OptimizerConfig(rate_paths=paths, rate_factors=(0.1, 0.1)).build(RATE).init(PARAMS)


def test_every_field_can_be_set_from_a_command_line():
    """No unions, no None: the type of each field is that of its default."""
    for config in (OptimizerConfig(), ScheduleConfig()):
        for field in dataclasses.fields(config):
            value = getattr(config, field.name)
            assert isinstance(value, field.type if isinstance(field.type, type) else tuple), field.name


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("decay_mode", "decoupled"),
        ("bias_correction", "no"),
        ("name", None),
        ("name", 3),
        ("rate_paths", "ab"),
        ("rate_factors", ("a",)),
        ("rate_starts", (3,)),
        ("momentum", True),
        ("momentum", "0.9"),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(field, value):
    config = OptimizerConfig()
    setattr(config, field, value)  # past the annotations, which are checked in tests alone
    with pytest.raises(ValueError, match=rf"optimizer\.{field}="):
        config.validate()


def test_numbers_of_numpy_and_whole_numbers_are_numbers():
    config = OptimizerConfig()
    config.learning_rate, config.momentum, config.rate_paths, config.rate_factors = 1, np.float32(0.5), ["a"], [1]
    config.validate()
    schedule = ScheduleConfig()
    schedule.boundaries = "50%"
    with pytest.raises(ValueError, match=r"schedule\.boundaries='50%' must be a tuple of str"):
        schedule.validate()
