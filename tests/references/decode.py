"""Decoding over a table of logits by history, in float64, in plain loops over one row at a time."""

import itertools
import math

import numpy as np


def softmax(logits):
    e = np.exp(np.asarray(logits, np.float64) - np.max(logits))
    return e / e.sum()


def by_rank(values):
    """Indices from the largest value on, of equal ones the first first."""
    return sorted(range(len(values)), key=lambda i: (-values[i], i))


def tempered(probabilities, temperature):
    """p^(1/T), normalised; for T = 0 all on the likeliest."""
    if temperature == 0:
        first = by_rank(probabilities)[0]
        return np.array([float(i == first) for i in range(len(probabilities))])
    raised = np.asarray(probabilities, np.float64) ** (1 / temperature)
    return raised / raised.sum()


def of_set(probabilities, members):
    kept = np.array([p if i in members else 0.0 for i, p in enumerate(probabilities)])
    return kept / kept.sum()


def top_k(probabilities, k):
    return of_set(probabilities, set(by_rank(probabilities)[:k]))


def nucleus(probabilities, p):
    """Equation 2 taken at its word: among the sets of the likeliest, the first that holds at least p."""
    order = by_rank(probabilities)
    size = next((n for n in range(1, len(order) + 1) if sum(probabilities[i] for i in order[:n]) >= p), len(order))
    return of_set(probabilities, set(order[:size]))


# --- sequences: `logits(history)` gives [V] for a tuple of tokens ---


def log_probability(logits, tokens):
    return sum(math.log(softmax(logits(tokens[:t]))[token]) for t, token in enumerate(tokens))


def greedy(logits, steps, stop):
    tokens = ()
    while len(tokens) < steps and (not tokens or tokens[-1] != stop):
        tokens += (by_rank(logits(tokens))[0],)
    return tokens


def all_sequences(vocabulary, steps, stop):
    """Every sequence that ends with its first stop token, or has all steps and no stop token."""
    for length in range(1, steps + 1):
        for tokens in itertools.product(range(vocabulary), repeat=length):
            if stop not in tokens[:-1] and (length == steps or tokens[-1] == stop):
                yield tokens


def ranked(found, stop, normalise):
    """Those that ended first, each kind by falling score: (tokens, log-probability, score, ended)."""
    rows = [(y, p, p / normalise(len(y)), y[-1:] == (stop,)) for y, p in found]
    return sorted(rows, key=lambda row: (not row[3], -row[2]))


def exhaustive(logits, vocabulary, steps, stop, normalise):
    return ranked(((y, log_probability(logits, y)) for y in all_sequences(vocabulary, steps, stop)), stop, normalise)


def beam(logits, vocabulary, steps, stop, width, normalise):
    """Beam search with lists: B go on, and it is over when B have ended."""
    going, ended = [((), 0.0)], []
    for _ in range(steps):
        grown = [((*y, v), p + math.log(softmax(logits(y))[v])) for y, p in going for v in range(vocabulary)]
        grown.sort(key=lambda row: -row[1])
        ended += [row for row in grown[:width] if row[0][-1] == stop]
        going = [row for row in grown if row[0][-1] != stop][:width]
        if len(ended) >= width or not going:
            break
    return (ranked(ended, stop, normalise) + ranked(going, stop, normalise))[:width]
