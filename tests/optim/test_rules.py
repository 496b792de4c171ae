"""Numbers that the update rules must give, from papers and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import optim


def path(optimizer, gradient, x, steps):
    """All points of a run, the start included."""
    state = optimizer.init(x)

    @jax.jit
    def update(x, state):
        updates, state = optimizer.update(gradient(x), state, x)
        return optim.apply_updates(x, updates), state

    points = [x]
    for _ in range(steps):
        x, state = update(x, state)
        points.append(x)
    return np.stack(points)


@pytest.mark.usefixtures("x64")
def test_the_two_forms_of_momentum_part_when_the_rate_falls():
    rate = optim.schedules.step(0.1, [10], [0.1])
    outside = path(optim.momentum(rate), lambda x: x, jnp.ones(()), 20)
    inside = path(optim.momentum(rate, rate_inside=True), lambda x: x, jnp.ones(()), 20)
    np.testing.assert_allclose(outside[:11], inside[:11], atol=1e-15)
    assert round(float(outside[20]), 4) == -0.3584
    assert round(float(inside[20]), 4) == -0.2924


@pytest.mark.usefixtures("x64")
def test_three_forms_of_nesterov_meet_at_the_point_ahead():
    curvature, start, expected = jnp.array([1.0, 10.0]), jnp.ones(2), [-0.13223767, -0.00033995]
    slope = lambda x: curvature * x  # noqa: E731
    torch_form = path(optim.nesterov(0.02), slope, start, 30)[-1]
    lecture_form = path(optim.nesterov(0.02, rate_inside=True), slope, start, 30)[-1]

    ahead = optim.momentum(0.02, rate_inside=True)
    x, state = start, ahead.init(start)
    for _ in range(30):
        updates, state = ahead.update(slope(optim.lookahead(x, state)), state)
        x = optim.apply_updates(x, updates)
    for point in (torch_form, lecture_form, optim.lookahead(x, state)):
        np.testing.assert_allclose(point, expected, atol=5e-9)


@pytest.mark.usefixtures("x64")
def test_adagrad_slows_down_as_one_over_the_root_of_time():
    points = path(optim.adagrad(0.5, eps=0.0), lambda x: jnp.full_like(x, 3.0), jnp.zeros(()), 50)
    np.testing.assert_allclose(-np.diff(points), 0.5 / np.sqrt(np.arange(1, 51)), rtol=1e-12)


@pytest.mark.parametrize(("decay", "expected"), [(0.9, 1.0000132), (0.99, 1.25593)])
@pytest.mark.usefixtures("x64")
def test_rmsprop_settles_on_steps_of_the_learning_rate(decay, expected):
    points = path(optim.rmsprop(1.0, decay, eps=0.0), jnp.ones_like, jnp.zeros(()), 101)
    step = float(-np.diff(points)[99])
    assert step == pytest.approx((1 - decay**100) ** -0.5, rel=1e-10)
    assert step == pytest.approx(expected, rel=5e-6)


@pytest.mark.usefixtures("x64")
def test_adam_without_correction_starts_too_fast():
    gradient = lambda x: jnp.ones_like(x)  # noqa: E731
    full = np.diff(path(optim.adam(1.0, eps=0.0), gradient, jnp.zeros(()), 20))
    almost = np.diff(path(optim.adam(1.0, eps=0.0, bias_correction=False), gradient, jnp.zeros(()), 20))
    ratio = almost / full
    for t, factor in {1: 3.1623, 2: 4.2496, 5: 5.7971, 10: 6.5279, 12: 6.5685}.items():
        assert float(ratio[t - 1]) == pytest.approx(factor, abs=5e-5)
    assert np.argmax(ratio) == 11


def test_the_first_step_of_adam_is_the_rate_times_the_sign():
    g = jnp.array([1e-4, -3.0, 500.0])
    x = path(optim.adam(0.01, eps=1e-12), lambda x: g, jnp.zeros(3), 1)[1]
    np.testing.assert_allclose(x, [-0.01, 0.01, -0.01], rtol=1e-6)


def test_the_correction_of_adam_does_not_cancel_in_float32():
    state = optim.scale_by_adam(eps=0.0).init(jnp.zeros(()))
    update, _ = optim.scale_by_adam(b1=0.0, eps=0.0).update(jnp.ones(()), state)
    assert abs(float(update) - 1) < 2e-7  # 1 - 0.999 in float32 would make it 1 - 2.4e-5


def test_a_momentum_of_zero_and_decays_of_zero_are_allowed():
    g = jnp.array([2.0, -3.0])
    for optimizer in (optim.momentum(0.1, 0.0), optim.nesterov(0.1, 0.0), optim.sgd(0.1)):
        np.testing.assert_allclose(path(optimizer, lambda x: g, jnp.zeros(2), 1)[1], -0.1 * g, rtol=1e-6)
    for optimizer in (optim.rmsprop(0.1, 0.0, 0.0), optim.adam(0.1, 0.0, 0.0, 0.0)):
        np.testing.assert_allclose(path(optimizer, lambda x: g, jnp.zeros(2), 1)[1], [-0.1, 0.1], rtol=1e-6)


def test_where_the_gradient_is_zero_nothing_moves():
    for optimizer in (optim.adagrad(0.1), optim.rmsprop(0.1), optim.adam(0.1), optim.rmsprop(0.1, centered=True)):
        np.testing.assert_array_equal(path(optimizer, jnp.zeros_like, jnp.ones(2), 3)[-1], 1.0)


def test_a_centered_rmsprop_of_a_constant_gradient_is_finite():
    points = path(optim.rmsprop(1e-3, centered=True), lambda x: jnp.full_like(x, 0.1), jnp.zeros(3), 500)
    assert np.all(np.isfinite(points))


@pytest.mark.parametrize(
    ("mine", "same_as"),
    [
        (optim.lecture.sgd(0.1), optim.sgd(0.1)),
        (optim.lecture.momentum(0.1), optim.momentum(0.1)),
        (optim.lecture.sutskever(0.1), optim.momentum(0.1, rate_inside=True)),
        (optim.lecture.nesterov(0.1), optim.nesterov(0.1, rate_inside=True)),
        (optim.lecture.adagrad(0.1), optim.adagrad(0.1, 1e-7)),
        (optim.lecture.rmsprop(0.1), optim.rmsprop(0.1, 0.99, 1e-7)),
        (optim.lecture.adam(0.1), optim.adam(0.1, eps=1e-7)),
        (optim.lecture.adam_almost(0.1), optim.adam(0.1, eps=1e-7, bias_correction=False)),
    ],
)
def test_the_lectures_forms_are_presets(mine, same_as):
    slope = lambda x: x - 0.3  # noqa: E731
    np.testing.assert_array_equal(path(mine, slope, jnp.ones(2), 5), path(same_as, slope, jnp.ones(2), 5))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: optim.sgd(-0.1), "learning_rate is -0.1"),
        (lambda: optim.sgd(float("nan")), "learning_rate is nan"),
        (lambda: optim.momentum(0.1, 1.0), "momentum is 1.0"),
        (lambda: optim.nesterov(0.1, -0.5), "momentum is -0.5"),
        (lambda: optim.adagrad(0.1, -1e-8), "eps is -1e-08"),
        (lambda: optim.adagrad(0.1, initial_accumulator=-1.0), "initial_accumulator is -1.0"),
        (lambda: optim.rmsprop(0.1, 1.5), "decay is 1.5"),
        (lambda: optim.adam(0.1, 1.0), "b1 is 1.0"),
        (lambda: optim.adam(0.1, b2=float("inf")), "b2 is inf"),
        (lambda: optim.adam(0.1, eps=-1.0), "eps is -1.0"),
        (lambda: optim.adamw(0.1, weight_decay=-0.1), "weight_decay is -0.1"),
        (lambda: optim.clip_by_value(0.0), "limit is 0.0"),
        (lambda: optim.clip_by_global_norm(-1.0), "max_norm is -1.0"),
        (lambda: optim.drop_nonfinite(optim.sgd(0.1), -1), "max_consecutive is -1"),
        (lambda: optim.track_ema(1.0), "decay is 1.0"),
        (lambda: optim.trace(0.9, nesterov=True, rearranged=True), "two forms"),
        (lambda: optim.rmsprop(0.1, rate_inside=True), "with momentum=0.0 leave it out"),
        (lambda: optim.lookahead({}, (), 1.5), "momentum is 1.5"),
        (lambda: optim.adam(0.1, state_dtype="int32"), "state_dtype is 'int32'"),
        (lambda: optim.momentum(0.1, state_dtype="float31"), "state_dtype is 'float31'"),
        (lambda: optim.track_mean(state_dtype="bool"), "state_dtype is 'bool'"),
        (lambda: optim.scale_by_adam(eps_inside_sqrt=True, eps_uncorrected=True), "choose one"),
    ],
)
def test_numbers_out_of_range_are_refused_by_name_and_value(make, words):
    with pytest.raises(ValueError, match=words):
        make()
