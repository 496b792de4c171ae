"""Network in Network on CIFAR-10 and CIFAR-100.

    python -m experiments.train --config=experiments/configs/nin.py:cifar100

Published test errors (Lin, Chen, Yan 2014, tables 1 and 2): CIFAR-10 10.41 %, with augmentation 8.81 %; CIFAR-100
35.68 %.
Recipe (section 4.1, and the authors' settings for Caffe): batches of 128, rate 0.1, momentum 0.9, weight decay 1e-4
but not of biases; biases learn at twice the rate, the last 1×1 convolution at a tenth of it; the rate is lowered by 10
twice when training stalls; dropout between the parts; images are contrast-normalised and whitened.
Deviation: divided by 10 after 200 and 230 of 260 epochs; per-channel standardisation; shifts of 4 pixels and flips.
Ours: not yet run. Half as wide, on 10,000 images: experiments/pinned/families_table.
"""

from cs231n_jax.config import Config
from cs231n_jax.optim import OptimizerConfig, ScheduleConfig
from experiments.configs import cifar10_resnet


def get_config(data: str = "cifar10") -> Config:
    """`data`: cifar10 or cifar100."""
    config = cifar10_resnet.get_config(f"nin_cifar/{data}")
    config.optimizer = OptimizerConfig(
        name="momentum",
        learning_rate=0.1,
        momentum=0.9,
        weight_decay=1e-4,
        decay_vectors=False,
        rate_paths=("^head/", "^stage.*/bias$"),
        rate_factors=(0.1, 2.0),
    )
    config.schedule = ScheduleConfig(name="step", boundaries=("200ep", "230ep"), factors=(0.1,))
    config.train.steps = "260ep"
    return config
