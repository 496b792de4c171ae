"""Weights of Caffe in torch's names: what `torchvision.load` takes."""

import re
from collections.abc import Mapping

import numpy as np

FIRST = "conv1/weight"  # reads the channels blue, green, red
SQUEEZENET = (
    *((rf"fire{n}/", f"features.{index}.") for n, index in zip(range(2, 10), (3, 4, 5, 7, 8, 9, 10, 12))),
    ("conv1x1_1/", "squeeze."),
    ("conv1x1_2/", "expand1x1."),
    ("conv3x3_2/", "expand3x3."),
    ("conv1/", "features.0."),
    ("conv_final/", "classifier.1."),
)


def squeezenet(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """SqueezeNet 1.0 as its authors published it, for images with channels red, green, blue.

    The result is for `torchvision.load("squeezenet1_0", …, head_padding=1)` and pixels as data.normalize=caffe has
    them: 0 … 255 minus (123, 117, 104).

    Args:
        arrays: "conv1/weight" [96, 3, 7, 7], "fire2/conv1x1_1/bias", …: layer/leaf in Caffe's layout, which is torch's.

    Raises:
        ValueError: there is no conv1/weight.
    """
    if FIRST not in arrays:
        raise ValueError(f"these are no weights of Caffe's SqueezeNet: they lack {FIRST}")
    renamed = {}
    for name, array in arrays.items():
        ours = name
        for pattern, replacement in SQUEEZENET:
            ours = re.sub(f"(^|(?<=[./])){pattern}", replacement, ours)
        renamed[ours] = array[:, ::-1] if name == FIRST else array
    return renamed
