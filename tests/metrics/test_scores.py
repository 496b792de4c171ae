"""Scores of predictions against their definitions, written out."""

import math

import numpy as np
import pytest

from cs231n_jax.metrics import scores


def test_scores_against_their_definitions():
    random = np.random.default_rng(0)
    p = random.dirichlet(np.ones(4), 500)
    labels = random.integers(0, 4, 500)
    expected = 0.0
    for b in range(15):
        inside = (p.max(-1) > b / 15) & (p.max(-1) <= (b + 1) / 15)
        if inside.any():
            right = (p.argmax(-1) == labels)[inside]
            expected += inside.mean() * abs(right.mean() - p.max(-1)[inside].mean())
    assert scores.calibration_error(p, labels) == pytest.approx(expected, rel=1e-12)
    a, b = p.argmax(-1), random.integers(0, 4, 500)
    assert scores.disagreement(a, b) == np.mean(a != b)
    assert scores.error_correlation(a, b, labels) == pytest.approx(np.corrcoef(a != labels, b != labels)[0, 1])
    assert math.isnan(scores.error_correlation(labels, b, labels))
    assert scores.standard_error(0.9, 10_000) == pytest.approx(0.003)
