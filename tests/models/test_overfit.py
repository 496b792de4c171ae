"""A narrow variant of each family learns 32 noise images with random labels by heart, in a run as `train` makes it."""

import re
import time
from typing import NamedTuple

import numpy as np
import pytest

from cs231n_jax.config import Config, TrainConfig
from cs231n_jax.data import DataConfig
from cs231n_jax.models import ModelConfig, registry
from cs231n_jax.models.base import Variant
from cs231n_jax.optim import OptimizerConfig, ScheduleConfig
from cs231n_jax.train.loop import Silent
from cs231n_jax.train.run import run
from cs231n_jax.train.sharding import MeshConfig
from tests.descriptors import INCEPTIONS, ModelRow

# Dropout is off, for narrow layers cannot spare units; stochastic depth and drop-path stay as published.
ROWS = (
    ModelRow("mlp", {"hidden": (32,)}, (32, 8, 8, 1)),
    ModelRow("lenet5", {}, (32, 28, 28, 1)),
    ModelRow("lenet5", {"variant": "1998", "padding": 2}, (32, 28, 28, 1), "1998"),
    ModelRow("alexnet", {"scale": 0.25, "hidden": 64, "drop_rate": 0.0}, (32, 67, 67, 3)),
    ModelRow("vgg11_bn_cifar", {"width": 8}, (32, 32, 32, 3)),
    ModelRow("nin_cifar", {"scale": 0.25, "drop_rate": 0.0, "activation": "leaky_relu"}, (32, 16, 16, 3)),
    ModelRow("googlenet_cifar", {"modules": INCEPTIONS, "scale": 0.125, "drop_rate": 0.0}, (32, 16, 16, 3)),
    ModelRow("resnet50", {"blocks": (1, 1), "width": 8}, (32, 32, 32, 3)),
    ModelRow("stochastic_resnet110", {"blocks": (1, 1, 1), "width": 8}, (32, 8, 8, 3)),
    ModelRow("preresnet164", {"blocks": 1, "width": 8}, (32, 8, 8, 3)),
    ModelRow("wrn28_10", {"blocks": 1, "width": 4, "widen": 4}, (32, 8, 8, 3)),
    ModelRow("densenet40_12", {"blocks": (2, 2), "growth": 8}, (32, 8, 8, 3)),
    ModelRow("fractalnet20", {"widths": (8, 16), "drop_rates": (0.0, 0.0)}, (32, 8, 8, 3)),
    ModelRow("squeezenet", {"scale": 0.25, "drop_rate": 0.0, "activation": "leaky_relu"}, (32, 35, 35, 3)),
)


class Recipe(NamedTuple):
    """What a row needs other than the usual."""

    steps: str = "120"
    rate: float = 3e-3
    classes: int = 10


# The first two rectify their logits. Noise images look alike to a new network, so a plain rectifier may shut a class
# for all of them, and then it has no gradient: theirs leaks.
RECIPES = {
    "nin_cifar": Recipe("400", 1e-3, classes=3),
    "squeezenet": Recipe("300", 3e-4, classes=3),
    "alexnet": Recipe("240"),
    "fractalnet20": Recipe("300"),
}
QUICK = ("lenet5",)


class Learned(Exception):
    """Every example is known."""


class Watch(Silent):
    """A reporter that ends the run as soon as an evaluation finds no mistake."""

    def line(self, text):
        if re.search(r" eval .*\baccuracy 1\b(?!\.)", text):
            raise Learned


def config_of(row, folder):
    """The config of a run on the 32 images of a row, which train and test it."""
    random, recipe = np.random.default_rng(0), RECIPES.get(row.name, Recipe())
    images = random.integers(0, 256, row.input_shape, np.uint8)
    labels = random.permutation(np.arange(32) % recipe.classes)
    np.savez(folder / "noise.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    return Config(
        model=ModelConfig(name=row.name, options={"num_classes": recipe.classes}),
        data=DataConfig(name="noise.npz", dir=str(folder), batch_size=32),
        optimizer=OptimizerConfig(name="adam", learning_rate=recipe.rate),
        schedule=ScheduleConfig(name="cosine"),
        train=TrainConfig(steps=recipe.steps, log_every="0", eval_every="20", save_every="0"),
        mesh=MeshConfig(data=1),
    )


@pytest.mark.parametrize(
    "row", [pytest.param(r, marks=() if str(r) in QUICK else pytest.mark.slow, id=str(r)) for r in ROWS]
)
def test_thirty_two_examples_can_be_learned_by_heart(row, tmp_path, monkeypatch):
    wide = registry.VARIANTS[row.name]
    narrow = Variant(wide.module, {**wide.options, **row.options}, row.input_shape[1:], 0, {"num_classes": 10})
    monkeypatch.setitem(registry.VARIANTS, row.name, narrow)
    monkeypatch.setenv("CS231N_JAX_CACHE", str(tmp_path / "cache"))
    with pytest.raises(Learned):
        run(config_of(row, tmp_path), tmp_path / "run", {}, Watch(), time.time())
