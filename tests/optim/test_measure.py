import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cs231n_jax import optim

PARAMS = {"w": jnp.array([[3.0, 0.0], [0.0, 4.0]])}
GRADS = {"w": jnp.array([[0.0, 6.0], [8.0, 0.0]])}


def numbers(state):
    return {name: float(value) for name, value in optim.measurements(state).items()}


def test_the_state_tells_what_the_last_update_did():
    rate = optim.schedules.linear(0.1, 0.0, 10)
    optimizer = optim.OptimizerConfig(name="sgd", clip_norm=5.0, measure_ratio=True).build(rate)
    state, params = optimizer.init(PARAMS), PARAMS
    for step in range(3):
        updates, state = optimizer.update(GRADS, state, params)
        expected = {"gradient_norm": 10.0, "clip_factor": 0.5, "learning_rate": float(rate(step))}
        expected["update_ratio"] = 5.0 * expected["learning_rate"] / float(optim.global_norm(params))
        assert numbers(state) == pytest.approx(expected, rel=1e-6)
        params = optim.apply_updates(params, updates)


def test_without_clipping_there_is_no_factor_and_the_ratio_is_an_option():
    optimizer = optim.OptimizerConfig(name="adam").build(optim.schedules.constant(0.1))
    assert set(optim.measurements(optimizer.init(PARAMS))) == {"gradient_norm", "learning_rate"}


def test_a_ratio_to_nothing_is_finite():
    optimizer = optim.chain(optim.sgd(0.1), optim.measure_update_ratio())
    _, state = optimizer.update(GRADS, optimizer.init(PARAMS), jax.tree.map(jnp.zeros_like, PARAMS))
    assert np.isfinite(numbers(state)["update_ratio"])
    with pytest.raises(ValueError, match="needs the parameters"):
        optimizer.update(GRADS, state)


def test_a_norm_that_the_caller_has_is_not_computed_again():
    optimizer = optim.drop_nonfinite(optim.chain(optim.measure_gradient_norm(), optim.sgd(0.1)), 3)
    _, state = optimizer.update(GRADS, optimizer.init(PARAMS), PARAMS, gradient_norm=jnp.array(7.0))
    assert numbers(state)["gradient_norm"] == 7.0


@pytest.mark.parametrize(
    "optimizer",
    [
        optim.chain(optim.clip_by_value(100.0), optim.measure_gradient_norm()),
        optim.masked(optim.measure_gradient_norm(), {"w": True}),
        optim.partition({"all": (optim.OTHERS, optim.measure_gradient_norm())}),
        optim.clip_by_global_norm(100.0),
        optax.chain(optax.clip(100.0), optax.GradientTransformationExtraArgs(*optim.measure_gradient_norm())),
    ],
)
def test_a_norm_that_the_caller_has_is_not_that_of_other_updates(optimizer):
    _, state = optim.chain(optimizer).update(GRADS, (optimizer.init(PARAMS),), PARAMS, gradient_norm=jnp.array(7.0))
    assert numbers(state)["gradient_norm"] == pytest.approx(10.0)


def test_a_norm_may_be_of_a_sum_and_tell_of_the_mean():
    """Bit for bit, below and above the size to which leaves are put together, in each dtype."""
    leaves = {name: jax.random.normal(jax.random.key(i), (n,)) for i, (name, n) in enumerate((("a", 7), ("b", 70_000)))}
    tree = {**leaves, "c": leaves["a"].astype(jnp.bfloat16)}
    for count in (1, 7, 64.0, jnp.float32(50)):
        mean = jax.tree.map(lambda x, n=count: x / jnp.asarray(n, x.dtype), tree)
        assert float(optim.global_norm(tree, count)) == float(optim.global_norm(mean))


@pytest.mark.parametrize(
    "around",
    [
        lambda t: optax.chain(optax.identity(), t),
        lambda t: optax.masked(t, {"w": True}),
        lambda t: optax.MultiSteps(t, 1),
        lambda t: optim.drop_nonfinite(optim.masked(t, optim.not_vectors), 3),
    ],
)
def test_measurements_are_found_wherever_they_are_nested(around):
    optimizer = around(optim.sgd(0.25))
    with jax.numpy_dtype_promotion("standard"):  # optax.MultiSteps needs it
        _, state = optimizer.update(GRADS, optimizer.init(PARAMS), PARAMS)
    assert numbers(state)["learning_rate"] == 0.25


def test_the_ema_follows_the_parameters():
    optimizer = optim.chain(optim.sgd(1.0), optim.track_ema(0.75))
    state, x, average = optimizer.init(jnp.array(8.0)), jnp.array(8.0), 8.0
    for _ in range(5):
        updates, state = optimizer.update(jnp.array(1.0), state, x)
        x = optim.apply_updates(x, updates)
        average = 0.75 * average + 0.25 * float(x)
    assert float(optim.average_of(state)) == pytest.approx(average)


def test_the_mean_is_of_all_points_after_its_start():
    optimizer = optim.chain(optim.sgd(1.0), optim.track_mean(start=2))
    state, x, points = optimizer.init(jnp.array(0.0)), jnp.array(0.0), []
    for step in range(6):
        updates, state = optimizer.update(jnp.array(-float(step)), state, x)
        x = optim.apply_updates(x, updates)
        points.append(float(x))
        expected = np.mean(points[2:]) if step >= 2 else points[-1]
        assert float(optim.average_of(state)) == pytest.approx(expected)


def test_an_average_may_be_wider_than_the_parameters():
    optimizer = optim.track_ema(0.999, state_dtype=jnp.float32)
    params = jnp.ones(3, jnp.bfloat16)
    state = optimizer.init(params)
    for _ in range(100):
        _, state = optimizer.update(jnp.ones(3, jnp.bfloat16), state, params)
    average = optim.average_of((state,))
    assert average.dtype == jnp.float32
    np.testing.assert_allclose(average, 2 - 0.999**100, rtol=1e-5)


def test_an_average_is_asked_for_only_where_there_is_one():
    for state in ((), (optim.track_ema().init(PARAMS), optim.track_ema().init(PARAMS))):
        with pytest.raises(ValueError, match="averages of the parameters"):
            optim.average_of(state)
    with pytest.raises(ValueError, match="velocities"):
        optim.lookahead(PARAMS, ())
