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
    depth = len(params["layer1"]["input"])
    x, number = (params["stem"] if "stem" in params else np.eye(depth))[tokens], 1
    while f"layer{number}" in params:
        x, last = both(cell, x, params, f"layer{number}")
        number += 1
    return (last if pool == "last" else POOLS[pool](x)) @ params["head"]["kernel"] + params["head"]["bias"]


def averaged(logits):
    """[t, k] -> [k]: the logarithm of the mean probability."""
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return np.log((e / e.sum(-1, keepdims=True)).mean(0))


def frame(image, params):
    """The hidden layer of one frame [h, w, c]: 3×3 convolutions with a bias, rectified, the largest of 2×2."""
    x, number = image, 1
    while f"stage{number}_conv" in params:
        unit = params[f"stage{number}_conv"]["conv"]
        height, width = x.shape[:2]
        padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        y = np.zeros((height, width, len(unit["bias"]))) + unit["bias"]
        for row in range(3):
            for column in range(3):
                y += padded[row : row + height, column : column + width] @ unit["kernel"][row, column]
        y = np.maximum(y, 0)[: height // 2 * 2, : width // 2 * 2]
        x = y.reshape(height // 2, 2, width // 2, 2, -1).max((1, 3))
        number += 1
    return np.maximum(x.ravel() @ params["fc"]["kernel"] + params["fc"]["bias"], 0)


def clip(cell, how, video, params):
    """(the logits [k] of one clip [t, h, w, c], those of its frames [t, k])."""
    x = np.stack([frame(image, params) for image in video])
    if cell != "none":
        x, _ = layer(cell, x, params["layer1"])
    frames = x @ params["head"]["kernel"] + params["head"]["bias"]
    own = averaged(frames) if how == "average" else x[-1] @ params["head_clip"]["kernel"] + params["head_clip"]["bias"]
    return own, frames
