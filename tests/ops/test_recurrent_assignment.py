"""Recurrent layers on the inputs of cs231n's assignment: its expected numbers, to its tolerances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax.ops import cells, losses, recurrent
from cs231n_jax.ops.cells import LstmState, Weights
from tests.ops.test_recurrent import GATES, LAYERS


def line(start, stop, *shape):
    return jnp.asarray(np.linspace(start, stop, int(np.prod(shape))).reshape(shape))


def relative(expected, found):
    found = np.asarray(found)
    return np.max(np.abs(expected - found) / np.maximum(1e-8, np.abs(expected) + np.abs(found)))


def test_assignment_rnn_step(x64):
    weights = Weights(line(-0.1, 0.9, 10, 4), line(-0.3, 0.7, 4, 4), line(-0.2, 0.4, 4))
    expected = [
        [-0.58172089, -0.50182032, -0.41232771, -0.31410098],
        [0.66854692, 0.79562378, 0.87755553, 0.92795967],
        [0.97934501, 0.99144213, 0.99646691, 0.99854353],
    ]
    assert relative(expected, cells.rnn_step(line(-0.4, 0.7, 3, 10), line(-0.2, 0.5, 3, 4), weights)) < 1e-8


def test_assignment_rnn(x64):
    weights = Weights(line(-0.2, 0.4, 4, 5), line(-0.4, 0.1, 5, 5), line(-0.7, 0.1, 5))
    expected = [
        [
            [-0.42070749, -0.27279261, -0.11074945, 0.05740409, 0.22236251],
            [-0.39525808, -0.22554661, -0.0409454, 0.14649412, 0.32397316],
            [-0.42305111, -0.24223728, -0.04287027, 0.15997045, 0.35014525],
        ],
        [
            [-0.55857474, -0.39065825, -0.19198182, 0.02378408, 0.23735671],
            [-0.27150199, -0.07088804, 0.13562939, 0.33099728, 0.50158768],
            [-0.51014825, -0.30524429, -0.06755202, 0.17806392, 0.40333043],
        ],
    ]
    y, _ = recurrent.rnn(line(-0.1, 0.3, 2, 3, 4), weights, line(-0.3, 0.1, 2, 5))
    assert relative(expected, y) < 1e-7


def test_assignment_lstm_step(x64):
    weights = Weights(line(-2.1, 1.3, 4, 20), line(-0.7, 2.2, 5, 20), line(0.3, 0.7, 20))
    h, c = cells.lstm_step(line(-0.4, 1.2, 3, 4), LstmState(line(-0.3, 0.7, 3, 5), line(-0.4, 0.9, 3, 5)), weights)
    expected_h = [
        [0.24635157, 0.28610883, 0.32240467, 0.35525807, 0.38474904],
        [0.49223563, 0.55611431, 0.61507696, 0.66844003, 0.7159181],
        [0.56735664, 0.66310127, 0.74419266, 0.80889665, 0.858299],
    ]
    expected_c = [
        [0.32986176, 0.39145139, 0.451556, 0.51014116, 0.56717407],
        [0.66382255, 0.76674007, 0.87195994, 0.97902709, 1.08751345],
        [0.74192008, 0.90592151, 1.07717006, 1.25120233, 1.42395676],
    ]
    assert relative(expected_h, h) < 1e-8
    assert relative(expected_c, c) < 1e-8


def test_assignment_lstm(x64):
    weights = Weights(line(-0.2, 0.9, 5, 16), line(-0.3, 0.6, 4, 16), line(0.2, 0.7, 16))
    expected = [
        [
            [0.01764008, 0.01823233, 0.01882671, 0.0194232],
            [0.11287491, 0.12146228, 0.13018446, 0.13902939],
            [0.31358768, 0.33338627, 0.35304453, 0.37250975],
        ],
        [
            [0.45767879, 0.4761092, 0.4936887, 0.51041945],
            [0.6704845, 0.69350089, 0.71486014, 0.7346449],
            [0.81733511, 0.83677871, 0.85403753, 0.86935314],
        ],
    ]
    first = LstmState(line(-0.4, 0.8, 2, 4), jnp.zeros((2, 4)))
    y, _ = recurrent.lstm(line(-0.4, 0.6, 2, 3, 5), weights, first)
    assert relative(expected, y) < 1e-7


@pytest.mark.parametrize(
    ("cell", "features", "expected"), [("rnn", (-1.5, 0.3), 9.83235591003), ("lstm", (-0.5, 1.7), 9.82445935443)]
)
def test_assignment_captioning_loss(cell, features, expected, x64):
    """Ten captions of thirteen words out of three; the loss is summed over words and divided by captions."""
    captions = np.arange(10 * 13).reshape(10, 13) % 3
    h = line(*features, 10, 20) @ line(-1.4, 1.3, 20, 40) + line(-1.4, 1.3, 1, 40)
    x = line(-1.4, 1.3, 3, 30)[captions[:, :-1]]
    columns = GATES[cell] * 40
    weights = Weights(line(-1.4, 1.3, 30, columns), line(-1.4, 1.3, 40, columns), line(-1.4, 1.3, columns))
    y, _ = LAYERS[cell](x, weights, LstmState(h, jnp.zeros_like(h)) if cell == "lstm" else h)
    scores, words = y @ line(-1.4, 1.3, 40, 3) + line(-1.4, 1.3, 1, 1, 3), jnp.asarray(captions[:, 1:])
    loss = jnp.where(words != 0, losses.softmax_cross_entropy(scores, words), 0.0).sum() / 10
    assert float(loss) == pytest.approx(expected, abs=1e-10)


def slope(function, arguments, place, weight, size=1e-3):
    """Σ weight · ∂function / ∂arguments[place] by central differences of fourth order.

    The assignment's own, of second order, are themselves off by 2e-6 in the LSTM's dWh.
    """
    x = np.array(arguments[place])
    found = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        middle = x[i]
        for far, share in ((1, 8 / 12), (-1, -8 / 12), (2, -1 / 12), (-2, 1 / 12)):
            x[i] = middle + far * size
            results = function(*arguments[:place], x.copy(), *arguments[place + 1 :])
            found[i] += share / size * sum(np.sum(np.asarray(y) * d) for y, d in zip(results, weight))
        x[i] = middle
    return found


def rnn_step(x, h, into, hidden, bias):
    return (cells.rnn_step(x, h, Weights(into, hidden, bias)),)


def rnn(x, h, into, hidden, bias):
    return (recurrent.rnn(x, Weights(into, hidden, bias), h)[0],)


def lstm_step(x, h, c, into, hidden, bias):
    return tuple(cells.lstm_step(x, LstmState(h, c), Weights(into, hidden, bias)))


def lstm(x, h, into, hidden, bias):
    return (recurrent.lstm(x, Weights(into, hidden, bias), LstmState(h, jnp.zeros_like(h)))[0],)


@pytest.mark.parametrize(
    ("function", "shapes", "tolerances"),
    [
        (rnn_step, [(4, 5), (4, 6), (5, 6), (6, 6), (6,)], [1e-8] * 5),
        (rnn, [(2, 10, 3), (2, 5), (3, 5), (5, 5), (5,)], [1e-6] * 5),
        (lstm_step, [(4, 5), (4, 6), (4, 6), (5, 24), (6, 24), (24,)], [1e-7] * 6),
        (lstm, [(2, 10, 3), (2, 6), (3, 24), (6, 24), (24,)], [1e-8, 1e-8, 1e-8, 1e-6, 1e-8]),
    ],
)
def test_assignment_gradients(function, shapes, tolerances, x64):
    """On the notebook's draws, to its tolerances."""
    random = np.random.RandomState(231)
    given = [random.randn(*shape) for shape in shapes]
    compiled = jax.jit(function)
    weight = [random.randn(*y.shape) for y in jax.eval_shape(function, *given)]
    found = jax.jit(lambda *given: jax.vjp(function, *given)[1](tuple(map(jnp.asarray, weight))))(*given)
    errors = [relative(slope(compiled, given, i, weight), found[i]) for i in range(len(given))]
    assert all(error < bound for error, bound in zip(errors, tolerances)), errors
