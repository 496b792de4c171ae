"""Pre-activation residual networks on CIFAR-10 and CIFAR-100.

    python -m experiments.train --config=experiments/configs/preresnet.py:preresnet164/cifar100

Published test errors (He et al. 2016, "Identity Mappings", tables 2 and 4), CIFAR-10 / CIFAR-100: preresnet110 6.37 %,
preresnet164 5.46 / 24.33 %, preresnet1001 4.92 / 22.71 % (with batches of 64: 4.62 %).
Recipe (section 5): as the first residual networks (64,000 updates of 128 images, rate 0.1 divided by 10 at 32,000 and
48,000, weight decay 1e-4), with a rate of 0.01 for the first 400 updates.
Deviation: the first 400 updates warm up linearly.
Ours: not yet run.
"""

from cs231n_jax.config import Config
from experiments.configs import cifar10_resnet


def get_config(text: str = "preresnet110") -> Config:
    """`text`: preresnet110, preresnet164 or preresnet1001, followed by /cifar100 if wanted."""
    config = cifar10_resnet.get_config(text)
    config.schedule.warmup = "400"
    return config
