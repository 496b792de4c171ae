"""The regularizers and the normalisation of the older networks in float64 numpy, written from their formulas."""

import itertools

import numpy as np


def local_response_norm(x, size, alpha, beta, k):
    """Krizhevsky et al. 2012, section 3.3: loops over channels and neighbours."""
    y, channels = np.empty_like(x), x.shape[-1]
    for i in range(channels):
        neighbours = range(max(0, i - size // 2), min(channels - 1, i + size // 2) + 1)
        y[..., i] = x[..., i] / (k + alpha * sum(x[..., j] ** 2 for j in neighbours)) ** beta
    return y


def adaptive_avg_pool(x, size):
    """Mean over rows ⌊i·h/size⌋ … ⌈(i + 1)·h/size⌉, columns likewise."""
    n, h, w, c = x.shape
    y = np.empty((n, size, size, c))
    for i, j in itertools.product(range(size), repeat=2):
        rows = slice(i * h // size, int(np.ceil((i + 1) * h / size)))
        columns = slice(j * w // size, int(np.ceil((j + 1) * w / size)))
        y[:, i, j] = x[:, rows, columns].mean((1, 2))
    return y


def local_drop_path_chances(inputs, drop_rate):
    """Probability of each set of kept inputs, given that something is kept."""
    chances = {}
    for kept in itertools.product((False, True), repeat=inputs):
        if any(kept):
            chances[kept] = np.prod([1 - drop_rate if k else drop_rate for k in kept])
    total = sum(chances.values())
    return {kept: chance / total for kept, chance in chances.items()}
