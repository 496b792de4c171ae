"""The models: `create` one by name, `functional.init` and `functional.apply` it."""

from cs231n_jax.models import functional
from cs231n_jax.models.registry import ModelConfig, Precision, create, names, options, parameter_count

__all__ = ["ModelConfig", "Precision", "create", "functional", "names", "options", "parameter_count"]
