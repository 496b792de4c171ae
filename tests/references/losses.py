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


def multiclass_hinge(logits, labels, margin=1.0, squared=False):
    """Sum over the other classes, one by one, of what the label's score falls short of theirs plus the margin."""
    z = np.asarray(logits, np.float64).reshape(-1, np.shape(logits)[-1])
    out = []
    for scores, label in zip(z, np.ravel(labels)):
        terms = [max(0.0, s - scores[label] + margin) for j, s in enumerate(scores) if j != label]
        out.append(sum(t**2 if squared else t for t in terms))
    return np.reshape(out, np.shape(labels))


def elastic(leaves, l1, l2):
    """Sums over all elements: l1 times absolute values, and l2 times half the squares."""
    return sum(l1 * np.abs(w).sum() + l2 * (np.float64(w) ** 2).sum() / 2 for w in leaves)
