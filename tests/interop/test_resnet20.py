"""The published CIFAR-10 ResNet-20, loaded from torch names and layouts, gives its published error."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import interop, models
from cs231n_jax.data import DataConfig, Normalization, eval_batches, open_source
from cs231n_jax.interop import torchvision
from cs231n_jax.models import functional
from cs231n_jax.tasks.classification import Classification
from experiments import results

WEIGHTS = Path(os.environ.get("CS231N_WEIGHTS_DIR", "")) / "resnet20_cifar10"
published = pytest.mark.skipif(
    not (os.environ.get("CS231N_WEIGHTS_DIR") and os.environ.get("TFDS_DATA_DIR")),
    reason="needs published weights and CIFAR-10: set CS231N_WEIGHTS_DIR and TFDS_DATA_DIR",
)


@pytest.fixture(scope="module")
def weights():
    with np.load(WEIGHTS / "resnet20.npz") as file:
        return dict(file)


def official_indices():
    """The official number of each test image, in the order of the TFDS directory."""
    import tensorflow_datasets as tfds

    directory = next((Path(os.environ["TFDS_DATA_DIR"]) / "cifar10").glob("3.*"))
    records = tfds.builder_from_directory(directory).as_data_source("test")
    return [int(record["id"].decode().removeprefix("test_")) for record in records]


def drawn(name="resnet8", **options):
    model = models.create(name, **options)
    return functional.init(model, 0, jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32))


@published
def test_golden_logits(weights):
    with np.load(WEIGHTS / "golden.npz") as file:
        golden = dict(file)
    params, state = interop.torchvision.load("resnet20", weights)
    task = Classification(models.create("resnet20"), tuple(golden["mean"].tolist()), tuple(golden["std"].tolist()))
    logits = jax.jit(task.predict)(params, state, {"image": jnp.asarray(golden["image"])})
    np.testing.assert_allclose(logits, golden["resnet20_logits"], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@published
def test_published_test_error_is_827_of_10000(weights):
    with np.load(WEIGHTS / "golden.npz") as file:
        golden = dict(file)
    params, state = interop.torchvision.load("resnet20", weights)
    config = DataConfig(name="cifar10", normalize=Normalization.IMAGENET)
    source = open_source(config, "eval")
    task = Classification(models.create("resnet20"), *config.statistics(source.info))
    predict = jax.jit(lambda batch: jnp.argmax(task.predict(params, state, batch), axis=-1))
    predictions, labels = [], []
    for batch in eval_batches(source, 500):
        predictions.append(np.asarray(predict(batch)))
        labels.append(batch["label"])
    predictions, labels = np.concatenate(predictions), np.concatenate(labels)
    wrong = predictions != labels
    assert wrong.sum() == 827
    assert results.LOADED[2] == f"{100 * wrong.mean():.2f} %"  # the README's
    official = np.argsort(official_indices())
    np.testing.assert_array_equal(labels[official], golden["test_label"])
    np.testing.assert_array_equal(predictions[official], golden["resnet20_test_pred"])


@published
def test_round_trip_of_the_published_file(weights):
    exported = torchvision.export("resnet20", *torchvision.load("resnet20", weights))
    expected = {k: v for k, v in weights.items() if not k.endswith("num_batches_tracked")}
    assert exported.keys() == expected.keys()
    assert all(np.array_equal(exported[k], expected[k]) for k in expected)


@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_export_then_load_is_the_identity(shortcut):
    params, state = drawn(shortcut=shortcut)
    exported = torchvision.export("resnet8", params, state, shortcut=shortcut)
    prefixed = {f"module.{k}": v for k, v in exported.items()} | {"module.bn1.num_batches_tracked": np.zeros(())}
    again = torchvision.load("resnet8", prefixed, shortcut=shortcut)
    assert jax.tree.structure(again) == jax.tree.structure((params, state))
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves((params, state)), jax.tree.leaves(again)))


def test_mismatches_are_named():
    exported = torchvision.export("resnet8", *drawn())
    with pytest.raises(ValueError, match=r"linear\.bias has shape \[10\], resnet8 needs \[100\]"):
        torchvision.load("resnet8", exported, num_classes=100)
    with pytest.raises(ValueError, match=r"no place for layer1\.1\.bn1\.bias"):
        torchvision.load("resnet8", torchvision.export("resnet14", *drawn("resnet14")))
    with pytest.raises(ValueError, match=r"lack layer1\.0\.conv1\.weight"):
        torchvision.load("resnet8", {k: v for k, v in exported.items() if k != "layer1.0.conv1.weight"})
    with pytest.raises(ValueError, match="no table of torch names"):
        torchvision.load("mlp", {})
