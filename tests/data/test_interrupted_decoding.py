"""Pictures that were interrupted while they were decoded: what there is stays, and the next call goes on from it."""

import json

import numpy as np
import pytest

from cs231n_jax import data
from cs231n_jax.config import Config
from cs231n_jax.data import cache, files, karpathy, progress, tfds_source
from cs231n_jax.train.assemble import assemble
from cs231n_jax.train.signals import Interrupted
from tests.data.conftest import png

AT_ONCE = 3  # pictures of a chunk, of twenty
DONE = 2  # chunks


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch):
    monkeypatch.setattr(files, "CHUNK", AT_ONCE)
    monkeypatch.setattr(karpathy, "CHUNK", AT_ONCE)
    monkeypatch.setitem(tfds_source.CHUNK, "image", AT_ONCE)


def npz(tmp_path, images, labels):
    np.savez(tmp_path / "some.npz", x_train=images, y_train=labels, x_test=images[:3], y_test=labels[:3])
    return {"name": str(tmp_path / "some.npz")}


def folder(tmp_path, images, labels):
    for number, (image, label) in enumerate(zip(images, labels)):
        place = tmp_path / "photos" / "train" / f"class{label}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.png").write_bytes(png(image).getvalue())
    (tmp_path / "photos" / "test").symlink_to("train")
    return {"name": str(tmp_path / "photos")}


def captions(tmp_path, images, labels):
    entries = []
    for number, image in enumerate(images):
        (tmp_path / f"{number}.png").write_bytes(png(image).getvalue())
        entries.append(
            {"split": "train", "filename": f"{number}.png", "sentences": [{"raw": f"class {labels[number]}"}]}
        )
    (tmp_path / "dataset.json").write_text(json.dumps({"images": [*entries, {**entries[0], "split": "test"}]}))
    return {"name": str(tmp_path / "dataset.json")}


@pytest.fixture(params=[npz, folder, captions, "tfds"])
def some(request, tmp_path, images):
    """The config of data of each kind that is decoded."""
    if request.param == "tfds":
        return {"name": "tiny", "dir": str(request.getfixturevalue("write_tfds")(*images, shape=(4, 6, 3)))}
    return request.param(tmp_path, *images)


class Watch:
    """Says after so many chunks that it is enough."""

    def __init__(self, chunks):
        self.left = chunks

    def __call__(self):
        self.left -= 1
        return self.left <= 0


def everything(source):
    return source[np.arange(len(source))]


def test_the_next_opening_goes_on_and_makes_the_same_bytes(some, cache_dir, tmp_path, monkeypatch):
    config, added, add = data.DataConfig(**some, batch_size=2), [], cache._Writer.add
    monkeypatch.setattr(cache._Writer, "add", lambda self, chunk: (added.append(self.count), add(self, chunk)))
    for _ in range(2):
        with pytest.raises(Interrupted, match="while pictures were decoded; those that are done are kept"):
            assemble(Config(data=config), Watch(DONE))
    assert added == list(range(0, 2 * DONE * AT_ONCE, AT_ONCE))
    assert not list((cache_dir / "data").glob("*/meta.json"))
    train = data.open_source(config, "train")
    assert added == list(range(0, 20, AT_ONCE))
    assert not list((cache_dir / "data").glob("*.part-*"))
    monkeypatch.setenv("CS231N_JAX_CACHE", str(tmp_path / "another"))
    whole = data.open_source(config, "train")
    assert train.info == whole.info  # the fingerprint, and the mean and std, which count the pixels before the mark
    for name, array in everything(whole).items():
        np.testing.assert_array_equal(everything(train)[name], array)


def test_what_is_left_to_decode_may_be_damaged_all_of_it(cache_dir, tmp_path, images):
    some = captions(tmp_path, *images)
    for number in (18, 19):  # the last chunk
        (tmp_path / f"{number}.png").write_bytes(b"torn")
    config = data.DataConfig(**some, image_size=4, batch_size=2)
    with pytest.raises(Interrupted):
        assemble(Config(data=config), Watch(20 // AT_ONCE))
    train = data.open_source(config, "train")
    assert train.noticed == {"pictures that cannot be decoded, black": 2}
    assert not everything(train)["image"][18:].any()


def test_stored_pictures_are_read_from_any_chunk_on(write_tfds, images):
    """As those of sets with captions are, before they are decoded."""
    length, chunks = tfds_source.undecoded(write_tfds(*images, shape=(4, 6, 3)) / "tiny" / "1.2.0", "train")
    stored = [record["image"] for chunk in chunks(0) for record in chunk]
    assert len(stored) == length == 20
    assert [record["image"] for chunk in chunks(2 * AT_ONCE) for record in chunk] == stored[2 * AT_ONCE :]


def test_what_is_watched_is_so_inside_alone():
    asked = []
    with progress.watched(lambda: asked.append("outer")):
        with pytest.raises(KeyError), progress.watched(lambda: {}["inner"]):
            progress.look()
        progress.look()
    progress.look()
    assert asked == ["outer"]
