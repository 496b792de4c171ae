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


def drop_connect(x, kernel, bias, masks):
    """Wan et al. 2013, equation 5 before the activation: masks [n, d, m], one an example; loops over the sums."""
    y = np.empty((len(x), kernel.shape[1]))
    for n, o in itertools.product(range(len(x)), range(kernel.shape[1])):
        y[n, o] = bias[o] + sum(x[n, i] * kernel[i, o] for i in range(x.shape[1]) if masks[n, i, o])
    return y


def drop_connect_gradients(x, kernel, masks, dy):
    """dx, dkernel and dbias of `drop_connect`, connection by connection."""
    dx, dkernel = np.zeros_like(x), np.zeros_like(kernel)
    for n, i, o in zip(*np.nonzero(masks)):
        dx[n, i] += dy[n, o] * kernel[i, o]
        dkernel[i, o] += dy[n, o] * x[n, i]
    return dx, dkernel, dy.sum(0)


def normal_mean(function, mean, var, pieces=400):
    """E function(u), u ~ N(mean, var), by Gauss–Legendre sums over pieces of ±12 standard deviations, cut at 0 too."""
    nodes, weights = np.polynomial.legendre.leggauss(20)
    s = np.sqrt(var)
    cuts = np.unique(np.append(np.linspace(mean - 12 * s, mean + 12 * s, pieces + 1), 0.0))
    middle, half = (cuts[1:] + cuts[:-1]) / 2, (cuts[1:] - cuts[:-1]) / 2
    u = (middle[:, None] + half[:, None] * nodes).ravel()
    density = np.exp(-((u - mean) ** 2) / (2 * var)) / (s * np.sqrt(2 * np.pi))
    return float(np.sum((half[:, None] * weights).ravel() * density * np.array([function(v) for v in u])))
