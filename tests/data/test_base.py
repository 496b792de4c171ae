import dataclasses
import enum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from cs231n_jax import data
from cs231n_jax.data.base import PixelStatistics, choose_split, fingerprint
from cs231n_jax.data.text_config import TextConfig


def info(mean=(0.5,) * 3, std=(0.25, 0.0, 0.5)):
    return data.Info("made", "train", {"image": (2, 2, len(mean)), "label": ()}, 1, ("0",), "f", mean, std)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": ""}, "data.name is empty; give for example digits"),
        ({"train_split": ""}, "data.train_split is empty"),
        ({"batch_size": 0}, "data.batch_size is 0; it must be at least 1"),
        ({"eval_batch_size": -1}, "data.eval_batch_size is -1; it must be 0 or more"),
        ({"augment_padding": -1}, "data.augment_padding is -1"),
        ({"augment": "crop:4px+flip"}, "in the term 'crop:4px' only numbers can follow the name, as in crop:4"),
        ({"augment": "crop:inf"}, "only numbers can follow"),
        ({"augment": "crop:4,flip"}, "'crop:4,flip' only .*; between terms stands [+]"),
        ({"augment": "crop++flip"}, "'crop[+][+]flip' has an empty term: write terms with [+] between"),
        ({"augment": ""}, "has an empty term"),
        ({"augment": "flip+crop+flip"}, "has the term 'flip' twice: write it once"),
        ({"augment": None}, "data.augment=None must be a string such as none, crop_flip"),
        ({"limit": -2}, "data.limit is -2"),
        ({"image_size": -2}, "data.image_size is -2"),
        ({"channels": 2}, "data.channels is 2; give 3 for grey .*, 1 for coloured"),
        ({"frames": -1}, "data.frames is -1"),
    ],
)
def test_validate_explains_wrong_fields(options, message):
    config = data.DataConfig(**options)
    with pytest.raises(ValueError, match=message):
        config.validate()
    with pytest.raises(ValueError, match=message):
        data.open_source(config, "train")


def test_flags_can_set_every_field():
    of_text = dataclasses.fields(TextConfig)
    for field in (*dataclasses.fields(data.DataConfig), *of_text):
        if field.name != "text":
            assert field.type in (str, int, bool) or issubclass(field.type, enum.Enum), field
            assert isinstance(field.default, field.type)
    kind = data.Normalization
    assert [member.value for member in kind] == [member.name.lower() for member in kind]


def test_evaluation_takes_twice_the_batch_unless_told():
    assert data.DataConfig(batch_size=50).evaluation_batch_size == 100
    assert data.DataConfig(batch_size=50, eval_batch_size=7).evaluation_batch_size == 7


def test_normalisation():
    def chosen(kind, source=None):
        return data.DataConfig(normalize=kind).statistics(source or info())

    assert chosen(data.Normalization.DATASET) == ((0.5,) * 3, (0.25, 1.0, 0.5))
    assert chosen(data.Normalization.NONE) == ((0.0,) * 3, (1.0,) * 3)
    assert chosen(data.Normalization.IMAGENET) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with pytest.raises(ValueError, match="imagenet, which has 3 channels, but made has 1; use dataset"):
        chosen(data.Normalization.IMAGENET, info((0.5,), (0.25,)))


@pytest.mark.parametrize("name", ["digits", "synthetic:4x4x1:3:50"])
def test_limit_takes_the_first_examples_of_training_only(name):
    whole = data.open_source(data.DataConfig(name=name), "train")
    some = data.open_source(data.DataConfig(name=name, limit=30), "train")
    evaluation = data.open_source(data.DataConfig(name=name, limit=30), "eval")
    assert len(some) == 30
    assert len(evaluation) == len(data.open_source(data.DataConfig(name=name), "eval"))
    every = np.arange(30)
    np.testing.assert_array_equal(some[every]["image"], whole[every]["image"])
    assert some.info.mean == whole.info.mean
    assert some.info.fingerprint not in (whole.info.fingerprint, evaluation.info.fingerprint)
    for index in (-1, 30):
        with pytest.raises(IndexError, match="indices must lie in 0 … 29, the first 30 examples"):
            some[np.array([0, index])]


def test_a_limit_beyond_the_data_is_refused():
    with pytest.raises(ValueError, match=r"data.limit is 899, but digits train has 898 examples; give 1 to 898"):
        data.open_source(data.DataConfig(limit=899), "train")


def test_only_the_two_parts_can_be_opened():
    with pytest.raises(ValueError, match="'train' or 'eval', got 'test'"):
        data.open_source(data.DataConfig(), "test")


@pytest.mark.parametrize("name", ["digits", "moving_shapes:8"])
def test_frames_are_refused_where_no_clips_are_read(name):
    with pytest.raises(ValueError, match=f"data.frames is for TFDS sets of clips; set it to 0 for {name}"):
        data.open_source(data.DataConfig(name=name, frames=4), "train")


def test_image_size_is_refused_where_nothing_is_resized():
    with pytest.raises(
        ValueError, match=r"image_size is for folders of images, captions .* and TFDS sets; set it to 0 for digits"
    ):
        data.open_source(data.DataConfig(image_size=32), "train")


