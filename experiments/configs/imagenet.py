"""Networks on ImageNet by torchvision's recipe, the one behind the weights that `experiments.import_weights` reads.

    python -m experiments.train --config=experiments/configs/imagenet.py:resnet50 --config.data.dir=DIR

Published validation accuracy with one central crop, top-1 / top-5 (torchvision's V1 weights): resnet18 69.758 / 89.078,
resnet34 73.314 / 91.420, resnet50 76.130 / 92.862, resnet101 77.374 / 93.546, resnet152 78.312 / 94.046,
wide_resnet50_2 78.468 / 94.086; densenet121 74.434 / 91.972. He et al. 2016, ten crops: resnet50 top-1 error 22.85 %.
Recipe: 90 epochs of batches of 256, rate 0.1 divided by 10 after 30 and 60, momentum 0.9, weight decay 1e-4; other
families derive from this one.
Deviation: images are cut to their central square and resized once; shifts and flips stand for crops of random size.
Ours: not yet run.
"""

from cs231n_jax.config import Config, TrainConfig
from cs231n_jax.data import DataConfig, Normalization
from cs231n_jax.models import ModelConfig
from cs231n_jax.optim import OptimizerConfig, ScheduleConfig


def get_config(name: str = "resnet50") -> Config:
    """`name`: a residual or densely connected network for ImageNet."""
    return Config(
        model=ModelConfig(name=name),
        data=DataConfig(
            name="imagenet2012",
            eval_split="validation",
            image_size=224,
            batch_size=256,
            augment="crop_flip",
            augment_padding=16,
            normalize=Normalization.IMAGENET,
        ),
        optimizer=OptimizerConfig(name="momentum", learning_rate=0.1, momentum=0.9, weight_decay=1e-4),
        schedule=ScheduleConfig(name="step", boundaries=("30ep", "60ep"), factors=(0.1,)),
        train=TrainConfig(steps="90ep"),
    )
