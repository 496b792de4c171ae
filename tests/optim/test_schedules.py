import math
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cs231n_jax.optim import ScheduleConfig, schedules
from tests.rows import one_in

ROOT = Path(__file__).parents[2]
few = settings(max_examples=30, derandomize=True)
LONG = jnp.arange(11_000)  # one shape, so that one compilation serves all examples
ALL = {
    "constant": schedules.constant(0.3),
    "step": schedules.step(0.3, [3, 7], [0.5, 0.1]),
    "staircase": schedules.staircase(0.3, 4, 0.5),
    "exponential": schedules.exponential(0.3, 0.1),
    "inverse_time": schedules.inverse_time(0.3, 0.1),
    "inverse_sqrt": schedules.inverse_sqrt(0.3),
    "linear": schedules.linear(0.3, 0.1, 8),
    "cosine": schedules.cosine(0.3, 8, 0.1),
    "cosine_restarts": schedules.cosine_restarts(0.3, 3, 2.0, 0.1),
    "snapshot_cosine": schedules.snapshot_cosine(0.3, 10, 3),
    "held_then_linear": schedules.held_then_linear(0.3, 0.1, 9),
    "fge_triangle": schedules.fge_triangle(0.3, 0.1, 4),
    "warmup": schedules.warmup(schedules.cosine(0.3, 8), 3),
    "join": schedules.join([schedules.constant(0.3), schedules.linear(0.3, 0.1, 5)], [4]),
}
FORMULAS = {
    "step": lambda t: 0.3 if t < 3 else 0.15 if t < 7 else 0.015,
    "staircase": lambda t: 0.3 * 0.5 ** (t // 4),
    "exponential": lambda t: 0.3 * math.exp(-0.1 * t),
    "inverse_time": lambda t: 0.3 / (1 + 0.1 * t),
    "inverse_sqrt": lambda t: 0.3 / math.sqrt(t + 1),
    "linear": lambda t: 0.3 - 0.2 * min(t, 8) / 8,
    "cosine": lambda t: 0.1 + 0.1 * (1 + math.cos(math.pi * min(t, 8) / 8)),
    "snapshot_cosine": lambda t: 0.15 * (math.cos(math.pi * (t % 4) / 4) + 1),  # ceil(10 / 3) = 4
    "held_then_linear": lambda t: 0.3 if t < 4 else 0.3 - 0.2 * min(t - 4, 5) / 5,
    "fge_triangle": lambda t: [0.2, 0.1, 0.2, 0.3][t % 4],
    "warmup": lambda t: 0.1 * t if t < 3 else 0.15 * (1 + math.cos(math.pi * min(t - 3, 8) / 8)),
    "join": lambda t: 0.3 if t < 4 else 0.3 - 0.2 * min(t - 4, 5) / 5,
}


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.usefixtures("x64")
def test_a_schedule_is_its_formula(name):
    values = ALL[name](jnp.arange(25))
    np.testing.assert_allclose(values, [FORMULAS[name](t) for t in range(25)], atol=1e-15)


@pytest.mark.usefixtures("x64")
def test_restarts_have_growing_cycles_of_whole_updates():
    rate = ALL["cosine_restarts"]
    cycles = [(0, 3), (3, 6), (9, 12), (21, 24), (45, 48)]
    for start, length in cycles:
        for t in range(length):
            expected = 0.1 + 0.1 * (1 + math.cos(math.pi * t / length))
            assert float(rate(start + t)) == pytest.approx(expected, abs=1e-15)
    uneven = schedules.cosine_restarts(1.0, 3, 1.5)  # lengths 3, 4.5, 6.75, … rounded to even: 3, 4, 7
    peaks = [t for t in range(15) if float(uneven(t)) == 1.0]
    assert peaks == [0, 3, 7, 14]


@pytest.mark.parametrize("name", one_in(4, [(name,) for name in ALL]))
def test_a_schedule_takes_any_kind_of_count(name):
    rate = ALL[name]
    expected = rate(5)
    assert expected.dtype == jnp.float32
    assert expected.shape == ()
    np.testing.assert_allclose(jax.jit(rate)(jnp.int32(5)), expected, rtol=3e-7)  # compiled, 1/sqrt is rsqrt
    np.testing.assert_array_equal(rate(np.int64(5)), expected)
    np.testing.assert_array_equal(jax.vmap(rate)(jnp.arange(10)), rate(jnp.arange(10)))
    assert float(rate(5)) == pytest.approx(float(rate(jnp.arange(10))[5]), rel=1e-7)
    assert np.all(np.isfinite(rate(jnp.array([0, 1, 10**6, 2**31 - 1]))))


@few
@given(
    peak=st.floats(1e-3, 10.0),
    steps=st.integers(2, 10_000),
    final=st.floats(0.0, 1.0),
    warm=st.integers(1, 500),
    start=st.floats(0.0, 1.0),
)
def test_smooth_schedules_have_no_jumps_and_exact_ends(peak, steps, final, warm, start):
    for shape in (schedules.cosine(peak, steps, final * peak), schedules.linear(peak, final * peak, steps)):
        warmed = schedules.warmup(shape, warm, start * peak)
        values = np.asarray(warmed(LONG), np.float64)[: warm + steps + 5]
        assert values[0] == pytest.approx(start * peak, rel=1e-6)
        assert values[warm] == pytest.approx(peak, rel=1e-6)
        np.testing.assert_allclose(values[warm + steps :], final * peak, rtol=1e-5, atol=1e-6 * peak)
        largest = peak * max(1 / warm, math.pi / 2 / steps, 1 / steps)
        assert np.max(np.abs(np.diff(values))) <= largest * 1.001 + 1e-6 * peak


@few
@given(
    boundaries=st.lists(st.integers(1, 1000), min_size=1, max_size=5, unique=True).map(sorted),
    factor=st.sampled_from([0.1, 0.2, 0.5]),
)
def test_steps_change_exactly_at_their_boundaries(boundaries, factor):
    rate = schedules.step(1.0, boundaries, [factor] * len(boundaries))
    passed = np.arange(1, len(boundaries) + 1)
    np.testing.assert_allclose(rate(jnp.array(boundaries)), factor**passed, rtol=1e-6)
    np.testing.assert_allclose(rate(jnp.array(boundaries) - 1), factor ** (passed - 1), rtol=1e-6)


@few
@given(total=st.integers(1, 5000), cycles=st.integers(1, 50))
def test_every_snapshot_cycle_starts_at_the_peak_and_ends_near_zero(total, cycles):
    cycles = min(cycles, total)
    rates, length = np.asarray(schedules.snapshot_cosine(0.2, total, cycles)(LONG)), -(-total // cycles)
    np.testing.assert_allclose(rates[:total:length], 0.2, rtol=1e-6)
    lowest = 0.1 * (1 + math.cos(math.pi * (length - 1) / length))
    np.testing.assert_allclose(rates[length - 1 : total : length], lowest, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("500", 500), ("10ep", 390), ("0.5ep", 20), ("90%", 900), ("12.5%", 125), ("0", 0), (" 7 ", 7)],
)
def test_durations(text, expected):
    assert schedules.duration(text, total_steps=1000, steps_per_epoch=39) == expected


@pytest.mark.parametrize("text", ["", "ten", "-5", "5 epochs", "1.5", "10e", "%", "ep", "nan"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="is none of"):
        schedules.duration(text, total_steps=1000, steps_per_epoch=39)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: schedules.step(1.0, [5, 5], [0.1, 0.1]), "increase"),
        (lambda: schedules.step(1.0, [5], [0.1, 0.1]), "2 factors"),
        (lambda: schedules.cosine(1.0, 0), "steps is 0"),
        (lambda: schedules.cosine_restarts(1.0, 5, 0.5), "t_mult is 0.5"),
        (lambda: schedules.snapshot_cosine(1.0, 5, 6), "cycles is 6"),
        (lambda: schedules.fge_triangle(1.0, 0.1, 5), "period is 5"),
        (lambda: schedules.join([schedules.constant(1.0)], [5]), "0 increasing boundaries"),
        (lambda: schedules.join([], []), "no schedule to join"),
        (lambda: schedules.duration("200%", total_steps=10, steps_per_epoch=5), "'200%' is more than the run"),
        (lambda: schedules.duration("٣", total_steps=10, steps_per_epoch=5), "is none of"),
    ],
)
def test_schedules_that_make_no_sense_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("count", [np.uint8(200), jnp.asarray([100], jnp.int8), jnp.uint32(200)])
def test_boundaries_beyond_a_narrow_count_do_not_wrap(count):
    for schedule in (
        schedules.cosine_restarts(0.5, 5, 2.0),
        schedules.cosine_restarts(0.5, 300),
        schedules.staircase(0.5, 300, 0.5),
        schedules.step(0.5, [100, 300], [0.5, 0.5]),
        schedules.linear(0.5, 0.0, 300),
        schedules.fge_triangle(0.5, 0.25, 300),
        schedules.warmup(schedules.constant(0.5), 300),
        schedules.join([schedules.constant(0.5), schedules.constant(0.1)], [300]),
    ):
        expected = schedule(int(np.asarray(count).reshape(())))
        np.testing.assert_allclose(np.asarray(schedule(count)).reshape(()), expected, rtol=1e-6)


