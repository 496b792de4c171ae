"""A frozen network in front of the data: its features, computed once and kept on the disk, stand for the images."""

# No `from __future__ import annotations` here: flag overrides read the types of the fields.
import dataclasses
import enum
import hashlib
import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from cs231n_jax.data import DataConfig, Source, cache, features
from cs231n_jax.data.base import fingerprint
from cs231n_jax.interop import published
from cs231n_jax.models import backbones, create, functional
from cs231n_jax.ops import augment
from cs231n_jax.train import weights
from cs231n_jax.train.signals import Interrupted

VERSION = 1  # of what is kept: another number makes all of it anew
Chosen = Callable[[dict[str, jax.Array]], dict[str, jax.Array]]
BATCH = 32  # images at once; memory holds these and the largest maps of the network for them


class Storage(enum.Enum):
    """The type of number that features are kept as on the disk; batches hold float32."""

    FLOAT16 = "float16"  # half the space; off by at most 2⁻¹¹ of the value (1/2048), below 6.1e-5 by at most 3.0e-8
    FLOAT32 = "float32"  # as computed


@dataclasses.dataclass(kw_only=True, slots=True)
class EncoderConfig:
    """A trained network whose features take the place of the images; without a model there is none.

    Every image goes through it once, in inference, at the size that data.image_size gives and normalised as
    data.normalize says; the features are kept in the cache of data, by a key of the images, the weights and all of
    this. The model that is trained then reads "image" as features, float32 [N, h, w, D] or [N, D], and no parameter of
    the encoder is in its snapshots. Images cannot be augmented, since they are not looked at again.

    Args:
        model: the network's name; "" for none.
        options: its options, where they are not the defaults; those that change shapes have to be the weights' own.
        weights: a file that experiments.import_weights reads or writes, or a run directory, whose newest snapshot is
            taken; a relative path is looked for in the working directory and then in $CS231N_WEIGHTS_DIR. What lies
            behind the stage need not be in it.
        part: of the model that the weights are of, the part that the network is, such as "backbone" of a captioner;
            "" if it is the whole.
        stage: which features, such as "stage3" or "pre_logits".
        pooled: their mean over all places, [D] in place of [h, w, D].
        scale: what they are multiplied by when a batch is taken; without batch norm the last maps of a network may be
            numbers of hundreds, where a recurrent layer wants ones.
        centered: whether each of the D numbers is taken less its mean over the training pictures and their places, as
            principal components are. Behind a ReLU features are ≥ 0, and what all pictures share is most of them.
        storage: how they are kept.
    """

    model: str = ""
    options: dict = dataclasses.field(default_factory=dict)
    weights: str = ""
    part: str = ""
    stage: str = ""
    pooled: bool = False
    scale: float = 1.0
    centered: bool = False
    storage: Storage = Storage.FLOAT16

    def validate(self) -> None:
        """Refuse what no run can use; raises ValueError with the field and its value."""
        given = [f.name for f in dataclasses.fields(self) if getattr(self, f.name) != getattr(EncoderConfig(), f.name)]
        if not self.model:
            if given:
                raise ValueError(
                    f"encoder.{given[0]} is given without encoder.model: name the network, or leave it out"
                )
            return
        for field in ("weights", "stage"):
            if not getattr(self, field):
                raise ValueError(f"encoder.{field} is empty: say which of encoder.model={self.model!r}")
        if not 0 < self.scale < math.inf:
            raise ValueError(f"encoder.scale={self.scale} must be above 0 and finite")
        if (reads := create(self.model, **self.options).reads) != ("image",):
            raise ValueError(f"encoder.model={self.model!r} reads {', '.join(reads)}: give a model of images")


def never() -> bool:
    """What is not to be interrupted."""
    return False


def build(config: EncoderConfig, data: DataConfig, should_stop: Callable[[], bool] = never) -> "Stage | None":
    """What puts features in the place of a source's images; None where the config has no encoder.

    Raises:
        FileNotFoundError: there are no such weights.
        ValueError: the config is wrong, its weights are damaged or another model's, or images are to be augmented.
    """
    config.validate()
    if not config.model:
        return None
    if data.augment != "none":
        raise ValueError(
            f"data.augment={data.augment!r} changes images in training, and the features of encoder.model="
            f"{config.model!r} are computed once: set data.augment=none, or train without an encoder"
        )
    return Stage(config, data, should_stop)


