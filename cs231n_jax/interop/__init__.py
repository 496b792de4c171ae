"""Published weights in and out."""

from cs231n_jax.interop import torchvision

__all__ = ["torchvision"]
