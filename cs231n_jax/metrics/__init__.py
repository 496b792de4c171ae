"""Metrics as (total, count) pairs that add up exactly over batches, micro-batches and devices."""

from cs231n_jax.metrics.mean import Mean

__all__ = ["Mean"]
