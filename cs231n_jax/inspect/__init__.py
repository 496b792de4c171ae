"""What a model is made of and what it sees, without training it."""

from cs231n_jax.inspect.layers import Layer, Parameter, layers, multiply_adds, parameters
from cs231n_jax.inspect.receptive_field import Field, receptive_field

__all__ = ["Field", "Layer", "Parameter", "layers", "multiply_adds", "parameters", "receptive_field"]
