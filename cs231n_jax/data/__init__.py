"""Data sets with random access, and the batches made of them."""

from cs231n_jax.data.base import ArraySource, DataConfig, Info, Normalization, Source
from cs231n_jax.data.pipeline import Pipeline, eval_batches
from cs231n_jax.data.sources import open_source

__all__ = [
    "ArraySource",
    "DataConfig",
    "Info",
    "Normalization",
    "Pipeline",
    "Source",
    "eval_batches",
    "open_source",
]
