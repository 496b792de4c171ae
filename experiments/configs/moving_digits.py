"""Digits of MNIST that move in one of 8 ways: a small CNN on each frame, an LSTM over the ten frames.

    python -m experiments.train --config=experiments/configs/moving_digits.py:lstm --workdir=runs/moving_digits

The data are moving_digits in TFDS_DATA_DIR, 600 clips to train on and 160 to test; a clip's scores are the mean of what
its frames say. `python -m experiments.study video` compares with single frames. No published number exists.
Ours: 74.0 ± 1.7 % of the test clips and 60.9 ± 2.0 % of their frames (three seeds; 695 to 793 s each on 2 CPU cores
shared with other work; seed 0 is recorded in experiments/pinned/moving_digits). Single frames: 13.5 %.
"""

from cs231n_jax.config import Config
from cs231n_jax.data import DataConfig
from experiments.configs import video


def get_config(cell: str = "lstm") -> Config:
    """`cell`: rnn, lstm or gru; none judges each frame alone."""
    config = video.get_config(cell)
    config.model.options["clip"] = "average"
    config.data = DataConfig(name="moving_digits", batch_size=20, augment="crop:6")
    config.train.steps = "30ep"
    return config