def test_grey_images_come_in_three_equal_channels():
    grey, seen = (data.open_source(data.DataConfig(channels=c, limit=5), "train") for c in (0, 3))
    some = np.array([4, 0])
    np.testing.assert_array_equal(seen[some]["image"], np.repeat(grey[some]["image"], 3, axis=-1))
    np.testing.assert_array_equal(seen[some]["label"], grey[some]["label"])
    assert seen.info.shapes["image"] == (8, 8, 3)
    assert (seen.info.mean, seen.info.std) == (3 * grey.info.mean, 3 * grey.info.std)
    assert seen.info.fingerprint != grey.info.fingerprint
    whole = seen.whole.arrays["image"]
    assert whole.strides[-1] == 0  # no copy
    already = data.open_source(data.DataConfig(name="synthetic:4x4x3:2:9", channels=3), "eval")
    assert already.info == data.open_source(data.DataConfig(name="synthetic:4x4x3:2:9"), "eval").info
    with pytest.raises(ValueError, match=r"data\.channels is for labelled images in grey or in colour; set it to 0"):
        data.open_source(data.DataConfig(name="sentiment_grammar:20", channels=3), "train")


def test_coloured_images_come_in_grey(tmp_path):
    random = np.random.default_rng(0)
    some, other = (random.integers(0, 256, (n, 4, 5, 3), np.uint8) for n in (1003, 2))  # more than are made at once
    np.savez(tmp_path / "a.npz", x_train=some, y_train=np.arange(1003) % 2, x_test=other, y_test=np.arange(2))
    config = data.DataConfig(name="a.npz", dir=str(tmp_path), channels=1)
    seen, tested = (data.open_source(config, part) for part in ("train", "eval"))
    for source, pixels in ((seen, some), (tested, other)):
        wanted = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in pixels])
        np.testing.assert_array_equal(source[np.arange(len(source))]["image"][..., 0], wanted)
    values = seen.arrays["image"] / 255
    assert (seen.info.mean, seen.info.std) == (pytest.approx((values.mean(),)), pytest.approx((values.std(),)))
    assert (tested.info.mean, tested.info.std) == (seen.info.mean, seen.info.std)
    assert seen.info.shapes["image"] == (4, 5, 1)
    colour = data.open_source(dataclasses.replace(config, channels=0), "train")
    assert seen.info.fingerprint != colour.info.fingerprint
    grey = data.open_source(data.DataConfig(channels=1), "train")
    assert grey.info == data.open_source(data.DataConfig(), "train").info


def test_splits_are_checked():
    def chosen(available, part="eval", slices=False, **options):
        return choose_split(data.DataConfig(**options), part, available, slices=slices)

    assert chosen(["train", "validation", "test"]) == "test"
    assert chosen(["train", "val"]) == "val"
    assert chosen(["train", "test"], train_split="test", part="train") == "test"
    assert chosen(["train", "test"], eval_split="train[90%:]+test", slices=True) == "train[90%:]+test"
    with pytest.raises(ValueError, match=r"no split 'tset'; set data.eval_split \(splits: train, test\)"):
        chosen(["train", "test"], eval_split="tset")
    with pytest.raises(ValueError, match=r"no split 'extra'; set data.train_split"):
        chosen(["train", "test"], train_split="train+extra", part="train", slices=True)
    with pytest.raises(ValueError, match=r"no split named test, validation or val; set data.eval_split"):
        chosen(["train"])


def test_sources_keep_the_contract():
    for name in ("digits", "synthetic"):
        source = data.open_source(data.DataConfig(name=name), "train")
        assert isinstance(source, data.Source)
        batch = source[np.array([3, 1])]
        batch["image"][:] = 0  # the caller's own copy
        assert source[np.array([3, 1])]["image"].any()
    with pytest.raises(ValueError, match="of one length, got"):
        data.ArraySource({"image": np.zeros(3), "label": np.zeros(2)}, info())


pixels = hnp.arrays(np.uint8, st.tuples(*[st.integers(1, 4)] * 3, st.integers(1, 3)))


@given(images=pixels)
def test_statistics_are_exact(images):
    gathered = PixelStatistics()
    for image in images:
        gathered.add(image[None])
    mean, std = gathered.result()
    np.testing.assert_allclose(mean, (images / 255).mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, (images / 255).std((0, 1, 2)), atol=1e-12)


def test_the_fingerprint_sees_content_and_not_layout():
    images = np.arange(24, dtype=np.int32).reshape(2, 3, 4)
    base = fingerprint({"image": images, "label": np.arange(2)}, ("a", "b"))
    other_layout = {"label": np.arange(2), "image": np.asfortranarray(images.astype(">i4"))}
    assert fingerprint(other_layout, ("a", "b")) == base
    different = [
        ({"image": images + 1, "label": np.arange(2)}, ("a", "b")),
        ({"image": images, "label": np.arange(2)[::-1]}, ("a", "b")),
        ({"image": images.reshape(2, 4, 3), "label": np.arange(2)}, ("a", "b")),
        ({"image": images.astype(np.int64), "label": np.arange(2)}, ("a", "b")),
        ({"image": images, "label": np.arange(2)}, ("a", "c")),
        ({"image": images}, ("a", "b")),
    ]
    assert len({base, *(fingerprint(*case) for case in different)}) == 1 + len(different)
