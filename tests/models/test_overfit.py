"""A narrow variant of each family learns 32 noise images with random labels by heart, through the real update."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import optim
from cs231n_jax.tasks.classification import Classification
from cs231n_jax.train import state
from cs231n_jax.train.step import make_train_step
from tests.descriptors import ModelRow

# Dropout is off, for narrow layers cannot spare units; stochastic depth and drop-path stay as published.
ROWS = (
    ModelRow("lenet5", {}, (32, 28, 28, 1)),
    ModelRow("lenet5", {"variant": "1998", "padding": 2}, (32, 28, 28, 1), "1998"),
    ModelRow("alexnet", {"scale": 0.25, "hidden": 64, "drop_rate": 0.0}, (32, 67, 67, 3)),
    ModelRow("vgg11", {"width": 8, "hidden": 64, "drop_rate": 0.0}, (32, 32, 32, 3)),
    ModelRow("vgg11_bn_cifar", {"width": 8}, (32, 32, 32, 3)),
    ModelRow("nin_cifar", {"scale": 0.25, "drop_rate": 0.0}, (32, 16, 16, 3)),
    ModelRow("googlenet", {"scale": 0.125, "drop_rate": 0.0, "aux_drop_rate": 0.0}, (32, 32, 32, 3)),
    ModelRow("googlenet_cifar", {"scale": 0.125, "drop_rate": 0.0}, (32, 16, 16, 3)),
    ModelRow("resnet50", {"blocks": (1, 1), "width": 8}, (32, 32, 32, 3)),
    ModelRow("stochastic_resnet110", {"blocks": (1, 1, 1), "width": 8}, (32, 8, 8, 3)),
    ModelRow("preresnet164", {"blocks": 1, "width": 8}, (32, 8, 8, 3)),
    ModelRow("wrn28_10", {"blocks": 1, "width": 4, "widen": 4}, (32, 8, 8, 3)),
    ModelRow("densenet121", {"blocks": (2, 2), "growth": 8, "stem_width": 16}, (32, 32, 32, 3)),
    ModelRow("densenet40_12", {"blocks": (2, 2), "growth": 8}, (32, 8, 8, 3)),
    ModelRow("fractalnet20", {"widths": (8, 16), "drop_rates": (0.0, 0.0)}, (32, 8, 8, 3)),
    ModelRow("squeezenet", {"scale": 0.25, "drop_rate": 0.0}, (32, 35, 35, 3)),
)

# These rectify their logits. Noise images look alike to a new network, so a class may be shut for all of them, and then
# it has no gradient; a bias opens every class.
RECTIFIED = ("nin_cifar", "squeezenet")


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_thirty_two_examples_can_be_learned_by_heart(row):
    random = np.random.default_rng(0)
    batch = {
        "image": jnp.asarray(random.integers(0, 256, row.input_shape, np.uint8)),
        "label": jnp.asarray(random.integers(0, 10, 32), jnp.int32),
    }
    channels = row.input_shape[-1]
    task = Classification(row.model(), (0.5,) * channels, (0.25,) * channels)
    optimizer = optim.adam(3e-3)
    step = jax.jit(make_train_step(task, optimizer, 0), donate_argnums=0)
    predict = jax.jit(lambda s: jnp.argmax(task.predict(s.params, s.model_state, batch), axis=-1))
    current = state.create(task, optimizer, 0, batch)
    if row.name in RECTIFIED:
        current.params["head"]["bias"] += 1.0
    for _ in range(40):
        for _ in range(15):
            current = step(current, batch)
        if np.array_equal(predict(current), batch["label"]):
            return
    right = int(np.sum(np.asarray(predict(current)) == np.asarray(batch["label"])))
    pytest.fail(f"{right} of 32 after {int(current.step)} updates")
