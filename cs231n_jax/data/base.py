"""What every kind of data set has in common: the contract, the description, the config."""

# No `from __future__ import annotations` here: flags read the types of the config's fields.
import dataclasses
import enum
import hashlib
import typing
from collections.abc import Sequence

import numpy as np

from cs231n_jax.data import terms
from cs231n_jax.data.text_config import TextConfig
from cs231n_jax.data.vocabulary import Vocabulary

Part = typing.Literal["train", "eval"]


@dataclasses.dataclass(frozen=True)
class Info:
    """What is known about one split of a data set.

    Args:
        name: the data set as the config names it.
        split: the split's own name, such as "train" or "test".
        shapes: shape of one example's arrays, such as {"image": (32, 32, 3), "label": ()}.
        num_classes: number of labels K; labels lie in 0 … K − 1.
        classes: K names.
        fingerprint: SHA-256 of the content in hexadecimal, the same on every machine.
        mean: per channel, of the *training* split's pixels in 0 … 1, also on an evaluation split.
        std: the same for the standard deviation (divided by n).
        streams: 0, or S where the examples are windows of S contiguous streams: k·S + b is window k of stream b, and
            batches of S take them in this order. Text has no mean and no std.
        ragged: of arrays whose second axis is padded to the longest example, the names of the arrays of lengths, such
            as {"token": "length"}.
        buckets: lengths that batches of such arrays are padded to, shortest first; the last is that of `shapes`.
        vocabularies: by array of tokens, what they stand for; a run keeps them in vocabularies.json.
    """

    name: str
    split: str
    shapes: dict[str, tuple[int, ...]]
    num_classes: int
    classes: tuple[str, ...]
    fingerprint: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    streams: int = 0
    ragged: dict[str, str] = dataclasses.field(default_factory=dict)
    buckets: tuple[int, ...] = ()
    vocabularies: dict[str, Vocabulary] = dataclasses.field(default_factory=dict)


@typing.runtime_checkable
class Source(typing.Protocol):
    """A data set with random access.

    `source[indices]` takes an integer array [B] and returns freshly made arrays
    {"image": uint8 [B, H, W, C], "label": int32 [B]}; of text {"token": int32 [B, T], "target": int32 [B, T],
    "start": bool [B], "counted": bool [B, T]}; of clips, labelled texts and pairs of sentences those that
    `tfds_source.open_split`, `sentences.labelled` and `sentences.pairs` describe.
    """

    info: Info

    def __len__(self) -> int: ...

    def __getitem__(self, indices: np.ndarray) -> dict[str, np.ndarray]: ...


class ArraySource:
    """A source over arrays that are in memory or mapped into it.

    Args:
        arrays: {key: array [N, …]}, all of the same length N.
        info: their description.
        noticed: what a person should know of the data, such as {"empty captions": 3}; a run says it when it begins.
    """

    def __init__(self, arrays: dict[str, np.ndarray], info: Info, noticed: typing.Mapping[str, int] | None = None):
        lengths = {key: len(array) for key, array in arrays.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"the arrays of a data source must be of one length, got {lengths}")
        self.arrays, self.info, self.noticed = arrays, info, noticed or {}

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        return {key: array[indices] for key, array in self.arrays.items()}


class First:
    """The first `count` examples of a source; mean and std stay those of the whole split."""

    def __init__(self, source: Source, count: int):
        if not 0 < count <= len(source):
            info = source.info
            raise ValueError(
                f"data.limit is {count}, but {info.name} {info.split} has {len(source)} examples; "
                f"give 1 to {len(source)}, or 0 for all"
            )
        self.whole, self._count, self.noticed = source, count, getattr(source, "noticed", {})
        mark = f"{source.info.fingerprint}[:{count}]"
        self.info = dataclasses.replace(source.info, fingerprint=hashlib.sha256(mark.encode()).hexdigest())

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        if np.min(indices, initial=0) < 0 or np.max(indices, initial=-1) >= self._count:
            raise IndexError(f"indices must lie in 0 … {self._count - 1}, the first {self._count} examples")
        return self.whole[indices]


MOST_PADDING = 4096


class Normalization(enum.Enum):
    """What is subtracted from pixels in 0 … 1, and what they are divided by, per channel."""

    DATASET = "dataset"  # the training split's own mean and standard deviation
    IMAGENET = "imagenet"  # (0.485, 0.456, 0.406) and (0.229, 0.224, 0.225), as published weights expect
    CAFFE = "caffe"  # (123, 117, 104) / 255 and 1 / 255, as published weights of Caffe expect, red first
    NONE = "none"  # nothing: pixels stay in 0 … 1


