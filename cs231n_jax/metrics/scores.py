"""Scores of predicted probabilities on the host: accuracy, likelihood, calibration, and how predictions differ."""

import numpy as np

BINS = 15


def accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Share of examples whose largest probability [N, K] is that of the label [N]."""
    return float(np.mean(np.argmax(probabilities, axis=-1) == labels))


def standard_error(accuracy: float, examples: int) -> float:
    """√(p·(1 − p) / N): how far chance alone moves an accuracy measured on N examples."""
    return float(np.sqrt(accuracy * (1 - accuracy) / examples))


def negative_log_likelihood(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean of −ln p(label), in nats."""
    return float(np.mean(nats(probabilities, labels)))


def nats(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """−ln p(label) of each example, from probabilities [N, K] and labels [N]."""
    of_label = probabilities[np.arange(len(labels)), labels]
    return -np.log(np.maximum(of_label, np.finfo(np.float64).tiny))


def paired_difference(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """(mean of a − b, its standard error s / √N), for two scores [N] of the same examples.

    s is the standard deviation of the N differences, with N − 1 below; the error is NaN for one example. What both
    find easy or hard cancels, so that a difference can be certain that two separate standard errors would hide.
    """
    difference = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    error = np.std(difference, ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else np.nan
    return float(np.mean(difference)), float(error)


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Expected calibration error: Σ_b n_b/N · |accuracy of bin b − its mean confidence|, bins of equal width.

    Confidence is the largest probability; bin b holds confidences in (b/B, (b+1)/B]. NaN where one of them is.

    Reference: Guo, Pleiss, Sun, Weinberger 2017, "On Calibration of Modern Neural Networks", equation 3 (15 bins).
    """
    confidence = np.max(probabilities, axis=-1)
    if np.isnan(confidence).any():
        return float("nan")
    right = np.argmax(probabilities, axis=-1) == labels
    index = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    gaps = np.bincount(index, right - confidence, minlength=BINS)
    return float(np.sum(np.abs(gaps)) / len(labels))


def disagreement(a: np.ndarray, b: np.ndarray) -> float:
    """Share of examples on which two predictions [N] differ."""
    return float(np.mean(a != b))


def error_correlation(a: np.ndarray, b: np.ndarray, labels: np.ndarray) -> float:
    """Pearson's correlation of the 0/1 errors of two predictions [N]: 1 for the same errors, NaN where one has none."""
    wrong = np.stack([a != labels, b != labels]).astype(np.float64)
    wrong -= wrong.mean(axis=1, keepdims=True)
    norm = np.sqrt(np.prod(np.sum(wrong**2, axis=1)))
    return float(np.sum(wrong[0] * wrong[1]) / norm) if norm else float("nan")
