"""Weights in files: our names and torch's, in every format, without torch."""

import io
import pickle
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import models
from cs231n_jax.interop import files
from cs231n_jax.models import functional

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "torchvision.npz")


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_files_of_torch_are_read(kind, tmp_path):
    (tmp_path / "w.pth").write_bytes(GOLDEN[f"pth/{kind}"].tobytes())
    state = files.read(tmp_path / "w.pth")
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    expected = {"base": base, "transposed": base.T, "row": base[2], "half": base, "count": 7, "parameter": base + 1}
    assert list(state) == list(expected)
    assert state["half"].dtype == jnp.bfloat16
    assert state["count"].dtype == np.int64
    for name, value in expected.items():
        np.testing.assert_array_equal(state[name].astype(np.float32), value)
        assert state[name].shape == np.shape(value)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_our_variables_survive_a_file(suffix, tmp_path):
    model = models.create("resnet8", width=3)
    variables = functional.init(model, 0, jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32))
    files.write(tmp_path / f"w{suffix}", files.to_flat(*variables))
    flat = files.read(tmp_path / f"w{suffix}")
    assert {"params/stem_conv/kernel", "batch_stats/stage1_block1/norm1/mean"} <= set(flat)
    again = files.from_flat(flat)
    assert jax.tree.structure(again) == jax.tree.structure(variables)
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(variables), jax.tree.leaves(again)))


class Malicious:
    def __reduce__(self):
        return print, ("code was run",)


def zipped(content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(content, protocol=2))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.pth", zipped({"x": Malicious()}), "holds a .*print, no part of a state dict"),
        ("b.pth", zipped({"x": 3}), "no state dict"),
        ("e.pth", zipped({1: 3}), "no state dict"),
        ("c.pth", b"no pickle at all", "no file that torch.save has written"),
        ("d.bin", b"", "give .npz, .safetensors, .pth"),
    ],
)
def test_other_files_are_refused(name, content, message, tmp_path, capsys):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        files.read(tmp_path / name)
    assert not capsys.readouterr().out


def written(suffix, path):
    """A good file of weights, as bytes."""
    if suffix == ".pth":
        return GOLDEN["pth/zip"].tobytes()
    files.write(path / f"good{suffix}", {"a": np.arange(400, dtype=np.float32), "b": np.ones((3, 4), np.float32)})
    return (path / f"good{suffix}").read_bytes()


DAMAGES = {
    "empty": lambda good: b"",
    "truncated": lambda good: good[: len(good) // 2],
    "beginning": lambda good: good[:10],
    "random": lambda good: np.random.default_rng(0).bytes(300),
    "text": lambda good: b"404: not found",
    "flipped": lambda good: good[:150] + bytes([good[150] ^ 255]) * 90 + good[240:],
    "directory": lambda good: good[:-60] + bytes(60),
}


NO_CHECKSUM = (("flipped", ".safetensors"), ("directory", ".safetensors"))  # other numbers look as good to a reader


@pytest.mark.parametrize(
    ("damage", "suffix"),
    [(d, s) for d in DAMAGES for s in (".npz", ".safetensors", ".pth") if (d, s) not in NO_CHECKSUM],
)
def test_damaged_files_are_named(suffix, damage, tmp_path):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(DAMAGES[damage](written(suffix, tmp_path)))
    with pytest.raises(files.ContentError, match=rf"^w{suffix} is |damaged|no part of a state dict"):
        files.read(path)


def test_legacy_files_cut_anywhere_are_named(tmp_path):
    good = GOLDEN["pth/legacy"].tobytes()
    for end in range(0, len(good), 61):
        (tmp_path / "w.pth").write_bytes(good[:end])
        with pytest.raises(files.ContentError, match=r"damaged|no file that torch.save has written"):
            files.read(tmp_path / "w.pth")


def test_a_file_of_another_kind_is_named(tmp_path):
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(ValueError, match=r"one\.npz holds one array without a name"):
        files.read(tmp_path / "one.npz")
    np.savez(tmp_path / "w.npz", a=np.zeros(3))
    (tmp_path / "w.npz").rename(tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"no data\.pkl"):
        files.read(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array(["conv", "norm"]), r"w\.npz holds 'x' of type <U4: weights are arrays of numbers"),
        (np.array([b"conv"]), r"holds 'x' of type \|S4"),
        (np.array([{}, None]), r"holds 'x' of Python objects, which are never loaded"),
        (np.zeros(2, [("a", np.float32)]), r"holds 'x' of type \[\("),
    ],
)
def test_arrays_of_other_things_than_numbers_are_named(array, message, tmp_path):
    np.savez(tmp_path / "w.npz", a=np.zeros(3), x=array)
    with pytest.raises(ValueError, match=message):
        files.read(tmp_path / "w.npz")


@pytest.mark.parametrize("names", [("params", "params/a"), ("params/a/b", "params/a"), ("params/a", "params/a/b")])
def test_an_array_that_is_a_group_too_is_named(names):
    with pytest.raises(ValueError, match="an array and for a group of arrays"):
        files.from_flat(dict.fromkeys(names, np.zeros(1, np.float32)))


def test_a_tensor_beyond_its_storage_is_refused():
    storage = files._Storage(np.dtype(np.float32))
    storage.data = np.zeros(5, np.float32)
    assert files._LazyTensor(storage, 1, (2, 2), (2, 1)).array().shape == (2, 2)
    with pytest.raises(ValueError, match="damaged"):
        files._LazyTensor(storage, 2, (2, 2), (2, 1)).array()


def test_what_cannot_be_written_or_found_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"as \.npz or \.safetensors"):
        files.write(tmp_path / "w.pth", {})
    with pytest.raises(FileNotFoundError, match=r"no file of weights at .*w\.npz"):
        files.read(tmp_path / "w.npz")
