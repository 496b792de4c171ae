import io
import os
from pathlib import Path

import numpy as np
import pytest

from cs231n_jax import data


@pytest.fixture(autouse=True)
def cache_dir(tmp_path, monkeypatch):
    """Every test decodes into a cache of its own."""
    monkeypatch.setenv("CS231N_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def tfds_dir():
    """The directory with real prepared sets, where there is one."""
    directory = os.environ.get("TFDS_DATA_DIR", "")
    if not directory or not Path(directory, "cifar10").is_dir():
        pytest.skip("TFDS_DATA_DIR names no directory with a prepared cifar10")
    return Path(directory)


@pytest.fixture(scope="session")
def cifar10_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cifar10")


@pytest.fixture(scope="session")
def real_cifar10(tfds_dir, cifar10_cache):
    """(train, eval) of the real CIFAR-10, decoded once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CS231N_JAX_CACHE", str(cifar10_cache))
        config = data.DataConfig(name="cifar10", dir=str(tfds_dir))
        yield data.open_source(config, "train"), data.open_source(config, "eval")


def png(pixels):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    file.seek(0)
    return file


@pytest.fixture
def write_tfds(tmp_path):
    """Returns write(images, labels, shape): prepares TINY, version 1.2.0, with these as both splits."""
    import tensorflow_datasets as tfds

    def write(images, labels, shape, label_key="label", directory=tmp_path / "tfds"):
        class Tiny(tfds.core.GeneratorBasedBuilder, skip_registration=True):
            """Made for tests."""

            VERSION = tfds.core.Version("1.2.0")

            def _info(self):
                features = {
                    "image": tfds.features.Image(shape=shape),
                    label_key: tfds.features.ClassLabel(names=["ant", "bee", "cat"]),
                }
                return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

            def _split_generators(self, manager):
                return {split: self._generate_examples() for split in ("train", "validation")}

            def _generate_examples(self):
                for index, (image, label) in enumerate(zip(images, labels)):
                    yield index, {"image": png(image), label_key: int(label)}

        Tiny(data_dir=directory, file_format="array_record").download_and_prepare()
        return directory

    return write


@pytest.fixture
def images():
    """Twenty different colour images of 4×6 pixels and their labels."""
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (20, 4, 6, 3), dtype=np.uint8), np.arange(20) % 3
