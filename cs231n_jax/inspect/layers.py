"""Tables of a model's parameters and layers, from shapes alone."""

import math
from typing import Any, NamedTuple

import jax

from cs231n_jax.models import functional
from cs231n_jax.ops.init import Spec

PRODUCTS = ("kernel", "input", "hidden")  # parameters that something is multiplied by


class Parameter(NamedTuple):
    """A trained array."""

    path: str
    shape: tuple[int, ...]
    count: int
    start: str  # how it is drawn, such as "normal 0.059"


class Layer(NamedTuple):
    """A layer with parameters at work on one batch, in inference."""

    path: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int  # of convolutions and matrix products; a FLOP count is twice as much
    activations: int  # elements of the output


def parameters(model: Any, *inputs: Any) -> list[Parameter]:
    """Every trained array of a model.

    Args:
        model: a module made by `models.create`.
        *inputs: arrays or jax.ShapeDtypeStructs that the model is called on; nothing is computed.
    """
    specs = functional.specs(model, *inputs)["params"]
    leaves = jax.tree_util.tree_flatten_with_path(specs, is_leaf=lambda x: isinstance(x, Spec))[0]
    return [
        Parameter(
            functional.path_name(path), spec.shape, math.prod(spec.shape), f"{spec.distribution} {spec.scale:.3g}"
        )
        for path, spec in leaves
    ]


def layers(model: Any, *inputs: Any) -> list[Layer]:
    """Every layer with parameters, in the order of computation; auxiliary heads take no part in inference.

    A kernel is used once at every position of the output, whatever its groups: positions · elements multiply-adds. So
    are the input and hidden weights of recurrent layers, also where tokens make a product the choice of a row.

    Args:
        model: a module made by `models.create`.
        *inputs: arrays or jax.ShapeDtypeStructs that the model is called on; nothing is computed.
    """
    return [_layer(call) for call in functional.calls(model, *inputs)]


def multiply_adds(model: Any, *inputs: Any) -> int:
    """Multiply-adds of convolutions and matrix products for one inference, as torchvision counts its GFLOPS."""
    return sum(layer.multiply_adds for layer in layers(model, *inputs))


def _layer(call: functional.Call) -> Layer:
    sizes = {name: math.prod(spec.shape) for name, spec in call.parameters.items()}
    positions = math.prod(call.output[:-1])
    return Layer(
        path=call.path,
        kind=call.kind,
        output=call.output,
        parameters=sum(sizes.values()),
        multiply_adds=positions * sum(sizes.get(name, 0) for name in PRODUCTS),
        activations=math.prod(call.output),
    )
