import subprocess
import sys

import numpy as np
import pytest
from sklearn import datasets, svm

from cs231n_jax import data
from cs231n_jax.data import digits
from cs231n_jax.data.base import fingerprint


def both():
    return data.open_source(data.DataConfig(), "train"), data.open_source(data.DataConfig(), "eval")


def everything(source):
    return source[np.arange(len(source))]


def test_the_split_is_scikit_learns_own_example():
    train, evaluation = both()
    reference = datasets.load_digits()
    assert (len(train), len(evaluation)) == (898, 899)
    assert (train.info.split, evaluation.info.split) == ("train", "test")
    labels = np.concatenate([everything(train)["label"], everything(evaluation)["label"]])
    np.testing.assert_array_equal(labels, reference.target)
    pixels = np.concatenate([everything(train)["image"], everything(evaluation)["image"]])[..., 0]
    assert pixels.dtype == np.uint8
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(pixels, np.floor(reference.images * 255 / 16 + 0.5))
    assert pixels.max() == 255


def test_the_published_baseline_is_reproduced():
    train, evaluation = (everything(source) for source in both())
    values = [np.round(part["image"].reshape(-1, 64) / 255.0 * 16) for part in (train, evaluation)]
    machine = svm.SVC(gamma=0.001).fit(values[0], train["label"])
    wrong = (machine.predict(values[1]) != evaluation["label"]).sum()
    assert f"{1 - wrong / 899:.2f}" == "0.97"  # as printed in scikit-learn's documentation


def test_info_describes_the_content():
    train, evaluation = both()
    pixels = everything(train)["image"] / 255.0
    for info in (train.info, evaluation.info):
        np.testing.assert_allclose(info.mean, pixels.mean((0, 1, 2)), rtol=1e-12)
        np.testing.assert_allclose(info.std, pixels.std((0, 1, 2)), rtol=1e-12)
    assert train.info.shapes == {"image": (8, 8, 1), "label": ()}
    assert train.info.classes == tuple("0123456789")
    assert train.info.fingerprint == fingerprint(everything(train), train.info.classes)
    assert train.info.fingerprint != evaluation.info.fingerprint


def test_the_fallback_reads_the_same(monkeypatch):
    expected = [source.info for source in both()]
    monkeypatch.setattr(digits, "_packaged_table", lambda: None)
    digits._arrays.cache_clear()
    assert [source.info for source in both()] == expected


def test_without_scikit_learn_the_error_says_what_to_do(monkeypatch):
    digits._arrays.cache_clear()
    monkeypatch.setattr(digits, "_packaged_table", lambda: None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ModuleNotFoundError, match="pip install scikit-learn"):
        data.open_source(data.DataConfig(), "train")
    digits._arrays.cache_clear()


def test_a_damaged_packaged_file_is_not_used(monkeypatch, tmp_path):
    folder = tmp_path / "datasets" / "data"
    folder.mkdir(parents=True)
    (folder / "digits.csv.gz").write_bytes(b"not gzip")

    class Spec:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(digits.importlib.util, "find_spec", lambda name: Spec)
    assert digits._packaged_table() is None


def test_opening_imports_nothing_heavy():
    program = (
        "import sys; from cs231n_jax import data; data.open_source(data.DataConfig(), 'train');"
        "heavy = {'jax', 'flax', 'sklearn', 'PIL', 'tensorflow_datasets', 'grain'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
