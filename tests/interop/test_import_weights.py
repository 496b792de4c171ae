"""The program that renames weights, in a process of its own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import models
from cs231n_jax.interop import files, torchvision
from cs231n_jax.models import functional
from tests import programs

run = functools.partial(programs.run, "import_weights")


def test_there_and_back(tmp_path):
    options = {"width": 2, "num_classes": 3}
    variables = functional.init(
        models.create("resnet18", **options), 0, jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    )
    theirs = torchvision.export("resnet18", *variables, **options)
    files.write(tmp_path / "theirs.npz", theirs)
    common = ("--model=resnet18", "--option=width=2", "--option=num_classes=3")
    done = run(*common, f"--weights={tmp_path}/theirs.npz", f"--out={tmp_path}/ours.npz")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("resnet18: 102 arrays of")
    ours = files.from_flat(files.read(tmp_path / "ours.npz"))
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(variables)))
    done = run(*common, f"--weights={tmp_path}/ours.npz", "--export", f"--out={tmp_path}/again.safetensors")
    assert done.returncode == 0, done.stderr
    again = files.read(tmp_path / "again.safetensors")
    assert again.keys() == theirs.keys()
    assert all(np.array_equal(again[key], theirs[key]) for key in theirs)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--weights=w.npz", "--out=o.npz"), 2, "--model=resnet50"),
        (("--model=resnet18", "--weights=missing.npz", "--out=o.npz"), 1, "no file of weights at missing.npz"),
    ],
)
def test_mistakes_are_named(arguments, code, message):
    done = run(*arguments)
    assert done.returncode == code
    assert message in done.stderr


@pytest.mark.parametrize("suffix", [".npz", ".pth", ".safetensors"])
def test_a_damaged_file_takes_one_line(suffix, tmp_path):
    (tmp_path / f"w{suffix}").write_bytes(b"PK\x03\x04 nothing more")
    done = run("--model=resnet18", f"--weights={tmp_path}/w{suffix}", f"--out={tmp_path}/o.npz")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: w{suffix} is ")
    assert done.stderr.count("\n") == 1
