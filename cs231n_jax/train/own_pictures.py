"""Pictures of a user's own for a run behind an encoder, which looks at them as it does at those of the run's data."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from cs231n_jax.config import Config
from cs231n_jax.data import features, files, open_source
from cs231n_jax.tasks.generation import Inputs
from cs231n_jax.train import encoder


def looked_at(
    config: Config, paths: Sequence[str], should_stop: Callable[[], bool] = encoder.never
) -> tuple[np.ndarray, Inputs]:
    """The pictures in files, uint8 [N, H, W, C], and their features as what a task generates from.

    Args:
        config: of a run with an encoder; the pictures get the size and the normalisation of its data.
        paths: N files with a picture each.
        should_stop: looked at before each batch of pictures.

    Raises:
        ValueError: there is no encoder, no file, or one is no picture or of another shape.
        Interrupted: `should_stop` said so.
    """
    eyes = encoder.build(config.encoder, config.data, should_stop)
    if eyes is None:
        raise ValueError("this run looks at pictures itself and has no encoder: let its task read the files")
    if not paths:
        raise ValueError("there is nothing to look at: give at least one file with a picture")
    training = open_source(config.data, "train")
    shape = features.images(training).shape[1:]
    pictures = np.stack([files.read_image(Path(path), shape) for path in paths])
    found = eyes.of_images(pictures, training)
    return pictures, Inputs(lambda which, _: {"image": found[which]}, np.ones(len(paths), np.int64), paths)
