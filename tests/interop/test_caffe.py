"""The published SqueezeNet of Caffe: its names, and the logits that its authors' software gives."""

import functools
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import data, models
from cs231n_jax.interop import caffe, torchvision
from cs231n_jax.models import functional
from cs231n_jax.ops import augment
from tests.programs import run

LAYERS = {1: "conv1x1_1", 2: "conv1x1_2", 3: "conv3x3_2"}


def published(names: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(arrays by name, our torch names of them) of a network with other widths, made for the test."""
    params = functional.init(models.create("squeezenet1_0", scale=0.1), 0, np.zeros((1, 64, 64, 3), np.float32))[0]
    ours = torchvision.export("squeezenet1_0", params, {}, scale=0.1)
    places = {3: 2, 4: 3, 5: 4, 7: 5, 8: 6, 9: 7, 10: 8, 12: 9}
    there = {"squeeze": "conv1x1_1", "expand1x1": "conv1x1_2", "expand3x3": "conv3x3_2"}
    arrays = {}
    for name, array in ours.items():
        *module, leaf = name.split(".")
        if module == ["features", "0"]:
            arrays[f"conv1/{leaf}"] = array[:, ::-1] if leaf == "weight" else array
        elif module == ["classifier", "1"]:
            arrays[f"conv_final/{leaf}"] = array
        else:
            arrays[f"fire{places[int(module[1])]}/{there[module[2]]}/{leaf}"] = array
    return arrays, ours


def test_names_become_torchs_and_the_first_channels_turn():
    arrays, ours = published("caffe")
    found = caffe.squeezenet(arrays)
    assert found.keys() == ours.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(found[name], array)
    with pytest.raises(ValueError, match="lack conv1/weight"):
        caffe.squeezenet({"conv2/weight": np.zeros(1)})


def test_the_program_takes_them(tmp_path):
    arrays, _ = published("caffe")
    np.savez(tmp_path / "caffe.npz", **arrays)
    done = run(
        "import_weights", "--model=squeezenet1_0", f"--weights={tmp_path / 'caffe.npz'}",
        f"--out={tmp_path / 'ours.npz'}", "--option=scale=0.1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "52 arrays" in done.stdout


@pytest.mark.slow
def test_four_photographs_get_the_published_logits():
    directory = Path(os.environ.get("CS231N_WEIGHTS_DIR", ""), "squeezenet_v1.0_imagenet")
    if not directory.is_dir():
        pytest.skip("CS231N_WEIGHTS_DIR has no squeezenet_v1.0_imagenet")
    arrays = dict(np.load(directory / "squeezenet_v1.0_dense.npz"))
    golden = np.load(directory / "golden.npz")
    options = {"head_padding": 1}
    params, state = torchvision.load("squeezenet1_0", caffe.squeezenet(arrays), **options)
    info = data.Info("photos", "test", {"image": (227, 227, 3)}, 1, (), "", (0.0,) * 3, (1.0,) * 3)
    mean, std = data.DataConfig(normalize=data.Normalization.CAFFE).statistics(info)
    images = augment.standardize(jnp.asarray(golden["image"]), mean, std)
    run = jax.jit(functools.partial(functional.apply, models.create("squeezenet1_0", **options)))
    logits, _ = run(params, state, images)
    np.testing.assert_allclose(logits, golden["logits"], rtol=0, atol=2e-6 * np.abs(golden["logits"]).max())
