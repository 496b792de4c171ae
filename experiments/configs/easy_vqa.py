"""Questions about pictures of one coloured shape, on features of SqueezeNet: easy once the picture is seen.

    python -m experiments.train --config=experiments/configs/easy_vqa.py:stacked --workdir=runs/easy_vqa
    python -m experiments.decode --workdir=runs/easy_vqa --split=test --page=answers.html

The data are easy_vqa in TFDS_DATA_DIR: 14,432 questions made of templates about 1,500 pictures of 64×64 pixels to train
on, 4,868 about 500 to test, with 13 answers (github.com/vzhou842/easy-VQA). The recipe is that of daquar, on pictures
enlarged to 128×128, 7×7 places of 512 numbers, without dropout and for three epochs. A network that sees no picture can
do no better than guess well; one that does should get nearly all right. Ours: not yet run.
"""

import dataclasses

from cs231n_jax.config import Config
from experiments.configs import daquar

WORDS, ANSWERS = 31, 13


def get_config(kind: str = "stacked") -> Config:
    """`kind`: question, image, product, stacked or stacked2."""
    config = daquar.get_config(kind)
    config.model.options |= {"vocabulary": WORDS, "num_classes": ANSWERS, "drop_rate": 0.0}
    config.data = dataclasses.replace(config.data, name="easy_vqa", image_size=128)
    config.train.steps, config.train.eval_every, config.train.save_every = "3ep", "0", "1ep"
    return config
