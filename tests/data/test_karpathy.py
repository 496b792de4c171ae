"""Captions in the form of Karpathy's files, dataset_coco.json and dataset_flickr8k.json, made for the test."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from cs231n_jax import data
from cs231n_jax.data.text_config import TextConfig
from tests.data.conftest import png

COLOURS = ((200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0), (0, 200, 200))
SPLITS = ("train", "test", "restval", "val", "train")


def entry(number, coco):
    """As the files have them: the tokens are lower case without punctuation, and ids stand beside."""
    raw = [f"A picture, number {number}.", f"Number {number}!"]
    tokens = [["a", "picture", "number", str(number)], ["number", str(number)]]
    sentences = [
        {"tokens": tokens[i], "raw": raw[i], "imgid": number, "sentid": 2 * number + i} for i in range(len(raw))
    ]
    place = {"filepath": "val2014" if number % 2 else "train2014", "cocoid": 7 * number} if coco else {}
    about = {"imgid": number, "sentids": [each["sentid"] for each in sentences], "sentences": sentences}
    return {**place, "filename": f"{number}.png", "split": SPLITS[number], **about}


def written(folder, coco=True, change=lambda entries: None):
    """dataset_coco.json and its pictures, which lie in folders of their own where it is COCO; returns the file."""
    entries = [entry(number, coco) for number in range(len(SPLITS))]
    for number, each in enumerate(entries):
        path = folder / each.get("filepath", "") / each["filename"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(np.broadcast_to(np.array(COLOURS[number], np.uint8), (5, 5, 3))).getvalue())
    change(entries)
    file = folder / ("dataset_coco.json" if coco else "dataset_flickr8k.json")
    file.write_text(json.dumps({"images": entries, "dataset": "coco" if coco else "flickr8k"}))
    return file


def opened(name, part="train", **options):
    return data.open_source(data.DataConfig(name=str(name), **options), part)


def shown(source):
    """Of each caption the number that it names, and that of the picture beside it."""
    pixels = source[np.arange(len(source))]["image"][:, 0, 0]
    seen = [COLOURS.index(tuple(int(x) for x in pixel)) for pixel in pixels]
    return list(zip([int(text.strip(".!").split()[-1]) for text in source.texts["target"]], seen))


@pytest.mark.parametrize("coco", [True, False])
def test_each_split_has_its_pictures_with_all_their_captions(tmp_path, coco):
    file = written(tmp_path, coco)
    train, test = opened(file), opened(file, "eval")
    assert shown(train) == [(0, 0), (0, 0), (4, 4), (4, 4)]
    assert shown(test) == [(1, 1), (1, 1)]
    assert train.texts["target"][:2] == ("A picture, number 0.", "Number 0!")
    assert (train.info.split, test.info.split) == ("train", "test")
    assert shown(opened(file, "eval", eval_split="val")) == [(3, 3), (3, 3)]
    assert test.info.mean == train.info.mean == pytest.approx((200 / 510, 100 / 255, 100 / 255))
    assert test.noticed == {"unknown words in captions": 2}  # its number
    again = opened(file, text=TextConfig(captions=1))
    assert shown(again) == [(0, 0), (4, 4)]


def test_splits_are_joined_as_coco_is_trained_on(tmp_path):
    file = written(tmp_path)
    source = opened(file, train_split="train+restval")
    assert shown(source) == [(0, 0), (0, 0), (4, 4), (4, 4), (2, 2), (2, 2)]
    with pytest.raises(ValueError, match=r"dataset_coco\.json has no split 'restvall'; set data\.train_split"):
        opened(file, train_split="train+restvall")
    with pytest.raises(ValueError, match=r"data\.train_split='train\[:50%\]': parts of splits are for"):
        opened(file, train_split="train[:50%]")


def test_pictures_lie_where_data_dir_says_and_a_torn_one_is_black_and_counted(tmp_path):
    written(tmp_path / "pictures", coco=False)
    file = (tmp_path / "pictures" / "dataset_flickr8k.json").rename(tmp_path / "captions.json")
    with pytest.raises(FileNotFoundError, match=r"0\.png does not exist, which .*captions\.json lists in train: set"):
        opened(file)
    assert shown(opened(file, dir=str(tmp_path / "pictures"))) == [(0, 0), (0, 0), (4, 4), (4, 4)]
    torn = tmp_path / "pictures" / "4.png"
    torn.write_bytes(torn.read_bytes()[:40])
    source = opened(file, dir=str(tmp_path / "pictures"), image_size=3)
    assert source.noticed == {"pictures that cannot be decoded, black": 1}
    images = source[np.arange(4)]["image"]
    assert images.shape == (4, 3, 3, 3)
    assert not images[2:].any()
    assert images[:2].any()


def test_where_no_picture_can_be_decoded_they_are_black_if_their_size_is_given(tmp_path):
    file = written(tmp_path, coco=False)
    (tmp_path / "1.png").write_bytes(b"")
    source = opened(file, "eval", image_size=3)
    assert source.noticed["pictures that cannot be decoded, black"] == 1
    assert not source[np.arange(2)]["image"].any()
    with pytest.raises(ValueError, match=r"none of 1 pictures of .* from 0 on can be decoded; set data\.image_size"):
        opened(file, "eval")


@pytest.mark.parametrize(("form", "place"), [("AVIF", 81), ("DDS", 80), ("PNG", 40)])
def test_whatever_a_decoder_raises_a_damaged_picture_is_counted(tmp_path, form, place):
    file, content = written(tmp_path, coco=False), io.BytesIO()
    Image.new("RGB", (5, 5), COLOURS[4]).save(content, form)
    damaged = bytearray(content.getvalue())
    damaged[place] = 0
    (tmp_path / "4.png").write_bytes(damaged)
    assert opened(file).noticed == {"pictures that cannot be decoded, black": 1}


def test_without_a_raw_text_its_tokens_are_it_and_an_empty_one_counts(tmp_path):
    def change(entries):
        del entries[0]["sentences"][0]["raw"]
        entries[0]["sentences"][1]["raw"] = ""

    source = opened(written(tmp_path, change=change))
    assert source.texts["target"][:2] == ("a picture number 0", "")
    assert source.noticed == {"empty captions": 1}


@pytest.mark.parametrize("number", [0, 4])
def test_a_picture_that_nobody_has_described_is_left_out_and_counted(tmp_path, number):
    file = written(tmp_path, change=lambda entries: entries[number].update(sentences=[]))
    source, other = opened(file), {0: 4, 4: 0}[number]
    assert shown(source) == [(other, other), (other, other)]
    assert source.noticed == {"pictures without a caption left out": 1}


REFUSED = {
    "images.1. of .* has no 'split': give split": lambda entries: entries[1].pop("split"),
    "images.2. of .* has no 'tokens': give": lambda entries: entries[2]["sentences"].append({}),
    "images.3. of .* form .raw is None, not a text": lambda entries: entries[3]["sentences"][1].update(raw=None),
    "images.2. of .* form .tokens is 'a b', not a list": lambda entries: entries[2]["sentences"].append(
        {"tokens": "a b"}
    ),
    "images.1. of .* form .split is None, not a text": lambda entries: entries[1].update(split=None),
    "images.0. of .* is of another form": lambda entries: entries[0].update(sentences=None),
    "no picture of .* train has a caption": lambda entries: [each.update(sentences=[]) for each in entries],
    "has no split 'train'": lambda entries: [each.update(split="val") for each in entries],
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_of_another_form_is_named(tmp_path, message):
    file = written(tmp_path, change=REFUSED[message])
    with pytest.raises(ValueError, match=message):
        opened(file)


def test_a_byte_order_mark_is_no_text(tmp_path):
    file = written(tmp_path)
    file.write_text(file.read_text(), encoding="utf-8-sig")
    assert len(opened(file)) == 4


def test_other_files_are_named(tmp_path):
    for content in ("[]", "{}", "no json", '{"images": 3}'):
        (tmp_path / "other.json").write_text(content)
        with pytest.raises(ValueError, match=r"other\.json is no file of captions as Karpathy's"):
            opened(tmp_path / "other.json")
    with pytest.raises(FileNotFoundError, match=r"missing\.json does not exist"):
        opened(tmp_path / "missing.json")
