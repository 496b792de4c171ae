"""German to English on Multi30k, with attention and without."""

from cs231n_jax.config import Config, TrainConfig
from cs231n_jax.data import DataConfig
from cs231n_jax.data.text_config import TextConfig, Tokens
from cs231n_jax.models import ModelConfig
from cs231n_jax.optim import OptimizerConfig, ScheduleConfig
from cs231n_jax.tasks.base import TaskConfig

PIECES = 4000
TEXT = TextConfig(
    tokens=Tokens.BYTE_PAIRS, lowercase=True, most=PIECES, longest=40, buckets="18,23,29,40", languages="de-en"
)


def get_config(score: str = "general") -> Config:
    """`score`: none, dot, general or additive."""
    name = "seq2seq_lstm" if score == "none" else f"seq2seq_lstm_{score}"
    options = {"hidden": 256, "embedding": 256, "drop_rate": 0.3, "num_classes": PIECES, "source_size": PIECES}
    return Config(
        task=TaskConfig(name="translation"),
        model=ModelConfig(name=name, options=options),
        data=DataConfig(name="multi30k_translate", eval_split="validation", batch_size=128, text=TEXT),
        optimizer=OptimizerConfig(name="adam", learning_rate=2e-3, clip_norm=1.0),
        schedule=ScheduleConfig(name="cosine", warmup="200"),
        train=TrainConfig(steps="9ep", log_every="0.5ep", eval_every="1ep", save_every="1ep"),
    )
