import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from cs231n_jax import data
from cs231n_jax.data.files import fit


def opened(name, part="train", **options):
    return data.open_source(data.DataConfig(name=str(name), **options), part)


def everything(source):
    return source[np.arange(len(source))]


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def noise(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def keras_file(tmp_path):
    arrays = {"x_train": noise(0, 9, 4, 5), "y_train": np.arange(9)[:, None] % 3}
    arrays |= {"x_test": noise(1, 4, 4, 5), "y_test": np.array([0, 1, 3, 1], np.uint8)}
    np.savez(tmp_path / "keras.npz", **arrays)
    return tmp_path / "keras.npz", arrays


@pytest.fixture
def folder(tmp_path):
    """Fifteen colour images, five a class."""
    for index in range(15):
        save(tmp_path / "photos" / "abc"[index % 3] / f"{index}.png", noise(index, 4, 5, 3))
    return tmp_path / "photos"


def test_keras_files(keras_file):
    path, arrays = keras_file
    train, evaluation = opened(path), opened(path, "eval")
    np.testing.assert_array_equal(everything(train)["image"][..., 0], arrays["x_train"])
    np.testing.assert_array_equal(everything(train)["label"], arrays["y_train"][:, 0])
    np.testing.assert_array_equal(everything(evaluation)["image"][..., 0], arrays["x_test"])
    assert everything(evaluation)["label"].dtype == np.int32
    assert train.info.classes == evaluation.info.classes == ("0", "1", "2", "3")  # test has a class more
    np.testing.assert_allclose(evaluation.info.mean, [arrays["x_train"].mean() / 255], rtol=1e-12)


def test_a_file_without_splits_is_divided(tmp_path):
    images = noise(0, 50, 3, 3, 3)
    np.savez_compressed(tmp_path / "own.npz", image=images, label=np.arange(50) % 2, classes=["no", "yes"])
    train, evaluation = opened("own.npz", dir=str(tmp_path)), opened("own.npz", "eval", dir=str(tmp_path))
    assert (len(train), len(evaluation)) == (40, 10)
    assert train.info.classes == ("no", "yes")
    parts = np.concatenate([everything(train)["image"], everything(evaluation)["image"]])
    assert {image.tobytes() for image in parts} == {image.tobytes() for image in images}
    again = opened("own.npz", "eval", dir=str(tmp_path))
    np.testing.assert_array_equal(everything(again)["image"], everything(evaluation)["image"])


def test_a_changed_file_is_read_again(tmp_path):
    path = tmp_path / "own.npz"
    for value in (1, 2):
        np.savez(path, image=np.full((10, 2, 2), value, np.uint8), label=np.zeros(10, int))
        os.utime(path, ns=(value, value))
        assert everything(opened(path))["image"].max() == value


IMAGES, LABELS = np.zeros((10, 2, 2), np.uint8), np.zeros(10, int)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": IMAGES, "b": LABELS}, r"holds a, b; it needs x_train, y_train, x_test and y_test, or image and label"),
        ({"x_train": IMAGES}, r"holds x_train; it needs"),
        ({}, r"holds nothing; it needs"),
        (
            {"image": IMAGES / 2, "label": LABELS},
            r"image in .* is float64 \[10, 2, 2\]; images must be uint8 .* convert",
        ),
        ({"image": IMAGES[0], "label": LABELS}, r"image in .* is uint8 \[2, 2\]; images must be uint8 \[N, H, W\]"),
        (
            {"image": IMAGES, "label": LABELS[:9]},
            r"label in .* is int64 \[9\]; .* one integer for each of the 10 images",
        ),
        ({"image": IMAGES, "label": LABELS / 2}, r"label in .* is float64 \[10\]"),
        ({"image": IMAGES, "label": LABELS - 1}, r"example 0 has label -1"),
        ({"image": IMAGES, "label": LABELS + 2**40}, r"a label of 1099511627776; number the classes from 0"),
        ({"image": IMAGES[:, :, :0], "label": LABELS}, r"image in .* is \[10, 2, 0\]; its images have no pixels"),
        ({"image": IMAGES, "label": LABELS + 5, "classes": ["a"]}, r"has label 5, but 1 classes"),
        ({"image": np.array([None] * 10), "label": LABELS}, r"cannot be read \(Object arrays"),
        ({"x_train": IMAGES, "y_train": LABELS}, r"no split named test, validation or val; set data.eval_split"),
        ({"image": IMAGES[:3], "label": LABELS[:3]}, r"too few images to hold out one in 5"),
    ],
)
def test_unusable_arrays_are_explained(tmp_path, arrays, message):
    np.savez(tmp_path / "own.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        opened(tmp_path / "own.npz", "eval")


def test_what_is_no_npz_is_explained(tmp_path):
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(ValueError, match=r"text.npz is not a readable .npz file .*; write it with numpy.savez"):
        opened(tmp_path / "text.npz")
    np.savez(tmp_path / "cut.npz", image=IMAGES, label=LABELS)
    content = bytearray((tmp_path / "cut.npz").read_bytes())
    content[180] ^= 255  # inside the first array
    (tmp_path / "cut.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"cut.npz cannot be read \(Bad CRC-32"):
        opened(tmp_path / "cut.npz")
    with pytest.raises(FileNotFoundError, match=r"missing.npz does not exist; data.name is a path from data.dir"):
        opened("missing.npz")


def test_a_folder_by_class_holds_out_a_fifth_of_each(folder):
    train, evaluation = opened(folder), opened(folder, "eval")
    assert train.info.classes == evaluation.info.classes == ("a", "b", "c")
    assert sorted(everything(train)["label"]) == [0] * 4 + [1] * 4 + [2] * 4
    assert sorted(everything(evaluation)["label"]) == [0, 1, 2]
    labels = everything(train)["label"].tolist()
    assert labels != sorted(labels)  # mixed, so that a limit sees all classes
    for source in (train, evaluation):
        for image, label in zip(everything(source)["image"], everything(source)["label"]):
            assert image.tobytes() in {noise(i, 4, 5, 3).tobytes() for i in range(15) if i % 3 == label}
    pictures = {image.tobytes() for source in (train, evaluation) for image in everything(source)["image"]}
    assert len(pictures) == 15


def test_a_folder_with_splits(tmp_path):
    root = tmp_path / "set"
    for index in range(8):
        save(root / "train" / "xy"[index % 2] / f"{index}.png", noise(index, 4, 4))
    for index in range(8, 11):
        save(root / "val" / "y" / "deeper" / f"{index}.bmp", noise(index, 4, 4))
    (root / "train" / "x" / "notes.txt").write_text("not an image")
    (root / "train" / ".hidden").mkdir()
    train, evaluation = opened("./set/", dir=str(tmp_path)), opened("set/", "eval", dir=str(tmp_path))
    assert (len(train), len(evaluation), evaluation.info.split) == (8, 3, "val")
    assert train.info.shapes["image"] == (4, 4, 1)
    assert set(everything(evaluation)["label"]) == {1}
    save(root / "val" / "z" / "0.png", noise(0, 4, 4))
    with pytest.raises(ValueError, match=r"val has images of class 'z', which training lacks \(x, y\)"):
        opened(root, "eval")


def test_an_added_image_is_noticed(folder):
    assert len(opened(folder)) == 12
    save(folder / "a" / "new.png", noise(99, 4, 5, 3))
    assert len(opened(folder)) == 13


def test_grey_and_colour_and_transparent_images_mix(folder):
    save(folder / "a" / "grey.png", noise(20, 4, 5))
    save(folder / "b" / "alpha.png", noise(21, 4, 5, 4))
    Image.fromarray(noise(22, 4, 5, 3)).quantize(16).save(folder / "c" / "palette.gif")
    train = everything(opened(folder))
    assert train["image"].shape[1:] == (4, 5, 3)
    grey = np.repeat(noise(20, 4, 5, 1), 3, axis=-1)
    pictures = np.concatenate([train["image"], everything(opened(folder, "eval"))["image"]])
    assert any((picture == grey).all() for picture in pictures)
    assert any((picture == noise(21, 4, 5, 4)[..., :3]).all() for picture in pictures)


def test_images_of_other_sizes_are_refused_or_resized(folder):
    save(folder / "a" / "big.png", noise(20, 30, 20, 3))
    message = r"\.png is \d+×\d+ pixels, but .*\.png is \d+×\d+; set data.image_size"
    with pytest.raises(ValueError, match=message):
        opened(folder)
    source = opened(folder, image_size=6)
    assert source.info.shapes["image"] == (6, 6, 3)


def test_fit_cuts_the_centre_square():
    image = np.zeros((4, 8, 3), np.uint8)
    image[:, 2:6] = 200  # the centre
    assert (fit(image, 2) == 200).all()
    assert fit(image, 0) is image
    assert fit(image[:, 2:6], 4).shape == (4, 4, 3)
    assert fit(image[..., :1], 3).shape == (3, 3, 1)
    with pytest.raises(ValueError, match="must be uint8 with values 0 to 255, got float64"):
        fit(image / 255, 2)


def test_the_cameras_orientation_is_applied(tmp_path):
    upright = np.zeros((8, 16, 3), np.uint8)
    upright[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    for index in range(5):
        path = tmp_path / "set" / "a" / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(upright).save(path, exif=exif, quality=100)
    image = everything(opened(tmp_path / "set"))["image"][0]
    assert image[:, :7].mean() < 5
    assert image[:, 9:].mean() > 250


def test_a_corrupt_image_is_named(folder):
    whole = (folder / "a" / "0.png").read_bytes()
    bad = folder / "a" / "0.png"
    for content in (b"", b"text", whole[:60], whole[:45] + b"\0" * 20 + whole[65:]):
        bad.write_bytes(content)
        with pytest.raises(ValueError, match=r"a/0.png cannot be read as an image \(.*; remove or replace it"):
            [opened(folder, part) for part in ("train", "eval")]


def test_deep_pixels_are_refused(folder):
    def block(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 5, 4, 16, 0, 0, 0, 0)  # 16-bit grey
    pixels = zlib.compress(b"".join(b"\0" + bytes(10) for _ in range(4)))
    content = b"\x89PNG\r\n\x1a\n" + block(b"IHDR", header) + block(b"IDAT", pixels) + block(b"IEND", b"")
    (folder / "b" / "1.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"b/1.png has pixels of type I.*; only images of 8 bits"):
        [opened(folder, part) for part in ("train", "eval")]


def test_missing_and_empty_folders_are_explained(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"the folder .*nowhere does not exist; it should hold train/CLASS"):
        opened("./nowhere", dir=str(tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty has no images for train; they belong in train/CLASS/"):
        opened(tmp_path / "empty")
