"""The main job: a small residual network on handwritten digits, five snapshots by cosine restarts.

    ./launch/local.sh

Method: Huang et al. 2017, "Snapshot Ensembles"; no published number exists for this data and network.
"""

from cs231n_jax.config import Config, TrainConfig
from cs231n_jax.data import DataConfig
from cs231n_jax.models import ModelConfig
from cs231n_jax.optim import OptimizerConfig, ScheduleConfig
from cs231n_jax.train.snapshots import SnapshotConfig


def get_config() -> Config:
    """ResNet-8 on 8×8 images, M = 5 cycles."""
    return Config(
        model=ModelConfig(name="resnet8"),
        data=DataConfig(name="digits", batch_size=64, augment="crop", augment_padding=1),
        optimizer=OptimizerConfig(
            name="momentum", learning_rate=0.1, momentum=0.9, weight_decay=1e-4, measure_ratio=True
        ),
        schedule=ScheduleConfig(name="snapshot_cosine", cycles=5),
        train=TrainConfig(steps="50ep", log_every="1ep", eval_every="2ep", save_every="10ep"),
        snapshots=SnapshotConfig(members=5),
    )
