"""The recurrent cells in float64 numpy, from their formulas: gate by gate, example by example, step by step."""

import numpy as np


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def rnn_step(x, h, input, hidden, bias):
    return (np.tanh(x @ input + h @ hidden + bias),)


def lstm_step(x, h, c, input, hidden, bias):
    i, f, o, g = np.split(x @ input + h @ hidden + bias, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru_step(x, h, input, hidden, bias, candidate_bias):
    width = len(h)
    ahead, back = x @ input + bias, h @ hidden
    r, z = sigmoid(ahead[:width] + back[:width]), sigmoid((ahead + back)[width : 2 * width])
    n = np.tanh(ahead[2 * width :] + r * (back[2 * width :] + candidate_bias))
    return ((1 - z) * n + z * h,)


STEPS = {"rnn": rnn_step, "lstm": lstm_step, "gru": gru_step}


def sequence(cell, x, weights, state, lengths, reverse=False):
    """Outputs [n, t, h], zero after the ends, and the last state; of each example only its own steps are read."""
    outputs = np.zeros((*x.shape[:2], state[0].shape[1]))
    last = [np.array(s) for s in state]
    for n, length in enumerate(lengths):
        now = [s[n] for s in state]
        steps = range(length - 1, -1, -1) if reverse else range(length)
        for t in steps:
            now = STEPS[cell](x[n, t], *now, *weights)
            outputs[n, t] = now[0]
        for s, value in zip(last, now):
            s[n] = value
    return outputs, tuple(last)
