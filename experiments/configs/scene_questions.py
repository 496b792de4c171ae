"""Questions about made-up pictures, answered by an LSTM and stacked attention over a small CNN: no data is needed.

    python -m experiments.train --config=experiments/configs/scene_questions.py:stacked2 --workdir=runs/questions

The pictures are those of `cs231n_jax.data.scenes`; each has a question of each of five types: whether something is
there, how many there are, what colour, shape or size something has, of which kind there are more, and how two things
stand to each other. "question" and "image" see half of it, "product" joins both without attention; all but "question"
train a small convolutional network along from scratch, 8×8 places of 64 numbers. `python -m experiments.study vqa`
compares them. No published number exists.
Ours: not yet run.
"""

from cs231n_jax.config import Config, TrainConfig
from cs231n_jax.data import DataConfig
from cs231n_jax.models import ModelConfig
from cs231n_jax.optim import OptimizerConfig, ScheduleConfig


def get_config(kind: str = "stacked2") -> Config:
    """`kind`: question, image, product, stacked or stacked2."""
    options = {"vocabulary": 43, "num_classes": 21, "embedding": 32, "hidden": 128, "attended": 64}
    options |= {"weights_init": "orthogonal"}
    seen = {} if kind == "question" else {"backbone": "convnet", "stage": "stage3"}
    return Config(
        model=ModelConfig(name=f"vqa_{kind}", options=options | seen),
        data=DataConfig(name="scene_questions", batch_size=64),
        optimizer=OptimizerConfig(name="adam", learning_rate=2e-3, clip_norm=1.0),
        schedule=ScheduleConfig(name="cosine", warmup="50"),
        train=TrainConfig(steps="15ep", log_every="1ep", eval_every="3ep", save_every="3ep"),
    )
