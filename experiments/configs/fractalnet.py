"""FractalNet on CIFAR-10 and CIFAR-100.

    python -m experiments.train --config=experiments/configs/fractalnet.py:fractalnet20/cifar100

Published test errors (Larsson et al. 2017, table 1), CIFAR-10 / CIFAR-100: without augmentation 10.18 / 35.34 %, with
drop-path and dropout 7.33 / 28.20 %; with augmentation 5.22 / 23.30 %, with drop-path and dropout 4.60 / 23.73 %.
Recipe (section 4): 400 epochs of batches of 100, rate 0.02 divided by 10 whenever the epochs that are left halve,
momentum 0.9, dropout 0, 10, 20, 30, 40 % in the blocks, drop-path 15 %, half of it global.
Deviation: 33.7 million parameters, by the published formula; the published 38.6 cannot be had from it.
Ours: not yet run.
"""

from cs231n_jax.config import Config
from cs231n_jax.optim import OptimizerConfig, ScheduleConfig
from experiments.configs import cifar10_resnet


def get_config(text: str = "fractalnet20") -> Config:
    """`text`: fractalnet20 or fractalnet40, followed by /cifar100 if wanted."""
    config = cifar10_resnet.get_config(text)
    config.data.batch_size = 100
    config.optimizer = OptimizerConfig(name="momentum", learning_rate=0.02, momentum=0.9)
    config.schedule = ScheduleConfig(name="step", boundaries=("200ep", "300ep", "350ep", "375ep"), factors=(0.1,))
    config.train.steps = "400ep"
    return config
