"""GoogLeNet on ImageNet, and a form for CIFAR-100.

    python -m experiments.train --config=experiments/configs/googlenet.py:googlenet --config.data.dir=DIR

Published top-5 error on ImageNet (Szegedy et al. 2015, table 3): 10.07 % for one network with one crop. torchvision's
weights: accuracy 69.778 / 89.530 %. On CIFAR-100 there is no number of the paper; public code reaches 21.97 % error.
Recipe (section 6): momentum 0.9, the rate lowered by 4 % every 8 epochs, auxiliary losses of weight 0.3, averaged
weights at test. CIFAR-100: 200 epochs of batches of 128, Nesterov, rate 0.1 divided by 5 after 60, 120 and 160, weight
decay 5e-4, one epoch of warm-up.
Deviation: synchronous updates, rate 0.01, 150 epochs of batches of 256; torchvision's layout (options norm="lrn" and
kernel5=5 give the paper's).
Ours: not yet run.
"""

from cs231n_jax.config import Config
from cs231n_jax.optim import OptimizerConfig, ScheduleConfig
from experiments.configs import cifar10_resnet, imagenet


def get_config(name: str = "googlenet_cifar") -> Config:
    """`name`: googlenet or googlenet_cifar."""
    if name == "googlenet":
        config = imagenet.get_config(name)
        config.optimizer = OptimizerConfig(name="momentum", learning_rate=0.01, momentum=0.9, weight_decay=1e-4)
        config.schedule = ScheduleConfig(name="staircase", period="8ep", factors=(0.96,))
        config.train.steps = "150ep"
        return config
    config = cifar10_resnet.get_config(f"{name}/cifar100")
    config.optimizer = OptimizerConfig(name="nesterov", learning_rate=0.1, momentum=0.9, weight_decay=5e-4)
    config.schedule = ScheduleConfig(name="step", boundaries=("60ep", "120ep", "160ep"), factors=(0.2,), warmup="1ep")
    config.train.steps = "200ep"
    return config
