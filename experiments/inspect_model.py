"""What a model is made of: its parameters, or its layers at work on one image, or what its units see.

python -m experiments.inspect_model --model=resnet50
python -m experiments.inspect_model --model=vgg16 --table=parameters
python -m experiments.inspect_model --model=vgg16_cifar --image=128x128x3 --table=fields --option=width=4
"""

from experiments import program  # isort: skip  (first: it sets up the allocator)

import jax
import jax.numpy as jnp
from absl import flags

from cs231n_jax import inspect, models
from cs231n_jax.models import functional, registry
from cs231n_jax.report.console import ConsoleReporter
from experiments import model_options
from experiments.overrides import UsageError

_MODEL = flags.DEFINE_string("model", None, "Model name.", required=True)
_IMAGE = flags.DEFINE_string("image", "", "HEIGHTxWIDTHxCHANNELS; default: what the model is published for.")
_TABLE = flags.DEFINE_enum("table", "layers", ["layers", "parameters", "fields"], "What to print.")


def main() -> None:
    """Print one table, the sums in its title."""
    model = models.create(_MODEL.value, **model_options.given())
    image = _example()
    with ConsoleReporter() as reporter:
        reporter.table(*{"layers": _layers, "parameters": _parameters, "fields": _fields}[_TABLE.value](model, image))


def _layers(model, image):
    found = inspect.layers(model, image)
    rows = [
        (
            layer.path,
            layer.kind,
            "×".join(map(str, layer.output[1:])),
            f"{layer.parameters:,}",
            f"{layer.multiply_adds:,}",
            f"{layer.activations:,}",
        )
        for layer in found
    ]
    giga, values = sum(layer.multiply_adds for layer in found), sum(layer.activations for layer in found)
    title = f"{_title(image)}: {giga / 1e9:.3f} · 10⁹ multiply-adds, {values:,} activations"
    return title, ("layer", "kind", "output", "parameters", "multiply-adds", "activations"), rows


def _parameters(model, image):
    found = inspect.parameters(model, image)
    rows = [(p.path, "×".join(map(str, p.shape)), f"{p.count:,}", p.start) for p in found]
    title = f"{_MODEL.value}: {sum(p.count for p in found):,} parameters, auxiliary heads included"
    return title, ("parameter", "shape", "count", "start"), rows


def _fields(model, image):
    shapes = functional.outputs(model, image, method="features")
    rows = []
    for name in (stage for stage in model.stages if shapes[stage].ndim == 4):
        field = inspect.receptive_field(model, image.shape[1:], name)
        rows.append((name, "×".join(map(str, shapes[name].shape[1:])), "×".join(map(str, field.size))))
    return f"{_title(image)}: receptive fields in pixels", ("feature", "shape", "field"), rows


def _title(image) -> str:
    return f"{_MODEL.value} on {'×'.join(map(str, image.shape[1:]))}"


def _example() -> jax.ShapeDtypeStruct:
    variant = registry.VARIANTS[_MODEL.value]
    reads = variant.module.reads[0]
    if reads != "image" and (_IMAGE.value or _TABLE.value == "fields"):
        raise UsageError(f"--model={_MODEL.value} reads {reads}s: leave out --image and --table=fields")
    if not _IMAGE.value:
        return variant.example()
    sizes = _IMAGE.value.lower().split("x")
    if len(sizes) != 3 or not all(size.isdigit() and int(size) for size in sizes):
        raise UsageError(f"--image={_IMAGE.value}: write HEIGHTxWIDTHxCHANNELS, for example --image=224x224x3")
    return jax.ShapeDtypeStruct((1, *map(int, sizes)), jnp.float32)


if __name__ == "__main__":
    program.run(main)
