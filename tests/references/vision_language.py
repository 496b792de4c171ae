"""Captions of an image and answers about it, in float64 numpy: from the papers' equations, one image at a time.

`params` are nested dicts of float64 arrays as the models have them; `places` are the features [l, d] of one image.
"""

import numpy as np

from tests.references import recurrent
from tests.references.attention import additive, context, softmax


def affine(layer, x):
    return x @ layer["kernel"] + layer["bias"]


def captioner(params, places, target, cell):
    """Logits [t, v] of a decoder that begins from the image and is fed the tokens `target`."""
    h = affine(params["decoder_h0"], places.ravel())
    state, layer = [h] if cell == "rnn" else [h, np.zeros_like(h)], params["decoder"]["layer"]
    logits = []
    for token in target:
        word = params["decoder"]["embedding"][token]
        state = recurrent.STEPS[cell](word, *state, layer["input"], layer["hidden"], layer["bias"])
        logits.append(affine(params["head"], state[0]))
    return np.array(logits)


def attention_captioner(params, places, target):
    """Logits [t, v] and where each step looked [t, l]: Xu et al. 2015, equations 1 to 7, with the gate of 4.2.1."""
    decoder, mean = params["decoder"], places.mean(0)
    h, c = (np.tanh(affine(params[name], mean)) for name in ("decoder_h0", "decoder_c0"))
    keys = affine(params["alignment"], places)
    logits, weights = [], []
    for token in target:
        alpha = softmax(additive(h @ decoder["query"], keys, decoder["vector"]))
        beta = recurrent.sigmoid(h @ decoder["gate"] + decoder["gate_bias"])
        z = beta * context(alpha, places)
        word = decoder["embedding"][token]
        joined = np.concatenate([word, z])
        h, c = recurrent.STEPS["lstm"](joined, h, c, decoder["input"], decoder["hidden"], decoder["bias"])
        logits.append(affine(params["head"], word + affine(params["head_h"], h) + affine(params["head_z"], z)))
        weights.append(alpha)
    return np.array(logits), np.array(weights)


def question(params, tokens):
    """The last state of the LSTM over the tokens of a question."""
    layer = params["question_layer"]
    h = c = np.zeros(layer["hidden"].shape[0])
    for token in tokens:
        word = params["question_embedding"][token]
        h, c = recurrent.STEPS["lstm"](word, h, c, layer["input"], layer["hidden"], layer["bias"])
    return h


def stacked(params, places, tokens, hops):
    """Logits [k] and the weights of each hop: Yang et al. 2016, equations 12 to 20."""
    seen, u, found = np.tanh(affine(params["image"], places)), question(params, tokens), []
    for k in range(1, hops + 1):
        keys = seen @ params[f"attention{k}_image"]["kernel"]
        p = softmax(additive(affine(params[f"attention{k}_question"], u), keys, params[f"attention{k}_vector"]))
        found.append(p)
        u = context(p, seen) + u
    return affine(params["head"], hidden(params, u) if "fc1" in params else u), found


def hidden(params, x):
    """Two layers of tanh units."""
    for name in ("fc1", "fc2"):
        x = np.tanh(affine(params[name], x))
    return x


def baseline(params, places, tokens, kind):
    """Logits [k] of a question alone, an image alone, or their product (Antol et al. 2015, section 4)."""
    image = places.ravel() / np.linalg.norm(places)
    if kind == "product":
        asked = np.tanh(affine(params["question_out"], question(params, tokens)))
        x = asked * np.tanh(affine(params["image"], image))
    else:
        x = image if kind == "image" else question(params, tokens)
    return affine(params["head"], hidden(params, x))