class Encoder:
    """A network with its weights, and what it makes of images.

    Args:
        config: the network and its weights; other fields are not read.
        data: the normalisation.
        should_stop: looked at before each batch of images.

    Raises:
        FileNotFoundError: there are no such weights.
        ValueError: they are damaged, or another model's.
    """

    def __init__(self, config: EncoderConfig, data: DataConfig, should_stop: Callable[[], bool] = never):
        self.config, self.data, self.model = config, data, create(config.model, **config.options)
        self.should_stop = should_stop
        params, state = weights.load("encoder.weights", config.weights, config.model, config.options)
        self.given = _part(config, published.flat({"params": params, **state}))

    def example(self, shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
        """One image of this shape."""
        return jax.ShapeDtypeStruct((1, *shape), np.float32)

    def fitted(self, shape: tuple[int, ...]) -> tuple[Any, Any, str]:
        """Parameters and state in the form of the network, for images of a shape, and the SHA-256 of both."""
        params, state = functional.shapes(self.model, self.example(shape))
        tree = {"params": params, **state}
        wanted = published.flat(tree)
        needed = {path: leaf for path, leaf in wanted.items() if path in self.given or self._reached(path)}
        try:
            published.check(self.given, needed)
        except ValueError as error:
            raise ValueError(
                f"encoder.weights={self.config.weights!r} is not of encoder.model={self.config.model!r} with these "
                f"options: {error}"
            ) from None
        given = {path: self.given.get(path, np.zeros(leaf.shape)) for path, leaf in wanted.items()}
        used = {path: np.asarray(given[path], leaf.dtype) for path, leaf in wanted.items()}
        variables = jax.tree.unflatten(jax.tree.structure(tree), list(used.values()))
        return variables.pop("params"), variables, fingerprint(used, ())

    def _reached(self, path: str) -> bool:
        """Whether the features depend on a variable; on all where the stage is none that the network names."""
        named = self.config.stage in (*self.model.stages, *backbones.BEHIND)
        return not named or backbones.reached(self.model, self.config.stage, path.split("/")[1])

    def computed(
        self, images: np.ndarray, variables: Any, normalisation: Any, chosen: Chosen, first: int = 0
    ) -> Iterator[dict[str, np.ndarray]]:
        """What is chosen of the features of the images in order, a batch at a time, each image in one of them.

        Args:
            images: uint8 [N, H, W, C].
            variables: parameters and state.
            normalisation: mean and standard deviation, as of `DataConfig.statistics`.
            chosen: {feature: [n, …]} -> what is yielded.
            first: the image to begin with, that of a batch.

        Raises:
            Interrupted: `should_stop` said so.
        """

        @jax.jit
        def of_batch(variables: Any, batch: jax.Array) -> dict[str, jax.Array]:
            pixels = augment.standardize(batch, *normalisation)
            return chosen(functional.apply(self.model, *variables, pixels, method="features")[0])

        variables = jax.device_put(variables)
        for start in range(first, len(images), BATCH):
            if self.should_stop():
                raise Interrupted(f"interrupted with the features of {start} of {len(images)} images, which are kept")
            some = images[start : start + BATCH]
            full = np.concatenate([some, np.repeat(some[-1:], BATCH - len(some), axis=0)])
            yield {name: np.asarray(x)[: len(some)] for name, x in of_batch(variables, full).items()}

    def waiting(self) -> None:
        """Raise Interrupted if `should_stop` says so."""
        if self.should_stop():
            raise Interrupted("interrupted while another process computes the same features")


class Stage(Encoder):
    """One stage of a network in the place of images.

    Of a source all methods say: ValueError where it has no images, they do not fit the network, or it has no such
    stage; Interrupted where `should_stop` said so between two batches of images: the next call goes on from there.
    """

    def __call__(self, source: Source, training: Source | None = None) -> Source:
        """The same source with features for images, from the cache or computed into it.

        Args:
            source: of images.
            training: the training split, which the mean is that of; by default `source` is it.
        """
        array, mark = self._cached(source)
        mean = self._mean(training or source)
        told = "" if mean is None else f" {hashlib.sha256(mean.tobytes()).hexdigest()}"
        return features.put(source, features.Kept(array, self.config.scale, mean), f"{mark} {self.config.scale}{told}")

    def blank(self, source: Source) -> Source:
        """The same source with zeros for images, in the shape of the features: to see early what does not fit."""
        images = features.images(source)
        self.fitted(images.shape[1:])
        zeros = np.broadcast_to(np.zeros((), self._dtype), (len(images), *self._shape(images.shape[1:])))
        return features.put(source, features.Kept(zeros, 1.0), "blank")

    def of_images(self, images: np.ndarray, training: Source) -> np.ndarray:
        """The features of images that are in no source, float32 [N, …], as batches of a source have them.

        Args:
            images: uint8 [N, H, W, C], in the shape of those of `training`.
            training: the training split, without features; of it are the normalisation and the mean.
        """
        params, state, _ = self.fitted(images.shape[1:])
        chunks = self.computed(images, (params, state), self.data.statistics(training.info), self._chosen)
        found = np.concatenate([self._kept(chunk["image"]) for chunk in chunks])
        return features.Kept(found, self.config.scale, self._mean(training))[:]

    def _cached(self, source: Source) -> tuple[np.ndarray, str]:
        """The features as they are kept, and the mark of what they are."""
        images, content = features.pictures(source)
        normalisation = self.data.statistics(source.info)
        params, state, digest = self.fitted(images.shape[1:])
        self._shape(images.shape[1:])
        what = {**dataclasses.asdict(self.config), "weights": digest, "storage": self._dtype.name}
        for name in ("part", "scale", "centered"):  # the weights say the first, and the others are no part of the cache
            del what[name]
        mark = hashlib.sha256(json.dumps([VERSION, what, normalisation], sort_keys=True).encode()).hexdigest()

        def onward(first: int) -> Iterator[dict[str, np.ndarray]]:
            for chunk in self.computed(images, (params, state), normalisation, self._chosen, first):
                yield {"image": self._kept(chunk["image"])}

        name = f"{source.info.name} {self.config.model} {self.config.stage}"
        decoded = cache.Decoded(len(images), (), onward, doing="encoding")
        kept = cache.open_cached(name, source.info.split, [mark, content], lambda: decoded, self.waiting)
        return kept.arrays["image"], mark

    def _mean(self, training: Source) -> np.ndarray | None:
        """What is taken from features, [D], if anything is."""
        return features.mean(self._cached(training)[0]) if self.config.centered else None

    @property
    def _dtype(self) -> np.dtype:
        return np.dtype(self.config.storage.value)

    def _shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Of the features of an image of a shape; refuses such as the network has not, or without places to pool."""
        config, found = self.config, functional.outputs(self.model, self.example(shape), method="features")
        if config.stage not in found:
            have = [*self.model.stages, *(name for name in found if name not in self.model.stages)]
            raise ValueError(
                f"encoder.stage={config.stage!r}: {config.model} has no such features; it has {', '.join(have)}"
            )
        _, *places, size = found[config.stage].shape
        if config.pooled and not places:
            raise ValueError(
                f"encoder.pooled=True, but {config.stage} of {config.model} has no places: set it to False"
            )
        return (size,) if config.pooled else (*places, size)

    def _chosen(self, found: dict[str, jax.Array]) -> dict[str, jax.Array]:
        x = found[self.config.stage]
        return {"image": x.mean(axis=tuple(range(1, x.ndim - 1))) if self.config.pooled else x}

    def _kept(self, found: np.ndarray) -> np.ndarray:
        """The features as they are kept."""
        largest = float(np.abs(found).max())
        if not largest <= float(np.finfo(self._dtype).max):  # NaN too
            raise ValueError(
                f"features of encoder.stage={self.config.stage!r} reach {largest:g}, more than {self._dtype} holds: "
                "set encoder.storage=float32, or mend the weights"
            )
        return found.astype(self._dtype)


def _part(config: EncoderConfig, given: dict[str, Any]) -> dict[str, Any]:
    """Weights by path without the name of the part; raises ValueError if there is no such part."""
    if not config.part:
        return given
    split = [(*path.partition("/"), leaf) for path, leaf in given.items()]
    inside = f"{config.part}/"
    found = {f"{kind}/{rest.removeprefix(inside)}": leaf for kind, _, rest, leaf in split if rest.startswith(inside)}
    if not found:
        have = ", ".join(dict.fromkeys(rest.split("/")[0] for kind, _, rest, _ in split if kind == "params"))
        raise ValueError(
            f"encoder.part={config.part!r}: encoder.weights={config.weights!r} has no such part, but {have}"
        )
    return found
