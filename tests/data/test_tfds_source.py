import json
import logging
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from cs231n_jax import data
from cs231n_jax.data import tfds_source
from cs231n_jax.data.base import fingerprint


def opened(name, part="train", **options):
    return data.open_source(data.DataConfig(name=name, **options), part)


def everything(source):
    return source[np.arange(len(source))]


@pytest.fixture
def tiny(write_tfds, images):
    return str(write_tfds(*images, shape=(4, 6, 3)))


def test_a_prepared_directory_is_read(tiny, images):
    train, evaluation = opened("tiny", dir=tiny), opened("tiny", "eval", dir=tiny)
    assert (train.info.split, evaluation.info.split) == ("train", "validation")
    assert train.info.classes == ("ant", "bee", "cat")
    found = {image.tobytes(): label for image, label in zip(*everything(train).values())}
    assert found == {image.tobytes(): label for image, label in zip(*images)}
    assert everything(train)["label"].dtype == np.int32
    np.testing.assert_allclose(evaluation.info.mean, (images[0] / 255).mean((0, 1, 2)), rtol=1e-12)


@pytest.mark.parametrize("name", ["tiny/1.2.0", "tiny:1.2.0", "tiny"])
def test_the_version_may_be_named(tiny, name):
    assert len(opened(name, dir=tiny)) == 20


def test_slices_of_splits(tiny):
    whole = everything(opened("tiny", dir=tiny))["image"]
    parts = (
        opened("tiny", dir=tiny, train_split="train[:75%]"),
        opened("tiny", "eval", dir=tiny, eval_split="train[75%:]"),
    )
    assert [len(part) for part in parts] == [15, 5]
    np.testing.assert_array_equal(np.concatenate([everything(part)["image"] for part in parts]), whole)


def test_the_directory_comes_from_the_environment_or_the_home(tiny, monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", tiny)
    assert len(opened("tiny")) == 20
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    shutil.copytree(tiny, tmp_path / "home" / "tensorflow_datasets")
    assert len(opened("tiny")) == 20


def test_the_newest_version_is_taken_and_configs_must_be_named(tiny, tmp_path):
    base = tmp_path / "tfds" / "tiny"
    shutil.copytree(base / "1.2.0", base / "1.10.0")
    assert tfds_source._find(data.DataConfig(name="tiny", dir=tiny)).name == "1.10.0"
    for config in ("one", "two"):
        shutil.copytree(base / "1.2.0", tmp_path / "several" / "tiny" / config / "1.2.0")
    with pytest.raises(ValueError, match=r"tiny has several configs; name one as tiny/CONFIG \(prepared: one, two\)"):
        opened("tiny", dir=str(tmp_path / "several"))
    assert len(opened("tiny/two", dir=str(tmp_path / "several"))) == 20


def test_a_second_opening_imports_no_reader(tiny, cache_dir):
    opened("tiny", dir=tiny)
    opened("tiny", "eval", dir=tiny)
    program = (
        "import sys; from cs231n_jax import data\n"
        f"config = data.DataConfig(name='tiny', dir={tiny!r})\n"
        "assert len(data.open_source(config, 'train')) + len(data.open_source(config, 'eval')) == 40\n"
        "sys.exit(str({'tensorflow_datasets', 'array_record', 'PIL', 'jax'} & set(sys.modules) or ''))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True)
    assert done.stderr.strip() == ""


def test_reading_says_nothing(tiny):
    program = f"from cs231n_jax import data; data.open_source(data.DataConfig(name='tiny', dir={tiny!r}), 'train')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert logging.getLogger("absl").level != logging.ERROR


def test_images_of_several_sizes_need_a_size(write_tfds):
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, (8 + i % 2, 6, 3), dtype=np.uint8) for i in range(4)]
    directory = str(write_tfds(images, [0, 1, 2, 0], shape=(None, None, 3)))
    with pytest.raises(ValueError, match=r"the images of tiny differ in size; set data.image_size"):
        opened("tiny", dir=directory)
    assert opened("tiny", dir=directory, image_size=5).info.shapes["image"] == (5, 5, 3)


def test_a_set_without_labels_is_explained(write_tfds, images):
    directory = str(write_tfds(*images, shape=(4, 6, 3), label_key="kind"))
    with pytest.raises(ValueError, match="tiny has the features image, kind; a set of labelled images needs"):
        opened("tiny", dir=directory)