@dataclasses.dataclass(kw_only=True, slots=True)
class DataConfig:
    """Which data, in which batches.

    Args:
        name: "digits"; "synthetic" or "synthetic:32x32x3:10:50000" (shape, classes, examples); a path ending in
            .npz; a path to a folder of images by class ("./photos"); text: "python_docs", the language reference that
            comes with Python, or a path ending in .txt; sentences and clips: "sentiment_grammar",
            "translation_grammar" and "moving_shapes", with ":8000" or ":8000:1" (examples, seed) if so wanted, as have
            the pictures "scenes" (with captions) and "scene_questions" (with questions and answers), and
            "parallel:{split}.de:{split}.en", two files of translations line by line; captions: a path to a file of
            Karpathy's, such as dataset_coco.json, whose pictures lie in `dir`; otherwise a TFDS name, optionally with
            config and version ("cifar10", "cifar10/3.0.2"; of text: "tiny_shakespeare").
        dir: where relative paths start, or the TFDS data directory; "" means the working directory, or
            $TFDS_DATA_DIR and then ~/tensorflow_datasets.
        batch_size: training examples per step, over all devices and processes.
        eval_batch_size: the same for evaluation; 0 means twice the training batch (no gradients are held).
        train_split: name of the training split; TFDS sets take slices too ("train[:45000]"), and Karpathy's files
            several ("train+restval").
        eval_split: name of the evaluation split; "" means test, or else validation, or val.
        augment: random changes of the training images, on the device, in the order written: "none", or terms with +
            between, as in "crop:4+flip+cutout:8". Terms: crop[:padding], reflect_crop[:padding] (mirrored at the
            edges instead of black), flip, crop_flip[:padding] (both, compiled faster), alternating_flip (at random in
            the first epoch, then in turn), resized_crop[:smallest area], cutout:size, jitter:strength[:hue],
            lighting[:std].
        augment_padding: pixels that a random crop may shift by, to each side, where its term does not say.
        normalize: how pixels are normalised.
        limit: train on the first n examples only; 0 means all.
        image_size: crop images to a centred square and resize it to this side; 0 means that they must all have one
            size. For folders of images, captions in a .json and TFDS sets.
        frames: of clips of TFDS sets: so many frames of each, evenly spaced, one from the middle of each of as many
            equal parts; 0 takes all, and then all clips must be equally long.
        channels: 3 repeats the one channel of grey images, for a network whose weights are of coloured ones; 1 makes
            coloured images grey, for one that knows grey ones; 0 leaves images as they are.
        window: text: characters of a training example, over which gradients flow. The text is cut into `batch_size`
            contiguous streams, and a batch has the next window of each.
        text: vocabulary and lengths, for sets of sentences.
    """

    name: str = "digits"
    dir: str = ""
    batch_size: int = 128
    eval_batch_size: int = 0
    train_split: str = "train"
    eval_split: str = ""
    augment: str = "none"
    augment_padding: int = 4
    normalize: Normalization = Normalization.DATASET
    limit: int = 0
    image_size: int = 0
    frames: int = 0
    channels: int = 0
    window: int = 0
    text: TextConfig = dataclasses.field(default_factory=TextConfig)

    def validate(self) -> None:
        """Check the fields that need no data; raises ValueError."""
        if not self.name:
            raise ValueError("data.name is empty; give for example digits, cifar10 or a path ending in .npz")
        if not self.train_split:
            raise ValueError("data.train_split is empty; give the name of a split, for example train")
        if self.batch_size < 1:
            raise ValueError(f"data.batch_size is {self.batch_size}; it must be at least 1")
        for field in ("eval_batch_size", "augment_padding", "limit", "image_size", "frames", "window"):
            if getattr(self, field) < 0:
                raise ValueError(f"data.{field} is {getattr(self, field)}; it must be 0 or more")
        if self.channels not in (0, 1, 3):
            raise ValueError(
                f"data.channels is {self.channels}; give 3 for grey images in three channels, 1 for coloured ones in "
                "grey, or 0"
            )
        terms.parse(self.augment)
        self.text.validate()
        if self.augment_padding > MOST_PADDING:
            raise ValueError(
                f"data.augment_padding is {self.augment_padding}; it must be at most {MOST_PADDING} pixels"
            )

    @property
    def alternating_flips(self) -> bool:
        """Whether batches have to say which images are mirrored."""
        return any(term.name == terms.ALTERNATING_FLIP for term in terms.parse(self.augment))

    @property
    def evaluation_batch_size(self) -> int:
        """`eval_batch_size`, or twice the training batch where that is 0."""
        return self.eval_batch_size or 2 * self.batch_size

    def statistics(self, info: Info) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The (mean, std) per channel that `normalize` stands for, in units where pixels are 0 … 1.

        A channel that never varies gets a std of 1.
        """
        channels = len(info.mean)
        match self.normalize:
            case Normalization.DATASET:
                return info.mean, tuple(s or 1.0 for s in info.std)
            case Normalization.IMAGENET | Normalization.CAFFE if channels != 3:
                raise ValueError(
                    f"data.normalize is {self.normalize.value}, which has 3 channels, but {info.name} has {channels}; "
                    "use dataset, or set data.channels to 3"
                )
            case Normalization.IMAGENET:
                return (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
            case Normalization.CAFFE:
                return (123 / 255, 117 / 255, 104 / 255), (1 / 255,) * 3
            case Normalization.NONE:
                return (0.0,) * channels, (1.0,) * channels


def choose_split(config: DataConfig, part: Part, available: Sequence[str], *, slices: bool = False) -> str:
    """The name of the split that plays the part, checked against those available.

    Args:
        config: names the splits.
        part: "train" or "eval".
        available: the names that the data set has.
        slices: whether "train[:90%]+test" is understood.

    Raises:
        ValueError: there is no such split.
    """
    field = f"data.{part}_split"
    have = ", ".join(available) or "none"
    wanted = config.train_split if part == "train" else config.eval_split
    if not wanted:
        wanted = next((name for name in ("test", "validation", "val") if name in available), "")
        if not wanted:
            raise ValueError(f"{config.name} has no split named test, validation or val; set {field} (splits: {have})")
    names = [term.split("[")[0].strip() for term in wanted.split("+")] if slices else [wanted]
    if unknown := [name for name in names if name not in available]:
        raise ValueError(f"{config.name} has no split {unknown[0]!r}; set {field} (splits: {have})")
    return wanted


def fingerprint(arrays: dict[str, np.ndarray], classes: Sequence[str]) -> str:
    """SHA-256 over keys, types, shapes, bytes (little-endian, in C order) and class names, in hexadecimal."""
    digests = {}
    for key, array in arrays.items():
        portable = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        digests[key] = (portable.dtype.str, portable.shape, hashlib.sha256(portable.data).hexdigest())
    return combine(digests, classes)


def combine(digests: dict[str, tuple[str, tuple[int, ...], str]], classes: Sequence[str]) -> str:
    """The fingerprint from each array's (type, shape, SHA-256 of its bytes)."""
    lines = [f"{key} {dtype} {list(shape)} {digest}\n" for key, (dtype, shape, digest) in sorted(digests.items())]
    return hashlib.sha256("".join([*lines, *(f"class {name}\n" for name in classes)]).encode()).hexdigest()


class PixelStatistics:
    """Exact mean and standard deviation per channel of 8-bit pixels, gathered in integers."""

    def __init__(self):
        self._counts: typing.Any = None  # [C, 256] int64, from the first image on

    def add(self, images: np.ndarray) -> None:
        """Count the pixels of uint8 [N, H, W, C]."""
        pixels = images.reshape(-1, images.shape[-1])
        counts = np.stack([np.bincount(channel, minlength=256) for channel in pixels.T])
        self._counts = counts if self._counts is None else self._counts + counts

    def result(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """(mean, std) per channel, for pixels in 0 … 1; of no pixels () and ()."""
        if self._counts is None:
            return (), ()
        total = [int(n) for n in self._counts.sum(axis=1)]
        first = [sum(v * int(n) for v, n in enumerate(row)) for row in self._counts]
        second = [sum(v * v * int(n) for v, n in enumerate(row)) for row in self._counts]
        mean = tuple(s / n / 255 for s, n in zip(first, total))
        std = tuple(((q * n - s * s) / n**2) ** 0.5 / 255 for s, q, n in zip(first, second, total))
        return mean, std
