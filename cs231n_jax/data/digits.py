"""The handwritten digits that scikit-learn ships: real data that needs no download."""

from __future__ import annotations

import functools
import gzip
import importlib.util
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from cs231n_jax.data.base import ArraySource, DataConfig, Info, Part, PixelStatistics, choose_split, fingerprint

TRAIN = 898
TOTAL = 1797
CLASSES = tuple("0123456789")


def open_split(config: DataConfig, part: Part) -> ArraySource:
    """The 1,797 images of 8×8 pixels, in the split of scikit-learn's own example.

    The file is the test part of the UCI set "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak 1998),
    13 writers. Its order is kept and cut in the middle, as scikit-learn's example "Recognizing hand-written digits"
    does (`train_test_split(test_size=0.5, shuffle=False)`): the first 898 images train, the last 899 test. As the
    file goes from writer to writer, the test digits are mostly those of people not seen in training. That example's
    support-vector machine gets 28 of the 899 wrong (published as 97 % right).

    The values 0 … 16 (black pixels of a 4×4 cell) become bytes by ⌊(255 v + 8) / 16⌋, so 16 becomes 255.

    Returns:
        A source of {"image": uint8 [B, 8, 8, 1], "label": int32 [B]}; classes "0" … "9".
    """
    split = choose_split(config, part, ("train", "test"))
    images, labels = _arrays()
    statistics = PixelStatistics()
    statistics.add(images[:TRAIN])
    mean, std = statistics.result()
    cut = slice(0, TRAIN) if split == "train" else slice(TRAIN, TOTAL)
    arrays = {"image": images[cut], "label": labels[cut]}
    info = Info(
        name="digits",
        split=split,
        shapes={"image": (8, 8, 1), "label": ()},
        num_classes=10,
        classes=CLASSES,
        fingerprint=fingerprint(arrays, CLASSES),
        mean=mean,
        std=std,
    )
    return ArraySource(arrays, info)


@functools.cache
def _arrays() -> tuple[np.ndarray, np.ndarray]:
    table = _packaged_table()
    if table is None:
        table = _loaded_table()
    values = table[:, :-1].astype(np.int32)
    images = ((255 * values + 8) // 16).astype(np.uint8).reshape(TOTAL, 8, 8, 1)
    return images, table[:, -1].astype(np.int32)


def _packaged_table() -> np.ndarray | None:
    """[1797, 65]: 64 values and the label, read without importing scikit-learn (which takes most of a second).

    None where the file is not at its usual place or holds something else.
    """
    spec = importlib.util.find_spec("sklearn")
    for root in (spec.submodule_search_locations or ()) if spec else ():
        try:
            text = gzip.decompress((Path(root) / "datasets" / "data" / "digits.csv.gz").read_bytes()).decode()
            table = np.loadtxt(text.splitlines(), delimiter=",")
        except (OSError, EOFError, ValueError):
            continue
        if table.shape == (TOTAL, 65):
            return table
    return None


def _loaded_table() -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from sklearn.datasets import load_digits
        except ImportError as error:
            raise ModuleNotFoundError(
                f"the digits come with scikit-learn, which cannot be imported ({error}); pip install scikit-learn"
            ) from error
        digits: Any = load_digits()  # a Bunch
    return np.concatenate([digits.data, digits.target[:, None]], axis=1)
