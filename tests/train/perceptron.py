"""The main job of experiments/configs/digits_snapshots.py with a perceptron for its network.

For what is true of any network: tracing a convolutional one takes most of the time of a short run.
"""

import dataclasses

from cs231n_jax.config import Config
from cs231n_jax.models import ModelConfig
from experiments.configs import digits_snapshots


def get_config() -> Config:
    """The same data, optimizer, schedule and snapshots."""
    return dataclasses.replace(digits_snapshots.get_config(), model=ModelConfig(name="mlp", options={"hidden": (8,)}))
