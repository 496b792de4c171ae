"""ResNet-110 with stochastic depth on CIFAR-10 and CIFAR-100.

    python -m experiments.train --config=experiments/configs/stochastic_depth.py:cifar100

Published test errors (Huang et al. 2016; as quoted in Huang et al. 2017, table 2): CIFAR-10 5.23 % (constant depth:
6.41 %), CIFAR-100 24.58 % (27.22 %), the lowest validation error choosing the epoch.
Recipe (section 4): 500 epochs of batches of 128, Nesterov momentum 0.9, rate 0.1 divided by 10 after 250 and 375
epochs, weight decay 1e-4, p_L = 0.5 with linear decay.
Deviation: trained on all 50,000 images (the paper holds out 5,000); shortcuts take every second pixel, where the
authors' code averages.
Ours: not yet run.
"""

from cs231n_jax.config import Config
from cs231n_jax.optim import OptimizerConfig
from experiments.configs import cifar10_resnet


def get_config(data: str = "cifar10") -> Config:
    """`data`: cifar10 or cifar100."""
    config = cifar10_resnet.get_config(f"stochastic_resnet110/{data}")
    config.optimizer = OptimizerConfig(name="nesterov", learning_rate=0.1, momentum=0.9, weight_decay=1e-4)
    config.train.steps = "500ep"
    return config
