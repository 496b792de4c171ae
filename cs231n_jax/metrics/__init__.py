"""Metrics: (total, count) pairs that add up exactly over batches and devices, and scores of whole texts."""

from cs231n_jax.metrics.bleu_score import Bleu, bleu
from cs231n_jax.metrics.chrf_score import Chrf, chrf
from cs231n_jax.metrics.cider_score import cider
from cs231n_jax.metrics.example_scores import ExampleScores
from cs231n_jax.metrics.mean import Mean
from cs231n_jax.metrics.pointing_score import Pointing, pointing
from cs231n_jax.metrics.rouge_score import rouge
from cs231n_jax.metrics.vqa_score import VqaAccuracy, vqa

__all__ = [
    "Bleu",
    "Chrf",
    "ExampleScores",
    "Mean",
    "Pointing",
    "VqaAccuracy",
    "bleu",
    "chrf",
    "cider",
    "pointing",
    "rouge",
    "vqa",
]
