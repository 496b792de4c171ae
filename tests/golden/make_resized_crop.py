"""Torch's antialiased bilinear resizing of rectangles: writes resized_crop.npz beside this file.

python -m tests.golden.make_resized_crop        # needs torch
"""

from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("resized_crop.npz")
RECTANGLES = ((0, 0, 11, 9), (2, 1, 5, 8), (5, 3, 1, 2), (0, 7, 11, 1))  # top, left, height, width
SIZES = ((11, 9), (4, 5), (20, 3))


def images() -> np.ndarray:
    """Four images [4, 11, 9, 3], float32."""
    return np.random.default_rng(0).random((4, 11, 9, 3)).astype(np.float32)


def make() -> dict[str, np.ndarray]:
    """By size "HxW": rectangle i of image i as torch resizes it, [4, H, W, 3]."""
    import torch

    found = {}
    for size in SIZES:
        resized = []
        for image, (top, left, height, width) in zip(images(), RECTANGLES, strict=True):
            planes = torch.from_numpy(image[top : top + height, left : left + width].transpose(2, 0, 1)[None].copy())
            theirs = torch.nn.functional.interpolate(planes, size=size, mode="bilinear", antialias=True)
            resized.append(theirs[0].numpy().transpose(1, 2, 0))
        found["{}x{}".format(*size)] = np.stack(resized)
    return found


if __name__ == "__main__":
    np.savez_compressed(FILE, **make())
