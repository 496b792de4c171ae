"""What the studies of recurrent networks train, beside independent programs, and how they count."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import optim
from cs231n_jax.train.assemble import assemble
from experiments.studies import adding, memory_task, tbptt, wall
from tests.references import recurrent as reference

# --- the adding problem ---


def test_the_answer_is_the_sum_of_one_marked_number_in_each_half():
    x, y = adding.examples(np.random.default_rng(0), 4000, 5)
    numbers, marks = x[..., 0], x[..., 1]
    assert numbers.min() >= 0
    assert numbers.max() < 1
    np.testing.assert_array_equal(np.unique(marks), [0, 1])
    np.testing.assert_array_equal(marks[:, :2].sum(1), 1)
    np.testing.assert_array_equal(marks[:, 2:].sum(1), 1)
    np.testing.assert_allclose(y, [row[mark == 1].sum() for row, mark in zip(numbers, marks)], rtol=1e-6)
    assert np.var(y) == pytest.approx(adding.CONSTANT, rel=0.05)
    assert marks.sum(0).min() > 4000 / 3 * 0.9  # every place is drawn


@pytest.mark.parametrize("cell", adding.LAYERS)
def test_the_nets_are_those_of_the_formulas(cell):
    net = adding.Net(cell, 4, gain=1.5)
    params = adding.start(net, 3)
    x, _ = adding.examples(np.random.default_rng(0), 2, 6)
    hidden = params["hidden"].reshape(4, -1, 4)
    for gate in range(adding.GATES[cell]):
        np.testing.assert_allclose(hidden[:, gate].T @ hidden[:, gate], 2.25 * np.eye(4), atol=1e-5)
    names = ("input", "hidden", "bias", *(["candidate_bias"] if cell == "GRU" else []))
    state = [np.zeros((2, 4))] * (2 if cell == "LSTM" else 1)
    outputs, _ = reference.sequence(
        cell.lower(), x.astype(float), [params[n].astype(float) for n in names], state, [6] * 2
    )
    expected = outputs[:, -1] @ params["answer"][:, 0] + params["answer_bias"]
    np.testing.assert_allclose(
        adding.answers(cell, jax.tree.map(jnp.asarray, params), jnp.asarray(x)), expected, rtol=1e-5, atol=1e-6
    )


@pytest.mark.slow
def test_runs_beside_each_other_are_the_runs_alone(monkeypatch):
    monkeypatch.setattr(adding, "EVERY", 10)
    runs = [adding.Run(adding.Net("RNN", 4, gain), seed, rate) for gain, seed, rate in ((1.0, 0, 0.1), (2.0, 1, 0.01))]
    plan = adding.Plan(steps=4, updates=20, batch=3)
    both, alone = (adding.train(chosen, plan, optim.sgd) for chosen in (runs, runs[1:]))
    assert both.loss.shape == both.norm.shape == (2, 20)
    np.testing.assert_allclose(both.loss[1], alone.loss[0], rtol=1e-4)
    np.testing.assert_allclose(both.norm[1], alone.norm[0], rtol=1e-4)
    x, y = adding.examples(np.random.default_rng(1), 30, 4)  # the first batch and the step from it
    params, x, y = jax.tree.map(jnp.asarray, (adding.start(runs[1].net, 1), x, y))

    def loss(params, x, y):
        return ((adding.answers("RNN", params, x) - y) ** 2).mean()

    slopes = jax.grad(loss)(params, x[:3], y[:3])
    moved = {name: value - 0.01 * slopes[name] for name, value in params.items()}
    assert alone.loss[0, 0] == pytest.approx(float(loss(params, x[:3], y[:3])), rel=1e-5)
    assert alone.norm[0, 0] == pytest.approx(math.sqrt(sum((s**2).sum() for s in slopes.values())), rel=1e-5)
    assert alone.loss[0, 1] == pytest.approx(float(loss(moved, x[3:6], y[3:6])), rel=1e-4)


def test_training_ends_when_all_runs_know_enough(monkeypatch):
    monkeypatch.setattr(adding, "EVERY", 5)
    runs = [adding.Run(adding.Net("RNN", 2), 0, 0.0)]
    plan = adding.Plan(steps=4, updates=20, batch=2)
    assert adding.train(runs, plan, optim.sgd).loss.shape == (1, 20)
    assert adding.train(runs, plan._replace(enough=1e3), optim.sgd).loss.shape == (1, 5)


def test_what_explodes_is_counted(monkeypatch):
    monkeypatch.setattr(adding, "EVERY", 20)
    runs = [adding.Run(adding.Net("RNN", 4), seed, 1e3) for seed in range(2)]
    plan = adding.Plan(steps=4, updates=20, batch=2)
    found = adding.train(runs, plan, lambda rate: optim.drop_nonfinite(optim.sgd(rate), 20))
    assert np.all(found.dropped > 5)
    assert np.all(found.dropped <= (~np.isfinite(found.norm)).sum(1))  # a norm can overflow before a gradient does
    assert np.all(np.isfinite(found.norm[:, 0]))


def test_a_cell_is_not_tried_beyond_two_lengths_without_success(monkeypatch):
    solved = {10: 3, 20: 1, 50: 0, 100: 0}
    monkeypatch.setattr(
        memory_task, "_row", lambda cell, length, setting: {"cell": cell, "steps": length, "solved": solved[length]}
    )
    rows = memory_task._climb("RNN", memory_task.Setting())
    assert [row["steps"] for row in rows] == [10, 20, 50, 100]
    assert memory_task.longest(rows, "RNN", 3) == 10
    assert memory_task.longest(rows, "RNN", 1) == 20
    assert memory_task.longest(rows, "RNN", 4) == 0


# --- the wall ---


def test_the_unit_and_its_slope_are_those_of_the_formula(x64):
    def sigmoid(a):
        return 1 / (1 + math.exp(-a))

    def loss(w, b):
        x = 0.5
        for _ in range(50):
            x = w * sigmoid(x) + b
        return (sigmoid(x) - 0.7) ** 2

    point = np.array([4.5, -2.4])
    value, slope = jax.value_and_grad(wall.unit_loss)(point)
    assert float(value) == pytest.approx(loss(*point), rel=1e-10)
    step = 1e-6
    for axis in range(2):
        change = step * np.eye(2)[axis]
        assert float(slope[axis]) == pytest.approx(
            (loss(*(point + change)) - loss(*(point - change))) / (2 * step), rel=1e-4
        )


def test_descent_takes_steps_along_the_clipped_gradient(x64):
    points = np.array([[4.5, -2.4], [5.0, -2.2]])
    step, gradient = optim.chain(optim.clip_by_global_norm(0.1), optim.sgd(1.0)), jax.jit(jax.grad(wall.unit_loss))
    path, losses = wall.descend(step, points, 5)
    assert path.shape == (6, 2, 2)
    np.testing.assert_array_equal(path[0], points)
    for before, after in zip(path[:-1, 1], path[1:, 1]):
        slope = np.asarray(gradient(before))
        np.testing.assert_allclose(after - before, -slope * min(1, 0.1 / np.linalg.norm(slope)), rtol=1e-6)
    np.testing.assert_allclose(losses, [float(wall.unit_loss(point)) for point in path[-1]], rtol=1e-10)


# --- windows ---


def test_every_window_shows_the_same_characters_in_the_same_order():
    setting = tbptt.Setting(rows=1, streams=3, hidden=2)
    seen = {}
    for window in tbptt.RATES:
        updates = tbptt.ROW // window
        pipeline = assemble(tbptt.config_of(setting, window, updates)).pipeline
        batches = [pipeline.batch(step) for step in range(updates)]
        seen[window] = [np.concatenate([batch[name] for batch in batches], axis=1) for name in ("token", "target")]
        assert seen[window][0].size == setting.characters
        starts = sum(batch["start"].sum() for batch in batches)
        assert starts == (3 if window == tbptt.ROW else 5)  # two streams begin anew once more, at turns of their own
    for both in seen.values():
        np.testing.assert_array_equal(both, seen[1])


@pytest.mark.parametrize(("dear", "words"), [(7.0, "is not what is slow"), (70.0, "is what is slow")])
def test_the_answer_about_speed_follows_the_numbers(dear, words):
    row = {"updates": 8, "± loss": 0.1, "± µs": 0.1, "MB held": 2.0}
    rows = [{**row, "window": 1, "loss": 1.5, "µs": 8.0}, {**row, "window": 1024, "loss": 3.2, "µs": dear}]
    assert words in tbptt._sentence(tbptt.Setting(), rows)
    assert "that of the best window 1.50" in tbptt._sentence(tbptt.Setting(), rows)


@pytest.mark.parametrize(
    ("loss", "dear", "words"),
    [
        (3.2, 7.0, '"super slow" holds for learning, since every update waits for a whole sequence, not for the time'),
        (3.2, 70.0, "waits for a whole sequence, and for the time that a character takes"),
        (1.6, 7.0, '"super slow" holds neither for learning nor for the time that a character takes'),
        (1.4, 70.0, '"super slow" does not hold for learning, but for the time that a character takes'),
    ],
)
def test_the_answer_about_learning_follows_the_numbers(loss, dear, words):
    row = {"updates": 8, "± loss": 0.1, "± µs": 0.1, "MB held": 2.0}
    rows = [{**row, "window": 1, "loss": 1.5, "µs": 8.0}, {**row, "window": 1024, "loss": loss, "µs": dear}]
    assert words in tbptt._sentence(tbptt.Setting(), rows)
