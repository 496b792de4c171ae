"""LeNet-5 on MNIST.

    python -m experiments.train --config=experiments/configs/lenet.py:modern

Published test error (LeCun et al. 1998, figure 9): 0.95 % after 19 passes; 0.8 % with distorted images.
Recipe (section III.B): 20 passes over 60,000 images padded to 32×32, a diagonal second-order method with global rates
0.0005 (2 passes), 0.0002 (3), 0.0001 (3), 0.00005 (4), 0.00001 after.
Deviation: Adam at 1e-3, on a cosine, in place of that method; cross-entropy; "modern" has rectifiers and max pooling.
Ours: not yet run.
"""

from cs231n_jax.config import Config, TrainConfig
from cs231n_jax.data import DataConfig
from cs231n_jax.models import ModelConfig
from cs231n_jax.optim import OptimizerConfig, ScheduleConfig


def get_config(variant: str = "modern") -> Config:
    """`variant`: modern or 1998."""
    return Config(
        model=ModelConfig(name="lenet5", options={"padding": 2, "variant": variant}),
        data=DataConfig(name="mnist", batch_size=64),
        optimizer=OptimizerConfig(name="adam", learning_rate=1e-3),
        schedule=ScheduleConfig(name="cosine"),
        train=TrainConfig(steps="20ep"),
    )