# --- the config ---


def build(total=100, epoch=10, **fields):
    return ScheduleConfig(**fields).build(0.4, total, epoch)


@pytest.mark.parametrize(
    ("fields", "points"),
    [
        ({}, {0: 0.4, 99: 0.4}),
        ({"warmup": "10"}, {0: 0.0, 5: 0.2, 10: 0.4, 99: 0.4}),
        ({"name": "step", "boundaries": ("50%", "75%")}, {0: 0.4, 49: 0.4, 50: 0.04, 74: 0.04, 75: 0.004}),
        # boundaries are counted from the start of training, with a warm-up in front or without
        ({"name": "step", "boundaries": ("5ep",), "warmup": "1ep"}, {0: 0.0, 5: 0.2, 10: 0.4, 49: 0.4, 50: 0.04}),
        ({"name": "step", "boundaries": ("1ep", "2ep"), "factors": (0.5, 0.1)}, {9: 0.4, 10: 0.2, 20: 0.02}),
        ({"name": "staircase", "period": "5ep", "factors": (0.5,)}, {49: 0.4, 50: 0.2, 99: 0.2}),
        ({"name": "exponential", "period": "1ep", "rate": 0.5}, {10: 0.4 * math.exp(-0.5)}),
        ({"name": "inverse_time", "period": "1ep", "rate": 1.0}, {10: 0.2, 30: 0.1}),
        ({"name": "inverse_sqrt", "period": "1", "rate": 1.0}, {3: 0.2}),
        ({"name": "linear"}, {0: 0.4, 50: 0.2, 100: 0.0}),
        ({"name": "cosine", "final": 0.5}, {0: 0.4, 50: 0.3, 100: 0.2, 150: 0.2}),
        ({"name": "cosine", "warmup": "20%", "warmup_start": 0.5}, {0: 0.2, 10: 0.3, 20: 0.4, 60: 0.2, 100: 0.0}),
        ({"name": "cosine_restarts", "period": "1ep", "t_mult": 2.0}, {0: 0.4, 5: 0.2, 10: 0.4, 20: 0.2, 30: 0.4}),
        ({"name": "snapshot_cosine", "cycles": 4}, {0: 0.4, 25: 0.4, 50: 0.4, 75: 0.4}),
        # the ends of the cycles, where snapshots are taken, stay where they are
        ({"name": "snapshot_cosine", "cycles": 4, "warmup": "5"}, {0: 0.0, 25: 0.4, 50: 0.4}),
        ({"name": "fge_triangle", "period": "1ep", "final": 0.5}, {4: 0.2, 9: 0.4, 14: 0.2}),
        (
            {"name": "fge_triangle", "period": "1ep", "high": 0.5, "final": 0.1, "start": "40%"},
            {0: 0.4, 20: 0.4, 30: 0.3, 39: 0.21, 44: 0.04, 49: 0.2, 54: 0.04},
        ),
        ({"name": "swa", "start": "80%", "final": 0.5}, {0: 0.4, 40: 0.4, 60: 0.3, 80: 0.2, 99: 0.2}),
        ({"name": "swa", "start": "80%", "final": 0.5, "warmup": "10"}, {0: 0.0, 5: 0.2, 60: 0.3, 80: 0.2}),
    ],
)
def test_a_config_builds_its_schedule(fields, points):
    rate = build(**fields)
    for count, value in points.items():
        assert float(rate(count)) == pytest.approx(value, abs=1e-6), count


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "cosinus"}, "did you mean 'cosine'"),
        ({"name": "snapshot"}, "did you mean 'snapshot_cosine'"),
        ({"warmup": "5 epochs"}, "'5 epochs'"),
        ({"warmup": "100%"}, "leaves nothing of a run of .* updates: give fewer, or 0"),
        ({"name": "step", "boundaries": ("1ep", "2ep"), "factors": (0.1, 0.1, 0.1)}, "factors"),
        ({"name": "step", "boundaries": ("2ep", "1ep")}, "increase"),
        ({"name": "staircase", "factors": (0.1, 0.2)}, "staircase has one"),
        ({"name": "cosine_restarts", "t_mult": 0.5}, "t_mult is 0.5"),
        ({"name": "snapshot_cosine", "cycles": 0}, "cycles is 0"),
        ({"name": "cosine", "final": -0.1}, "final is -0.1"),
        ({"name": "exponential", "rate": -1.0}, "rate is -1.0"),
        ({"name": "exponential", "period": "0"}, "period='0'"),
        ({"name": "fge_triangle", "period": "0.1%"}, "period='0.1%'"),
        ({"name": "swa", "start": "100%", "final": 0.5}, "start='100%' leaves nothing .*: begin earlier"),
        ({"name": "step", "boundaries": ("150%",)}, "'150%' is more than the run"),
        ({"name": "swa", "start": "75%"}, "final=0.0 stops"),
        ({"name": "swa", "start": "late", "final": 0.5}, "schedule.start: the duration 'late'"),
        ({"name": "fge_triangle", "high": -0.5}, r"schedule.high is -0\.5"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        build(**fields)


def test_what_a_schedule_does_not_read_may_have_any_value_in_range():
    assert float(build(name="constant", period="0.1%", start="100%", cycles=1000)(5)) == pytest.approx(0.4)


@pytest.mark.parametrize("value", [-1.0, float("nan")])
@pytest.mark.parametrize(
    "make",
    [
        schedules.constant,
        lambda value: schedules.step(value, [3], [0.5]),
        lambda value: schedules.exponential(value, 0.1),
        lambda value: schedules.linear(value, 0.0, 8),
        lambda value: schedules.cosine(value, 8),
        lambda value: ScheduleConfig().build(value, 10, 5),
    ],
)
def test_a_rate_that_is_no_rate_is_refused(make, value):
    with pytest.raises(ValueError, match=str(value)):
        make(value)


def test_slowly_growing_cycles_are_found_at_once():
    """Cycles of 100, 101, 102, 103, ... updates; and too many of them are refused, not counted for ever."""
    schedule = jax.jit(schedules.cosine_restarts(1.0, 100, 1.01))
    starts = np.cumsum([0, 100, 101, 102, 103])
    np.testing.assert_allclose(schedule(jnp.asarray(starts)), 1.0)
    np.testing.assert_allclose(schedule(jnp.asarray(starts[2:] - 51)), [0.5, 0.5, 0.5], atol=0.02)
    with pytest.raises(ValueError, match="more than 100000 cycles"):
        schedules.cosine_restarts(1.0, 1, 1.0000001)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: schedules.step(1.0, [5], [-0.1]), r"factor is -0\.1"),
        (lambda: schedules.step(1.0, [-5], [0.1]), "boundary is -5"),
        (lambda: schedules.staircase(1.0, 5, -0.5), r"factor is -0\.5"),
        (lambda: schedules.exponential(1.0, -0.1), r"rate is -0\.1"),
        (lambda: schedules.inverse_time(1.0, -0.1), r"rate is -0\.1"),
        (lambda: schedules.inverse_sqrt(1.0, -0.1), r"rate is -0\.1"),
        (lambda: schedules.linear(1.0, -0.1, 5), r"end is -0\.1"),
        (lambda: schedules.cosine(1.0, 5, -0.1), r"final is -0\.1"),
        (lambda: schedules.cosine_restarts(1.0, 5, 1.0, -0.1), r"final is -0\.1"),
        (lambda: schedules.fge_triangle(1.0, -0.1, 4), r"low is -0\.1"),
        (lambda: schedules.warmup(schedules.constant(1.0), -3), "steps is -3"),
        (lambda: schedules.warmup(schedules.constant(1.0), 3, -0.5), r"start is -0\.5"),
        (lambda: schedules.join([schedules.constant(1.0)] * 2, [-5]), "boundary is -5"),
        (lambda: schedules.join([schedules.constant(1.0)] * 3, [7, 5]), r"boundaries are \(7, 5\); they must increase"),
        (lambda: build(name="step"), r"schedule\.boundaries=\(\) leaves a step schedule without a step"),
        (lambda: build(period="5 epochs"), r"schedule\.period: the duration '5 epochs'"),
        (lambda: build(name="step", boundaries=("1x",)), r"schedule\.boundaries: the duration '1x'"),
    ],
)
def test_arguments_out_of_range_are_refused_at_once(make, words):
    with pytest.raises(ValueError, match=words):
        make()


