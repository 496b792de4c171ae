"""A small language model over the characters of Python's own language reference: no data is needed.

    python -m experiments.train --config=experiments/configs/char_lm.py:lstm --workdir=runs/char_lm
    python -m experiments.train --config=experiments/configs/char_lm.py --config.data.name=/path/of/my.txt

The data are the topics of Python's online help, 0.46 million characters; the text, and so every number, differs
between versions of Python. A file of one's own needs model.options.num_classes set to its number of characters plus
one; the error says it. No published number exists for this text.
Ours: 1.67 nats a character on the last tenth of the text, 2.40 bits, after five epochs (seed 0; the text of Python
3.11.7; 2 CPU cores shared with other work, 45 s of processor time with compiling).
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
        model=ModelConfig(name="char_lm", options={"cell": cell, "hidden": 128}),
        data=DataConfig(name="python_docs", batch_size=32, window=64),
        optimizer=OptimizerConfig(name="adam", learning_rate=5e-3, clip_norm=1.0),
        schedule=ScheduleConfig(name="cosine", warmup="50"),
        train=TrainConfig(steps="5ep", log_every="0.5ep", eval_every="1ep", save_every="1ep"),
    )
