"""Characters of Shakespeare's plays by one recurrent layer of 512 units.

    python -m experiments.train --config=experiments/configs/tiny_shakespeare.py:lstm --workdir=runs/tiny_shakespeare

The data are 1.1 million characters (Karpathy's char-rnn), in TFDS's cut of 90, 5 and 5 %; the goal is a validation loss
of at most 1.45 nats a character within ten minutes on two cores. Karpathy's own recipe (char-rnn: two layers of 128,
windows of 50, 50 streams, RMSProp 2e-3 falling from epoch 10 on, gradients clipped at ±5, 50 epochs) has no published
number for one layer of 512.
Recipe: Adam at 3e-3 on a cosine, gradients clipped to norm 1, dropout 0.25 before the head, 32 streams with windows of
32, five and a half epochs (5,390 updates).
Ours: 1.444 nats a character on the validation part (1 seed, 2 cores of an AMD EPYC, 570 s; experiments/pinned/
tiny_shakespeare), and 1.443 after update 4,900, 516 s. Torch's LSTM from the
same weights, on the same batches (`python -m experiments.benchmarks.plain_torch_text
experiments/configs/tiny_shakespeare.py:lstm`, 1 seed, 2 cores of an AMD EPYC, evaluations apart): 1.445 after update
4,900, 275 s, and 1.444 after the last, 307 s: at these shapes its oneDNN kernel is the faster one (docs/benchmarks/
recurrent.md).
"""

from cs231n_jax.config import Config, TrainConfig
from cs231n_jax.data import DataConfig
from cs231n_jax.models import ModelConfig
from cs231n_jax.optim import OptimizerConfig, ScheduleConfig
from cs231n_jax.tasks.base import TaskConfig


def get_config(cell: str = "lstm") -> Config:
    """`cell`: rnn, lstm or gru."""
    return Config(
        task=TaskConfig(name="language_modelling"),
        model=ModelConfig(name="char_lm", options={"cell": cell, "hidden": 512, "drop_rate": 0.25, "num_classes": 66}),
        data=DataConfig(name="tiny_shakespeare", eval_split="validation", batch_size=32, window=32),
        optimizer=OptimizerConfig(name="adam", learning_rate=3e-3, clip_norm=1.0),
        schedule=ScheduleConfig(name="cosine", warmup="100"),
        train=TrainConfig(steps="5.5ep", log_every="0.5ep", eval_every="1ep", save_every="1ep"),
    )