FRACTIONS = """
from cs231n_jax import optim
for make in (
    lambda: optim.ScheduleConfig(name="snapshot_cosine", cycles=1.5).build(0.1, 10, 5),
    lambda: optim.track_mean(1.5),
    lambda: optim.drop_nonfinite(optim.sgd(0.1), 1.5),
    lambda: optim.schedules.snapshot_cosine(0.1, 10, 1.5),
    lambda: optim.schedules.cosine(0.1, 1.5),
    lambda: optim.schedules.staircase(0.1, 1.5, 0.5),
    lambda: optim.schedules.step(0.1, [1.5], [0.5]),
    lambda: optim.schedules.warmup(optim.schedules.constant(0.1), 1.5),
    lambda: optim.schedules.join([optim.schedules.constant(0.1)] * 2, [1.5]),
):
    try:
        make()
    except ValueError as error:
        print(error)
"""


def test_counts_with_a_fraction_are_refused():
    """In a process whose annotations nobody checks, which they are here."""
    done = subprocess.run([sys.executable, "-c", FRACTIONS], cwd=ROOT, capture_output=True, text=True, check=True)
    names = (
        "schedule.cycles",
        "start",
        "max_consecutive",
        "cycles",
        "steps",
        "period",
        "boundary",
        "steps",
        "boundary",
    )
    least = (1, 0, 0, 1, 1, 1, 0, 0, 0)
    expected = [f"{name} is 1.5; it must be a whole number and at least {low}" for name, low in zip(names, least)]
    expected[0] = "schedule.cycles=1.5 must be of type int"
    assert done.stdout.splitlines() == expected, done.stderr
