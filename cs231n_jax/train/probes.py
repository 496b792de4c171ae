"""Linear probes: what a classifier on the features of each stage of a frozen network gets right.

All features come from one pass of the images through the network, and are kept on the disk.
"""

import hashlib
import json
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from cs231n_jax.data import DataConfig, Source, cache
from cs231n_jax.data import features as pictured
from cs231n_jax.ops.adaptive_pool import adaptive_avg_pool
from cs231n_jax.train.encoder import Encoder, EncoderConfig

VERSION = 1  # of what is kept: another number makes all of it anew
NUMBERS = 256  # of a stage, at most: its maps are averaged over a grid of places
TOP = "pre_logits"
PENALTIES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)  # strongest first
HELD_OUT = 5  # one example of a class in so many chooses the penalty and the stage
MOST = 200  # iterations of L-BFGS; a weak penalty may still gain, and validation judges it as it is


class Features(NamedTuple):
    """What a frozen network makes of a source."""

    arrays: dict[str, np.ndarray]  # by stage, in the order of the network, float32 [N, D]
    fingerprint: str  # of the weights, the preprocessing and the images
    told: str  # whether they were computed or there


class Split(NamedTuple):
    """Features of one stage and labels."""

    features: np.ndarray  # float [N, D]
    labels: np.ndarray  # int [N]


class Probe(NamedTuple):
    """A classifier on one stage."""

    penalty: float  # λ
    validation: float  # accuracy on what was held out, of the chosen λ
    right: np.ndarray  # bool [N]: which test examples it gets right, trained on all the training examples


def features(config: EncoderConfig, data: DataConfig, source: Source) -> Features:
    """The features of every stage from one pass over the images, or from the disk where it was made before.

    Maps [h, w, C] are averaged over s×s places, s the largest with s²·C ≤ `NUMBERS` (at least 1). They are kept by a
    fingerprint of the images, the weights and the normalisation: where one of these is another, what was kept before
    is left alone and the pass is made again.

    Args:
        config: the network, its options and its weights; no other field is read.
        data: says how pixels are normalised.
        source: of images.

    Raises:
        FileNotFoundError, ValueError: as `encoder.Encoder`; or the source has no images, or they do not fit.
    """
    images, content = pictured.pictures(source)
    encoder, normalisation = Encoder(config, data), data.statistics(source.info)
    params, state, weights = encoder.fitted(images.shape[1:])
    what = {"model": config.model, "options": config.options, "weights": weights, "numbers": NUMBERS}
    given = json.dumps([VERSION, what, normalisation, content], sort_keys=True)
    mark = hashlib.sha256(given.encode()).hexdigest()
    name, split = f"{source.info.name} {config.model} stages", source.info.split
    before, passes = cache.others(name, split), []

    def decoded() -> cache.Decoded:
        passes.append(1)
        given = images, (params, state), normalisation, lambda x: _pooled(encoder.model.stages, x)
        return cache.Decoded(len(images), (), partial(encoder.computed, *given), doing="encoding")

    kept = cache.open_cached(name, split, mark, decoded)
    reason = " since the weights, the images or their preprocessing are not those of what was kept" if before else ""
    told = f"computed in one pass over {len(images)} images{reason}" if passes else "read from the disk"
    found = {stage: kept.arrays[stage][: len(source)] for stage in _order(encoder.model.stages, kept.arrays)}
    return Features(found, mark, f"features of {source.info.name} {split} by {config.model}, {mark[:12]}: {told}")


def _order(stages: Sequence[str], found: Iterable[str]) -> list[str]:
    return [name for name in (*stages, TOP) if name in found]


def _pooled(stages: Sequence[str], found: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """{stage: [n, D]} of the stages and the last features."""
    return {name: _flat(found[name]) for name in _order(stages, found)}


def _flat(x: jax.Array) -> jax.Array:
    if x.ndim == 4:
        x = adaptive_avg_pool(x, max(1, min(math.isqrt(NUMBERS // x.shape[-1]), *x.shape[1:3])))
    return x.reshape((x.shape[0], -1))


def held_out(labels: np.ndarray) -> np.ndarray:
    """Which examples are held out: of each class every fifth in order, bool [N]."""
    place = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        own = labels == label
        place[own] = np.arange(own.sum())
    return place % HELD_OUT == HELD_OUT - 1


def of_stages(train: Mapping[str, np.ndarray], labels: np.ndarray, test: Mapping[str, Split]) -> dict[str, Probe]:
    """`probe` for every stage.

    Args:
        train: {stage: features [N, D]}.
        labels: [N].
        test: by stage.
    """
    return {stage: probe(Split(x, labels), test[stage]) for stage, x in train.items()}


def probe(train: Split, test: Split, penalties: Sequence[float] = PENALTIES) -> Probe:
    """Multinomial logistic regression, its penalty chosen on a fifth of the training examples that it does not see.

    minimised over W and b: mean cross-entropy + λ/2·‖W‖²

    Features are standardised by the examples that are fitted. λ goes from the strongest to the weakest, each fit
    beginning where the last one ended; of equals the strongest is taken. Then all training examples are fitted by it.

    Args:
        train: what is fitted; every class needs `HELD_OUT` examples for one of them to be held out.
        test: what is predicted.
        penalties: λ, strongest first.

    Raises:
        ValueError: no example can be held out.

    Reference: Kornblith et al. 2019, "Do Better ImageNet Models Transfer Better?", appendix A.4.
    *Deviation*: five penalties in place of 45.
    """
    held = held_out(train.labels)
    if not held.any():
        raise ValueError(
            f"{len(train.labels)} training examples leave none to choose a penalty by: give at least {HELD_OUT} of a "
            "class"
        )
    seen, kept = (Split(train.features[which], train.labels[which]) for which in (~held, held))
    found = [right.mean() for right in _fits(seen, kept, penalties)]
    best = int(np.argmax(found))
    *_, right = _fits(train, test, penalties[best : best + 1])
    return Probe(penalties[best], float(found[best]), right)


def _fits(train: Split, test: Split, penalties: Sequence[float]) -> list[np.ndarray]:
    """For each penalty which of the test examples are right."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    mean, std = train.features.mean(0, dtype=np.float64), train.features.std(0, dtype=np.float64)
    x, tested = (((each - mean) / np.where(std > 0, std, 1)).astype(np.float32) for each in _both(train, test))
    model: Any = LogisticRegression(max_iter=MOST, tol=1e-3, warm_start=True)
    right = []
    # One thread: of products so small the others would do little but wait, and keep the processor from others.
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)
        for penalty in penalties:
            model.set_params(C=1 / (penalty * len(x))).fit(x, train.labels)
            right.append(model.predict(tested) == test.labels)
    return right


def _both(train: Split, test: Split) -> tuple[np.ndarray, np.ndarray]:
    return train.features, test.features
