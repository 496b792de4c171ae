"""Classifiers of sequences in float64 numpy, example by example and step by step."""

import numpy as np

from tests.references import recurrent

STATES = {"rnn": 1, "lstm": 2, "gru": 1}
POOLS = {"mean": lambda rows: rows.mean(0), "max": lambda rows: rows.max(0)}


def layer(cell, x, weights, reverse=False):
    """Outputs [t, h] of one sequence [t, d], and the h after the last step that was taken."""
    names = ("input", "hidden", "bias", *(["candidate_bias"] if cell == "gru" else []))
    state = [np.zeros((1, len(weights["hidden"])))] * STATES[cell]
    y, last = recurrent.sequence(cell, x[None], [weights[name] for name in names], state, [len(x)], reverse)
    return y[0], last[0][0]


def both(cell, x, params, name):
    """As `layer`, of the directions that there are, side by side."""
    there = [(params[key], key != name) for key in (name, f"{name}_back") if key in params]
    outputs, last = zip(*(layer(cell, x, weights, reverse) for weights, reverse in there))
    return np.concatenate(outputs, -1), np.concatenate(last)


def text(cell, pool, tokens, params):
    """The logits [k] of one text: its tokens, and no padding."""
    x, number = params["stem"][tokens], 1
    while f"layer{number}" in params:
        x, last = both(cell, x, params, f"layer{number}")
        number += 1
    return (last if pool == "last" else POOLS[pool](x)) @ params["head"]["kernel"] + params["head"]["bias"]
