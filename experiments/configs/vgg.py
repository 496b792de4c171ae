"""VGG networks on ImageNet, and their form for CIFAR-10.

    python -m experiments.train --config=experiments/configs/vgg.py:vgg16_bn_cifar

Published validation error on ImageNet at one scale, top-1 / top-5 (Simonyan, Zisserman 2015, table 3): vgg11 29.6 /
10.4 %, vgg13 28.7 / 9.9 %, vgg16 27.0 / 8.8 %, vgg19 27.3 / 9.0 %. torchvision's weights of vgg16: 71.592 / 90.382 %.
On CIFAR-10 there is no number of the paper; public code with batch norm reaches 92.79 % (vgg11), 94.00 % (13), 94.16 %
(16), 93.91 % (19).
Recipe (section 3.1): batches of 256, rate 0.01 divided by 10 three times within 74 epochs, momentum 0.9, weight decay
5e-4. CIFAR: 200 epochs of batches of 128, Nesterov, rate 0.1 (0.05 without batch norm) on a cosine, decay 5e-4.
Deviation: the rate falls after 25, 45 and 60 epochs, where the paper watched the validation error; initialisation as in
torchvision instead of from a shallower network.
Ours: not yet run.
"""

from cs231n_jax.config import Config
from cs231n_jax.optim import OptimizerConfig, ScheduleConfig
from experiments.configs import cifar10_resnet, imagenet


def get_config(name: str = "vgg16_bn_cifar") -> Config:
    """`name`: vgg11 … vgg19, with _bn or without, with _cifar or without."""
    cifar = name.endswith("_cifar")
    config = (cifar10_resnet if cifar else imagenet).get_config(name)
    if cifar:
        rate = 0.1 if "_bn" in name else 0.05
        config.optimizer = OptimizerConfig(name="nesterov", learning_rate=rate, momentum=0.9, weight_decay=5e-4)
        config.schedule = ScheduleConfig(name="cosine", warmup="1ep")
        config.train.steps = "200ep"
    else:
        config.optimizer = OptimizerConfig(name="momentum", learning_rate=0.01, momentum=0.9, weight_decay=5e-4)
        config.schedule = ScheduleConfig(name="step", boundaries=("25ep", "45ep", "60ep"), factors=(0.1,))
        config.train.steps = "74ep"
    return config
