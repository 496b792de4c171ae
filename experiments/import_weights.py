"""Weights of torch into our names, and back: torch itself is not needed.

    python -m experiments.import_weights --model=resnet50 --weights=resnet50-0676ba61.pth --out=resnet50.npz
    python -m experiments.import_weights --model=resnet50 --weights=resnet50.npz --export --out=for_torch.safetensors
    python -m experiments.import_weights --weights=runs/a --export --out=for_torch.npz
    python -m experiments.import_weights --model=squeezenet1_0 --option=head_padding=1 --weights=caffe.npz --out=a.npz

Reads .npz, .safetensors, .pth and .pt; writes .npz and .safetensors. Ours hold "params/stem_conv/kernel",
"batch_stats/stem_norm/mean", ...; cs231n_jax.interop.files.from_flat makes (params, model_state) of them.
"""

from experiments import program  # isort: skip  (first: it sets up the allocator)

from pathlib import Path

from absl import flags

from cs231n_jax.interop import files, published, torchvision
from cs231n_jax.train import snapshots
from experiments import model_options
from experiments.overrides import UsageError

_MODEL = flags.DEFINE_string("model", None, "Model name; a run directory knows its own.")
_WEIGHTS = flags.DEFINE_string("weights", None, "File of weights, or for --export a run directory.", required=True)
_OUT = flags.DEFINE_string("out", None, "File to write: .npz or .safetensors.", required=True)
_EXPORT = flags.DEFINE_bool("export", False, "From our names to torch's instead.")


def main() -> None:
    """Read, rename, write, and say what was written."""
    name, options = _MODEL.value, model_options.given()
    if _EXPORT.value and Path(_WEIGHTS.value).is_dir():
        config, *variables = snapshots.load(_WEIGHTS.value)
        name, options = config["model"]["name"], {**config["model"]["options"], **options}
    elif name is None:
        raise UsageError("say which model the weights are of: --model=resnet50")
    elif _EXPORT.value:
        variables = files.from_flat(files.read(_WEIGHTS.value))
    else:
        variables = published.renamed(files.read(_WEIGHTS.value), name, **options)
    arrays = torchvision.export(name, *variables, **options) if _EXPORT.value else files.to_flat(*variables)
    files.write(_OUT.value, arrays)
    numbers = sum(array.size for array in arrays.values())
    print(f"{name}: {len(arrays)} arrays of {numbers:,} numbers written to {_OUT.value}")


if __name__ == "__main__":
    program.run(main)
