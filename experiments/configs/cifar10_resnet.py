"""Residual networks on CIFAR-10 by the paper's recipe.

    python -m experiments.train --config=experiments/configs/cifar10_resnet.py:resnet20        # or resnet20/gpu

Published test errors (He et al. 2016, table 6): resnet20 8.75 %, resnet32 7.51 %, resnet44 7.17 %, resnet56 6.97 %,
resnet110 6.43 % (best of five runs; 6.61 ± 0.16 %).
Recipe (section 4.2): 64,000 updates of 128 images, rate 0.1 divided by 10 after 32,000 and 48,000; momentum 0.9,
weight decay 1e-4 on every parameter, pad-4 random crops and flips; resnet110 begins at a rate of 0.01.
Deviation: trained on all 50,000 images (the paper holds out 5,000); per-channel standardisation instead of the
per-pixel mean; resnet110 begins at 0.01 for 400 updates (the paper: until the training error is below 80 %, about 400).
With /gpu the same recipe suits an accelerator: computed in bfloat16, the images on the device, an epoch of updates in
one compiled call, evaluated and saved every tenth epoch.
Ours: resnet20/gpu, one seed, 8.16 % (294 s of an NVIDIA H200 that other trainings shared), recorded in
experiments/pinned/cifar10_resnet20_gpu; the others not yet run.
"""

from cs231n_jax.config import Config, TrainConfig
from cs231n_jax.data import DataConfig
from cs231n_jax.models import ModelConfig, Precision
from cs231n_jax.optim import OptimizerConfig, ScheduleConfig

EPOCH = 390  # updates


def get_config(text: str = "resnet20") -> Config:
    """`text`: resnet20 … resnet110, or the network of a family that derives from this; then /cifar100, /gpu or both."""
    name, *rest = text.split("/")
    data = next((word for word in rest if word != "gpu"), "cifar10")
    config = Config(
        model=ModelConfig(name=name, options={"num_classes": 100} if data == "cifar100" else {}),
        data=DataConfig(name=data, batch_size=128, augment="crop_flip", augment_padding=4),
        optimizer=OptimizerConfig(name="momentum", learning_rate=0.1, momentum=0.9, weight_decay=1e-4),
        schedule=ScheduleConfig(name="step", boundaries=("50%", "75%"), factors=(0.1, 0.1)),
        train=TrainConfig(steps="64000", log_every="1ep", eval_every="1ep", save_every="1ep"),
    )
    if name == "resnet110":
        config.optimizer.learning_rate = 0.01
        config.schedule.boundaries, config.schedule.factors = ("400", "50%", "75%"), (10.0, 0.1, 0.1)
    return for_gpu(config) if "gpu" in rest else config


def for_gpu(config: Config) -> Config:
    """The same run with little work for the host."""
    config.model.dtype = Precision.BFLOAT16
    config.data.eval_batch_size = 1000
    config.train.steps_per_call, config.train.eval_every, config.train.save_every = EPOCH, "10ep", "10ep"
    return config
