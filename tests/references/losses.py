"""Losses in float64 numpy."""

import numpy as np


def softmax_cross_entropy(logits, labels, label_smoothing=0.0):
    """Minus the sum over classes of target log(probability)."""
    z = np.asarray(logits, np.float64)
    probabilities = np.exp(z - z.max(-1, keepdims=True))
    probabilities /= probabilities.sum(-1, keepdims=True)
    classes = z.shape[-1]
    target = (1 - label_smoothing) * np.eye(classes)[labels] + label_smoothing / classes
    return -(target * np.log(probabilities)).sum(-1)


def softmax_cross_entropy_gradient(logits, labels, label_smoothing=0.0):
    """Probability minus target."""
    z = np.asarray(logits, np.float64)
    probabilities = np.exp(z - z.max(-1, keepdims=True))
    probabilities /= probabilities.sum(-1, keepdims=True)
    classes = z.shape[-1]
    return probabilities - (1 - label_smoothing) * np.eye(classes)[labels] - label_smoothing / classes
