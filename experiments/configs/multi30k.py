"""German to English on Multi30k, by an LSTM with attention ("general" by default) or without ("none").

    python -m experiments.train --config=experiments/configs/multi30k.py:general --workdir=runs/multi30k
    python -m experiments.decode --workdir=runs/multi30k --split=test --beam=5 --length=100
    python -m experiments.alignments --workdir=runs/multi30k --split=test --nosource_words

The data are multi30k_translate in TFDS_DATA_DIR: 29,000 captions of pictures in both languages; the test split is that
of 2016. Lower case; 4,000 byte pairs a language, so that no word is unknown. The goal is, within an hour on two cores,
a BLEU of at least 25 with attention, and at least 5 less without.
Recipe: Adam at 2e-3 on a cosine, gradients clipped to norm 1, dropout 0.3, batches of 128 sentences of like lengths,
nine epochs. Of the places in an epoch 22.1 % are padding, where one length for all would have 60.0 %
(`experiments.plan`).
Ours, BLEU-4|refs:1|case:lc|tok:13a|smooth:exp of the 1,000 test sentences, beam 5, seed 0: general 37.9 (chrF2 57.1;
3,413 s on 2 CPU cores shared with other work), none 20.2 (38.7; 2,251 s), a gap of 17.7; recorded in
experiments/pinned/multi30k_general and multi30k_none. On an NVIDIA H200 that other trainings shared general gets 37.7
(57.1), in multi30k_general_gpu.
"""

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
