"""Network in Network on CIFAR-10 and CIFAR-100.

    python -m experiments.train --config=experiments/configs/nin.py:cifar100

Published test errors (Lin, Chen, Yan 2014, tables 1 and 2): CIFAR-10 10.41 %, with augmentation 8.81 %; CIFAR-100
35.68 %.
Recipe (section 4.1): batches of 128, the rate lowered by 10 twice when training stalls, dropout between the parts,
weight decay; images are contrast-normalised and whitened.
Deviation: rate 0.1 divided by 10 after 60 % and 80 % of 200 epochs, momentum 0.9, weight decay 1e-4; per-channel
standardisation; shifts of 4 pixels and flips.
Ours: not yet run. Half as wide, on 10,000 images, a rate warmed up to 0.1 leaves it at chance from three seeds
(experiments/pinned/families_table).
"""

from cs231n_jax.config import Config
from cs231n_jax.optim import OptimizerConfig, ScheduleConfig
from experiments.configs import cifar10_resnet


def get_config(data: str = "cifar10") -> Config:
    """`data`: cifar10 or cifar100."""
    config = cifar10_resnet.get_config(f"nin_cifar/{data}")
    config.optimizer = OptimizerConfig(name="momentum", learning_rate=0.1, momentum=0.9, weight_decay=1e-4)
    config.schedule = ScheduleConfig(name="step", boundaries=("60%", "80%"), factors=(0.1,))
    config.train.steps = "200ep"
    return config
