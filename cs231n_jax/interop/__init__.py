"""Published weights in and out."""

from cs231n_jax.interop import files, torchvision

__all__ = ["files", "torchvision"]
