"""The models: `create` one by name, `functional.init` and `functional.apply` it."""

from cs231n_jax.models import functional
from cs231n_jax.models.registry import create, names, options, parameter_count

__all__ = ["create", "functional", "names", "options", "parameter_count"]
