"""Attention, and a translator with it, in float64 numpy: from the formulas, one sentence and one token at a time."""

import numpy as np

from tests.references import recurrent


def softmax(scores):
    e = np.exp(np.asarray(scores, np.float64) - np.max(scores))
    return e / e.sum()


def dot(query, keys):
    """A score for each of the keys [l, k]."""
    return [sum(q * k for q, k in zip(query, key)) for key in keys]


def additive(query, keys, vector):
    return [sum(v * np.tanh(q + k) for v, q, k in zip(vector, query, key)) for key in keys]


def context(alpha, values):
    return sum(a * value for a, value in zip(alpha, values))


def translator(params, source, target, cell, score):
    """(logits [t, v], weights [t, l] or None) of one source and what the decoder is fed, both lists of tokens.

    `params` are nested dicts of float64 arrays as the model has them.
    """
    encoder, decoder = params["encoder"], params["decoder"]
    x = encoder["embedding"][source]
    runs = [_run(cell, encoder[way], x[::step]) for way, step in (("ahead", 1), ("back", -1))]
    memory = np.concatenate([runs[0][0], runs[1][0][::-1]], -1)
    state = [np.concatenate(pair) for pair in zip(runs[0][1], runs[1][1])]
    keys = memory @ params["alignment"]["kernel"] if score in ("general", "additive") else memory
    logits, weights = [], []
    for token in target:
        word, read = decoder["embedding"][token], None
        if score == "additive":
            alpha = softmax(additive(state[0] @ decoder["query"], keys, decoder["vector"]))
            read = context(alpha, memory)
            state = recurrent.STEPS[cell](np.concatenate([word, read]), *state, *_weights(cell, decoder))
        else:
            state = recurrent.STEPS[cell](word, *state, *_weights(cell, decoder["layer"]))
        if score in ("dot", "general"):
            alpha = softmax(dot(state[0], keys))
            read = context(alpha, memory)
        seen = state[0] if read is None else np.concatenate([state[0], read])
        out = np.tanh(seen @ params["head_read_out"]["kernel"] + params["head_read_out"]["bias"])
        logits.append(out @ params["head"]["kernel"] + params["head"]["bias"])
        weights.append(None if read is None else alpha)
    return np.array(logits), None if score == "none" else np.array(weights)


def _weights(cell, layer):
    return [layer[name] for name in ("input", "hidden", "bias", *(["candidate_bias"] if cell == "gru" else []))]


def _run(cell, layer, x):
    """The states h [l, h] after each step and the last state, from zeros."""
    state = [np.zeros(layer["hidden"].shape[0])] * (2 if cell == "lstm" else 1)
    outputs = []
    for row in x:
        state = recurrent.STEPS[cell](row, *state, *_weights(cell, layer))
        outputs.append(state[0])
    return np.array(outputs), state
