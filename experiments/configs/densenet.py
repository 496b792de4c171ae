"""Densely connected networks on CIFAR-10 and CIFAR-100.

    python -m experiments.train --config=experiments/configs/densenet.py:densenet_bc100_12/cifar100

Published test errors with augmentation (Huang et al. 2017, table 2), CIFAR-10 / CIFAR-100, at the end of training:
densenet40_12 5.24 / 24.42 %, densenet100_12 4.10 / 20.20 %, densenet100_24 3.74 / 19.25 %, densenet_bc100_12 4.51 /
22.27 %, densenet_bc250_24 3.62 / 17.60 %, densenet_bc190_40 3.46 / 17.18 %.
Recipe (section 4.2): 300 epochs of batches of 64, Nesterov momentum 0.9, rate 0.1 divided by 10 at 50 % and 75 %,
weight decay 1e-4. Without augmentation (--config.data.augment=none) dropout 0.2 (--config.model.options.drop_rate=0.2).
Ours: not yet run.
"""

from cs231n_jax.config import Config
from cs231n_jax.optim import OptimizerConfig
from experiments.configs import cifar10_resnet


def get_config(text: str = "densenet40_12") -> Config:
    """`text`: densenet40_12 … densenet_bc190_40, followed by /cifar100 if wanted."""
    config = cifar10_resnet.get_config(text)
    config.data.batch_size = 64
    config.optimizer = OptimizerConfig(name="nesterov", learning_rate=0.1, momentum=0.9, weight_decay=1e-4)
    config.train.steps = "300ep"
    return config
