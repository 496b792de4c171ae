"""AlexNet on ImageNet.

    python -m experiments.train --config=experiments/configs/alexnet.py:paper --config.data.dir=DIR

Published validation error, top-1 / top-5 (Krizhevsky, Sutskever, Hinton 2012, table 2): 40.7 / 18.2 % for one network
with ten crops. torchvision's weights ("torchvision"), one crop: accuracy 56.522 / 79.066 %.
Recipe (section 5): batches of 128, rate 0.01 divided by 10 three times, momentum 0.9, weight decay 5e-4, about 90
epochs; shifts, flips and changes of colour along the principal components.
Deviation: the rate falls after 30, 60 and 80 epochs, where the paper watched the validation error; colours stay.
Ours: not yet run.
"""

from cs231n_jax.config import Config
from cs231n_jax.models import ModelConfig
from cs231n_jax.optim import OptimizerConfig, ScheduleConfig
from experiments.configs import imagenet


def get_config(variant: str = "paper") -> Config:
    """`variant`: paper, ungrouped or torchvision."""
    config = imagenet.get_config()
    config.model = ModelConfig(name="alexnet", options={"variant": variant})
    config.data.image_size = 224 if variant == "torchvision" else 227
    config.data.batch_size = 128
    config.optimizer = OptimizerConfig(name="momentum", learning_rate=0.01, momentum=0.9, weight_decay=5e-4)
    config.schedule = ScheduleConfig(name="step", boundaries=("30ep", "60ep", "80ep"), factors=(0.1,))
    return config
