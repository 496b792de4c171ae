"""Residual networks on CIFAR-10 by the paper's recipe.

    python -m experiments.train --config=experiments/configs/cifar10_resnet.py:resnet20

Published test errors (He et al. 2016, table 6): resnet20 8.75 %, resnet32 7.51 %, resnet44 7.17 %, resnet56 6.97 %,
resnet110 6.43 % (best of five runs; 6.61 ± 0.16 %).
Recipe (section 4.2): 64,000 updates of 128 images, rate 0.1 divided by 10 after 32,000 and 48,000; momentum 0.9,
weight decay 1e-4 on every parameter, pad-4 random crops and flips; resnet110 begins at a rate of 0.01.
Deviation: trained on all 50,000 images (the paper holds out 5,000); per-channel standardisation instead of the
per-pixel mean; resnet110 warms up linearly over its first 400 updates.
Ours: see the README's table.
"""

from cs231n_jax.config import Config, TrainConfig
from cs231n_jax.data import DataConfig
from cs231n_jax.models import ModelConfig
from cs231n_jax.optim import OptimizerConfig, ScheduleConfig


def get_config(text: str = "resnet20") -> Config:
    """`text`: resnet20 … resnet110, or the network of a family that derives from this; then /cifar100 if wanted."""
    name, _, data = text.partition("/")
    return Config(
        model=ModelConfig(name=name, options={"num_classes": 100} if data == "cifar100" else {}),
        data=DataConfig(name=data or "cifar10", batch_size=128, augment="crop_flip", augment_padding=4),
        optimizer=OptimizerConfig(name="momentum", learning_rate=0.1, momentum=0.9, weight_decay=1e-4),
        schedule=ScheduleConfig(
            name="step", boundaries=("50%", "75%"), factors=(0.1, 0.1), warmup="400" if name == "resnet110" else "0"
        ),
        train=TrainConfig(steps="64000", log_every="1ep", eval_every="1ep", save_every="1ep"),
    )
