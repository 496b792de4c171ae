"""Wide residual networks on CIFAR-10 and CIFAR-100.

    python -m experiments.train --config=experiments/configs/wide_resnet.py:wrn28_10/cifar100

Published test errors (Zagoruyko, Komodakis 2016, and the authors' README: median of five runs), CIFAR-10 / CIFAR-100:
wrn28_10 4.00 / 19.25 %, with dropout 0.3 3.89 / 18.85 %; wrn16_8 4.27 / 20.43 %, wrn40_4 4.53 / 21.18 %.
Recipe (section 3): 200 epochs of batches of 128, Nesterov momentum 0.9, rate 0.1 times 0.2 after 60, 120 and 160
epochs, weight decay 5e-4; flips, and shifts over 4 reflected pixels.
Deviation: the shifts are over zeros.
Ours: not yet run.
"""

from cs231n_jax.config import Config
from cs231n_jax.optim import OptimizerConfig, ScheduleConfig
from experiments.configs import cifar10_resnet


def get_config(text: str = "wrn28_10") -> Config:
    """`text`: wrn16_4 … wrn40_10, followed by /cifar100 if wanted; --config.model.options.drop_rate=0.3 for dropout."""
    config = cifar10_resnet.get_config(text)
    config.optimizer = OptimizerConfig(name="nesterov", learning_rate=0.1, momentum=0.9, weight_decay=5e-4)
    config.schedule = ScheduleConfig(name="step", boundaries=("60ep", "120ep", "160ep"), factors=(0.2,))
    config.train.steps = "200ep"
    return config
