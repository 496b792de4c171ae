"""SqueezeNet 1.1 on ImageNet.

    python -m experiments.train --config=experiments/configs/squeezenet.py --config.data.dir=DIR

Published validation accuracy, top-1 / top-5 (Iandola et al. 2016, table 2, version 1.0): 57.5 / 80.3 %; torchvision's
weights of version 1.1: 58.178 / 80.624 %.
Recipe (the authors' repository): rate 0.04 falling on a straight line over 170,000 updates of 512 images, momentum 0.9,
weight decay 2e-4.
Ours: not yet run.
"""

from cs231n_jax.config import Config
from cs231n_jax.optim import OptimizerConfig, ScheduleConfig
from experiments.configs import imagenet


def get_config() -> Config:
    """Version 1.1."""
    config = imagenet.get_config("squeezenet")
    config.data.batch_size = 512
    config.optimizer = OptimizerConfig(name="momentum", learning_rate=0.04, momentum=0.9, weight_decay=2e-4)
    config.schedule = ScheduleConfig(name="linear")
    config.train.steps = "170000"
    return config
