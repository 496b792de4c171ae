"""Metrics: (total, count) pairs that add up exactly over batches and devices, and scores of whole texts."""

from cs231n_jax.metrics.bleu_score import Bleu, bleu
from cs231n_jax.metrics.chrf_score import Chrf, chrf
from cs231n_jax.metrics.mean import Mean

__all__ = ["Bleu", "Chrf", "Mean", "bleu", "chrf"]