def test_another_file_format_is_explained(tiny, tmp_path):
    path = tmp_path / "tfds" / "tiny" / "1.2.0" / "dataset_info.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "fileFormat": "tfrecord"}))
    with pytest.raises(ValueError, match=r"is stored as tfrecord, .*: python -c .*file_format='array_record'"):
        opened("tiny", dir=tiny)


def test_a_missing_split_is_explained(tiny):
    with pytest.raises(ValueError, match=r"no split 'test'; set data.eval_split \(splits: train, validation\)"):
        opened("tiny", "eval", dir=tiny, eval_split="test")


def test_a_set_that_is_not_prepared_is_explained(tmp_path, monkeypatch):
    missing = tmp_path / "missing"
    message = (
        rf"cifar10 is not prepared in {missing} \(no such directory\); .*tfds.builder\('cifar10', data_dir='{missing}'"
    )
    with pytest.raises(FileNotFoundError, match=message):
        opened("cifar10", dir=str(missing))
    assert not missing.exists()
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=rf"not prepared in {tmp_path} or {tmp_path}/tensorflow_datasets"):
        opened("fashion_mnist:3.0.1")


@pytest.mark.parametrize("name", ["ucf101", "ucf101/ucf101_1", "glue/sst2", "wmt14_translate/de-en", "davis"])
def test_a_set_that_tensorflow_alone_prepares_is_explained(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=rf"^{name} is not prepared in .*tfds.builder\('{name}', .*TensorFlow"):
        opened(name, dir=str(tmp_path))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("cifra10", "did you mean 'cifar10'?"),
        ("digit", "did you mean 'digits'?"),
        ("sinthetic", "did you mean 'synthetic'?"),
        ("tinny", "did you mean 'tiny'?"),
        ("photos", "did you mean './photos'?"),
        ("qqqqqqqq", "check the spelling; known are digits"),
        ("cifar10/../..", "a path to a folder of images (starting with ./ or /)"),
    ],
)
def test_an_unknown_name_suggests_the_nearest(tiny, tmp_path, monkeypatch, name, hint):
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", tiny)
    with pytest.raises(ValueError, match="there is no data set") as caught:
        opened(name)
    assert hint in str(caught.value)


@pytest.mark.slow
def test_real_cifar10_is_complete(real_cifar10):
    train, evaluation = real_cifar10
    assert np.bincount(everything(train)["label"]).tolist() == [5000] * 10
    assert np.bincount(everything(evaluation)["label"]).tolist() == [1000] * 10
    for info in (train.info, evaluation.info):  # as published for the training images
        np.testing.assert_allclose(info.mean, (0.4914, 0.4822, 0.4465), atol=5e-5)
        np.testing.assert_allclose(info.std, (0.2470, 0.2435, 0.2616), atol=5e-5)
        assert info.shapes == {"image": (32, 32, 3), "label": ()}
    assert train.info.classes[:3] == ("airplane", "automobile", "bird")
    assert train.info.fingerprint == fingerprint(train.arrays, train.info.classes)


@pytest.mark.slow
def test_real_cifar10_is_decoded_as_pillow_does(real_cifar10, tfds_dir):
    """The records are protocol buffers that hold each PNG as it is; Pillow reads it from there."""
    import io

    from array_record.python.array_record_data_source import ArrayRecordDataSource

    (shard,) = tfds_dir.glob("cifar10/*/cifar10-test.array_record-*")
    with ArrayRecordDataSource([str(shard)]) as records:
        indices = list(range(0, 10000, 97))
        raw = records.__getitems__(indices)
    decoded = real_cifar10[1][np.array(indices)]["image"]
    for record, image in zip(raw, decoded):
        start = record.index(b"\x89PNG")
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(record[start:]))), image)


@pytest.mark.slow
def test_real_cifar10_opens_fast_the_second_time(real_cifar10, tfds_dir, cifar10_cache, monkeypatch):
    monkeypatch.setenv("CS231N_JAX_CACHE", str(cifar10_cache))
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        assert len(opened("cifar10", "eval", dir=str(tfds_dir))) == 10000
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.05


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [pytest.param("cifar100", (32, 32, 3), 100, marks=pytest.mark.slow), ("mnist", (28, 28, 1), 10)],
)
def test_other_real_sets(tfds_dir, name, shape, classes):
    train, evaluation = opened(name, dir=str(tfds_dir)), opened(name, "eval", dir=str(tfds_dir))
    assert train.info.shapes["image"] == shape
    assert train.info.num_classes == classes
    for source in (train, evaluation):  # both are balanced selections
        assert set(np.bincount(everything(source)["label"])) == {len(source) // classes}
