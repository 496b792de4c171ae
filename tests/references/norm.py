"""Batch normalisation in float64 numpy."""

import numpy as np


def batch_norm(x, scale, bias, eps, relu=False, residual=None):
    """(y, mean, biased variance) over all axes but the last."""
    x = np.asarray(x, np.float64)
    axes = tuple(range(x.ndim - 1))
    mean, var = x.mean(axes), x.var(axes)
    return normalize(x, mean, var, scale, bias, eps, relu, residual), mean, var


def ghost_batch_norm(x, scale, bias, ghost, eps, relu=False, residual=None):
    """(y, average of the means, average of the biased variances) over ghost batches, one after another."""
    y, means, variances = np.empty(np.shape(x)), [], []
    for start in range(0, len(x), ghost):
        part = slice(start, start + ghost)
        added = None if residual is None else residual[part]
        y[part], mean, var = batch_norm(x[part], scale, bias, eps, relu, added)
        means.append(mean)
        variances.append(var)
    return y, np.mean(means, axis=0), np.mean(variances, axis=0)


def normalize(x, mean, var, scale, bias, eps, relu=False, residual=None):
    """(x - mean) / sqrt(var + eps) scale + bias, then the residual, then the rectifier."""
    x = np.asarray(x, np.float64)
    y = (x - mean) / np.sqrt(np.asarray(var, np.float64) + eps) * scale + bias
    y = y if residual is None else y + residual
    return np.maximum(y, 0) if relu else y


def input_gradient(x, scale, dy, eps):
    """Backpropagation through the statistics, step by step through the graph of the course's second assignment."""
    axes = tuple(range(x.ndim - 1))
    count = x.size // x.shape[-1]
    centred = x - x.mean(axes)
    deviation = np.sqrt((centred**2).mean(axes) + eps)
    dnormalised = dy * scale
    dinverse = (dnormalised * centred).sum(axes)
    ddeviation = -dinverse / deviation**2
    dvariance = ddeviation / (2 * deviation)
    dcentred = dnormalised / deviation + 2 * centred * dvariance / count
    return dcentred - dcentred.sum(axes) / count
