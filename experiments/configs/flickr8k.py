"""Captions of photographs on features of SqueezeNet, with attention or without; and as in cs231n's assignment.

    python -m experiments.train --config=experiments/configs/flickr8k.py:attention --workdir=runs/flickr8k
    python -m experiments.decode --workdir=runs/flickr8k --split=test --beam=3 --length=30

The data are flickr8k in TFDS_DATA_DIR, here 1,800 images to train on, 200 for validation and 400 to test, at 128×128
pixels; the published splits have 6,000, 1,000 and 1,000. The weights are those that the authors of SqueezeNet 1.0
published, squeezenet_v1.0_imagenet in CS231N_WEIGHTS_DIR. Its last fire module, 13×13 places of 512 numbers of an image
enlarged to 227×227, is computed once; "lstm" begins from the mean of the places.
Recipe: words of at least 3 captions, in lower case; Adam, dropout 0.5, λ = 1 for the attention.
Published on the whole set, BLEU-1 to 4: 67.0, 44.8, 29.9, 19.5 (Xu et al. 2015, soft attention on VGG-19); 57.9, 38.3,
24.5, 16.0 (Karpathy, Fei-Fei 2015). Ours, of the 400 test images with beams of 1, 3 and 5, seed 0: lstm BLEU-4 10.8,
11.8, 11.9 and CIDEr-D 0.22, 0.24, 0.23; with beam 5 BLEU-1 to 4 are 56.1, 32.8, 19.7, 11.9 (902 s on 2 CPU cores shared
with other work, without the features; recorded in experiments/pinned/flickr8k_lstm); attention, eight
of the fifteen epochs (--config.train.steps=8ep): BLEU-4 13.4, 15.1, 15.5 and CIDEr-D 0.30, 0.35, 0.35; with beam 5
BLEU-1 to 4 are 59.8, 37.6, 24.3, 15.5 (2,979 s in the same way; experiments/pinned/flickr8k_attention).
What differs: a third of the images, at 128×128 pixels; a network of 1.2 million parameters that gets 57.5 % of ImageNet
right in place of one of 144 million; tokens of mteval 13a in place of PTB; 400 test images in place of 1,000.
"assignment_rnn" and "assignment_lstm" are the settings of cs231n's assignment 3 (RNN_Captioning.ipynb and
LSTM_Captioning.ipynb, "Overfit small data"): 50 captions learned by heart, hidden 512, word vectors 256, Adam at 5e-3
times 0.95 (RNN) or 0.995 (LSTM) after each of 50 epochs of two batches of 25, at most 17 tokens, a vocabulary of 1,004.
There the features are 512 principal components of VGG-16's fc7 and the captions are COCO's; here 512 means of
SqueezeNet's maps, a quarter as large and centred as principal components are, and flickr8k. Word vectors begin at a
deviation of 0.01, as they do there. What such a model says of other pictures is nonsense, which is the point. The
assignment's loss is a sum over the tokens of a caption, averaged over captions: below 0.1 (RNN) and 0.5 nats a caption
(LSTM) at the end. The 50 captions have 12.08 tokens each here, and the loss that train prints is one of tokens. Ours,
seed 0, mean of the last five epochs: assignment_rnn 0.00726 nats a token, 0.088 a caption; assignment_lstm 0.00697,
0.084 a caption; every token right (13 and 44 s on 2 CPU cores shared with much other work, without the features). With
features that are not centred (--config.encoder.centered=False) the LSTM stays at 0.356 nats a token, about ln 50 a
caption: it knows all captions but not whose they are. The RNN's rate falls to 4e-4, and it needs both sizes: from word
vectors six times as large (--config.model.options.embedding_std=0.0) it comes to 0.116, with features a quarter as
large (--config.encoder.scale=0.0625) to 0.135 nats a caption.
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
ASSIGNMENT = {"assignment_rnn": ("captioner_rnn", 0.95), "assignment_lstm": ("captioner_lstm", 0.995)}


def get_config(kind: str = "attention") -> Config:
    """`kind`: attention, lstm, assignment_rnn or assignment_lstm."""
    if kind in ASSIGNMENT:
        return _assignment(*ASSIGNMENT[kind])
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


def _assignment(model: str, decay: float) -> Config:
    """`decay`: of the rate, after each epoch."""
    config = get_config("lstm")
    options = {"num_classes": 1004, "embedding": 256, "hidden": 512, "embedding_std": 0.01}
    config.model = ModelConfig(name=model, options=options)
    config.encoder.centered, config.encoder.scale = True, 0.25
    config.data.text = TextConfig(lowercase=True, most=1004, longest=17, captions=1)
    config.data.batch_size, config.data.limit = 25, 50
    config.optimizer = OptimizerConfig(name="adam", learning_rate=5e-3)
    config.schedule = ScheduleConfig(name="staircase", period="1ep", factors=(decay,))
    config.train = TrainConfig(steps="50ep", log_every="5ep", eval_every="0", save_every="0")
    return config
