"""Captions of photographs: an LSTM on features of SqueezeNet, with attention ("attention") or without ("lstm").

    python -m experiments.train --config=experiments/configs/flickr8k.py:attention --workdir=runs/flickr8k
    python -m experiments.decode --workdir=runs/flickr8k --split=test --beam=3 --length=30

The data are flickr8k in TFDS_DATA_DIR, here 1,800 images to train on, 200 for validation and 400 to test, at 128×128
pixels; the published splits have 6,000, 1,000 and 1,000. The weights are those that the authors of SqueezeNet 1.0
published, squeezenet_v1.0_imagenet in CS231N_WEIGHTS_DIR. Its last fire module, 13×13 places of 512 numbers of an image
enlarged to 227×227, is computed once; "lstm" begins from the mean of the places.
Recipe: words of at least 3 captions, in lower case; Adam, dropout 0.5, λ = 1 for the attention.
Ours: not yet run.
"""

from cs231n_jax.config import Config, TrainConfig
from cs231n_jax.data import DataConfig, Normalization
from cs231n_jax.data.text_config import TextConfig
from cs231n_jax.models import ModelConfig
from cs231n_jax.optim import OptimizerConfig, ScheduleConfig
from cs231n_jax.tasks.base import TaskConfig
from cs231n_jax.train.encoder import EncoderConfig

WEIGHTS = "squeezenet_v1.0_imagenet/squeezenet_v1.0_dense.npz"
WORDS = 1878


def get_config(kind: str = "attention") -> Config:
    """`kind`: attention or lstm."""
    attention = kind == "attention"
    options = {"embedding": 256, "hidden": 256, "drop_rate": 0.5, "weights_init": "orthogonal", "forget_bias": 1.0}
    options |= {"num_classes": WORDS} | ({"attended": 128} if attention else {})
    return Config(
        task=TaskConfig(name="captioning", attention_spread=float(attention)),
        model=ModelConfig(name="attention_captioner" if attention else "captioner_lstm", options=options),
        data=DataConfig(
            name="flickr8k",
            eval_split="validation",
            batch_size=64,
            image_size=227,
            normalize=Normalization.CAFFE,
            text=TextConfig(lowercase=True, min_count=3, longest=22),
        ),
        encoder=EncoderConfig(
            model="squeezenet1_0", weights=WEIGHTS, stage="stage3", pooled=not attention, scale=1 / 16
        ),
        optimizer=OptimizerConfig(name="adam", learning_rate=1e-3, clip_norm=5.0),
        schedule=ScheduleConfig(name="cosine", warmup="100"),
        train=TrainConfig(steps="15ep", log_every="0.5ep", eval_every="1ep", save_every="1ep"),
    )
