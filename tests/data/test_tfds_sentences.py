"""Prepared sets of texts, translations and clips: made for the test, and the real ones where they are."""

import json
from pathlib import Path

import numpy as np
import pytest

from cs231n_jax import data
from cs231n_jax.data import buckets, clips, files, vocabulary
from cs231n_jax.data.text_config import TextConfig, Tokens
from tests.data.conftest import png


def opened(name, part="train", text=None, **options):
    return data.open_source(data.DataConfig(name=name, text=text or TextConfig(), **options), part)


def everything(source):
    return source[np.arange(len(source))]


@pytest.fixture
def prepare(tmp_path):
    """Returns prepare(features, examples): the directory of a set TINY with these as train and test."""
    import tensorflow_datasets as tfds

    def write(features, examples):
        class Tiny(tfds.core.GeneratorBasedBuilder, skip_registration=True):
            """Made for tests."""

            VERSION = tfds.core.Version("1.0.0")

            def _info(self):
                return tfds.core.DatasetInfo(builder=self, features=features)

            def _split_generators(self, manager):
                return {split: self._generate_examples() for split in ("train", "test")}

            def _generate_examples(self):
                yield from enumerate(examples)

        Tiny(data_dir=tmp_path, file_format="array_record").download_and_prepare()
        return str(tmp_path)

    return write


def test_labelled_texts(prepare):
    import tensorflow_datasets as tfds

    features = {"text": tfds.features.Text(), "label": tfds.features.ClassLabel(names=["bad", "good"])}
    directory = prepare(
        tfds.features.FeaturesDict(features), [{"text": "Größe, ja", "label": 1}, {"text": "nein", "label": 0}]
    )
    source = opened("tiny", "eval", dir=directory)
    assert source.info.classes == ("bad", "good")
    assert {text: int(label) for text, label in zip(source.texts["token"], everything(source)["label"])} == {
        "Größe, ja": 1,
        "nein": 0,
    }
    with pytest.raises(ValueError, match=r"data.text.languages is for translations; leave it empty for tiny"):
        opened("tiny", dir=directory, text=TextConfig(languages="de-en"))


def test_translations_in_both_directions(prepare):
    import tensorflow_datasets as tfds

    features = tfds.features.Translation(languages=["de", "en"])
    directory = prepare(features, [{"de": "ein Hund", "en": "a dog"}, {"de": "zwei", "en": "two"}])
    there, back = (opened("tiny", dir=directory, text=TextConfig(languages=way)) for way in ("", "en-de"))
    assert set(zip(there.texts["source"], there.texts["target"])) == {("ein Hund", "a dog"), ("zwei", "two")}
    assert back.texts == {"source": there.texts["target"], "target": there.texts["source"]}
    with pytest.raises(ValueError, match="languages is 'de-fr', but tiny has de-en and en-de: choose one"):
        opened("tiny", dir=directory, text=TextConfig(languages="de-fr"))


def test_clips(prepare):
    import tensorflow_datasets as tfds

    features = {
        "video": tfds.features.Sequence(tfds.features.Image(shape=(4, 6, 1), encoding_format="png"), length=3),
        "label": tfds.features.ClassLabel(names=["left", "right"]),
    }
    clips = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 6, 1), dtype=np.uint8)
    examples = [{"video": [png(frame[..., 0]) for frame in clip], "label": i} for i, clip in enumerate(clips)]
    batch = everything(opened("tiny", dir=prepare(tfds.features.FeaturesDict(features), examples)))
    order = np.argsort(batch["label"])
    np.testing.assert_array_equal(batch["video"][order], clips)
    np.testing.assert_array_equal(batch["frame_label"], np.repeat(batch["label"][:, None], 3, axis=1))


def videos(prepare, lengths, height=4):
    """A set with TFDS's own feature Video, and its clips.

    That feature can be made with TensorFlow alone, but what it stores is this sequence; its name is written afterwards.
    """
    import tensorflow_datasets as tfds
    from google.protobuf import json_format
    from tensorflow_datasets.core.proto import feature_pb2

    random = np.random.default_rng(0)
    clips = [random.integers(0, 256, (n, height + n % 2, 6, 3), dtype=np.uint8) for n in lengths]
    features = {
        "video": tfds.features.Sequence(tfds.features.Image(shape=(None, None, 3))),
        "label": tfds.features.ClassLabel(num_classes=len(clips)),
    }
    examples = [{"video": [png(frame) for frame in clip], "label": i} for i, clip in enumerate(clips)]
    directory = prepare(tfds.features.FeaturesDict(features), examples)
    shape = feature_pb2.Shape(dimensions=[-1, -1, -1, 3])
    content = feature_pb2.VideoFeature(shape=shape, dtype="uint8", encoding_format="png")
    name = "tensorflow_datasets.core.features.video_feature.Video"
    video = json_format.MessageToDict(feature_pb2.Feature(python_class_name=name, video=content))
    path = Path(directory, "tiny", "1.0.0", "features.json")
    described = json.loads(path.read_text())
    described["featuresDict"]["features"]["video"] = video
    path.write_text(json.dumps(described))
    return directory, clips


def test_videos_of_unequal_length_give_as_many_frames_of_each(prepare):
    """The middle of each third, cut to a square and resized; a short clip has frames more than once."""
    directory, whole = videos(prepare, (3, 7, 9, 1, 20, *([3] * 17)))
    batch = everything(opened("tiny", dir=directory, frames=3, image_size=4))
    assert batch["video"].shape == (22, 3, 4, 4, 3)
    taken = {0: [0, 1, 2], 1: [1, 3, 5], 2: [1, 4, 7], 3: [0, 0, 0], 4: [3, 10, 16]}
    for clip, label in zip(batch["video"], batch["label"]):
        wanted = [files.fit(whole[label][t], 4) for t in taken.get(int(label), [0, 1, 2])]
        np.testing.assert_array_equal(clip, wanted)
    np.testing.assert_array_equal(batch["frame_label"], np.repeat(batch["label"][:, None], 3, axis=1))


def test_videos_that_differ_say_what_to_set(prepare):
    """Also where clips far from each other differ."""
    directory, _ = videos(prepare, [3] * 20 + [8])
    with pytest.raises(ValueError, match=r"the clips of tiny have from 3 to 8 frames; set data.frames to the number"):
        opened("tiny", dir=directory)
    with pytest.raises(ValueError, match=r"the videos of tiny differ in size; set data.image_size to the size"):
        opened("tiny", dir=directory, frames=2)
    assert opened("tiny", dir=directory, frames=2, image_size=5).info.shapes["video"] == (2, 5, 5, 3)


def test_a_video_that_ffmpeg_did_not_decode_is_named(prepare):
    directory, _ = videos(prepare, (3, 0))
    with pytest.raises(ValueError, match=r"tiny has a clip without frames: ffmpeg could not decode .*; install it"):
        opened("tiny", dir=directory, frames=2)


@pytest.mark.parametrize("damage", ["cannot identify image file", "image file is truncated"])
def test_a_damaged_frame_is_named_with_its_clip(prepare, monkeypatch, damage):
    """Pictures are whole when a set is prepared: what is damaged here is what is read."""
    from tensorflow_datasets import features

    directory, whole = videos(prepare, [3] * 20)
    read, order = features.Image.decode_example_np, everything(opened("tiny", dir=directory))["label"]
    at = int(np.flatnonzero(order == 18)[0])

    def damaged(feature, encoded):
        if encoded == png(whole[18][1]).getvalue():
            encoded = b"\0" if "identify" in damage else encoded[: len(encoded) // 2]
        return read(feature, encoded)

    monkeypatch.setattr(features.Image, "decode_example_np", damaged)
    with pytest.raises(ValueError, match=damage) as caught:
        opened("tiny", dir=directory, image_size=4)
    message = str(caught.value)
    assert message.startswith(f"tiny, split train: clip {at} of 0 … 19 cannot be decoded (frame 1 of 0 … 2: {damage}")
    assert f"delete {directory}/tiny/1.0.0 and prepare the set again: python -c" in message
    assert "object at" not in message


@pytest.mark.parametrize(("length", "count"), [(1, 5), (4, 4), (5, 4), (186, 16), (7, 1), (7, 0)])
def test_frames_are_spaced_evenly(length, count):
    """Each is the middle of its part."""
    found = clips.places(length, count)
    assert len(found) == (count or length)
    middles = (np.arange(count or length) + 0.5) * length / (count or length)
    np.testing.assert_array_less(np.abs(found + 0.5 - middles), 0.5 + 1e-9)


def test_frames_are_refused_for_sets_without_clips(prepare):
    import tensorflow_datasets as tfds

    features = tfds.features.Translation(languages=["de", "en"])
    directory = prepare(features, [{"de": "ein Hund", "en": "a dog"}])
    with pytest.raises(ValueError, match=r"data.frames is for sets of clips; set it to 0 for tiny"):
        opened("tiny", dir=directory, frames=2)


def test_the_options_of_text_are_refused_for_images():
    with pytest.raises(ValueError, match=r"data.text is for sets of sentences; leave all of it as it is for digits"):
        opened("digits", text=TextConfig(min_count=2))


def real(directory, name):
    if not Path(directory, name).is_dir():
        pytest.skip(f"TFDS_DATA_DIR has no prepared {name}")
    return str(directory)


def test_real_sst2(tfds_dir):
    directory = real(tfds_dir, "glue")
    train, evaluation = (opened("glue/sst2", part, dir=directory) for part in ("train", "eval"))
    assert (len(train), len(evaluation)) == (6920, 1821)
    assert train.info.classes == ("negative", "positive")
    assert np.bincount(everything(evaluation)["label"]).tolist() == [912, 909]
    assert len(opened("glue/sst2", "eval", dir=directory, eval_split="validation")) == 872


def test_real_imdb(tfds_dir):
    source = opened("imdb_reviews", dir=real(tfds_dir, "imdb_reviews"), text=TextConfig(longest=100, lowercase=True))
    assert len(source) == 2500
    assert source.info.shapes["token"] == (100,)
    assert np.bincount(everything(source)["label"]).tolist() == [1250, 1250]


@pytest.mark.slow
def test_real_multi30k(tfds_dir):
    """Printed: the share of padding in one bucket and in three."""
    directory = real(tfds_dir, "multi30k_translate")
    text = TextConfig(lowercase=True, min_count=2, buckets="14,20,50")
    train, evaluation = (opened("multi30k_translate", part, text, dir=directory) for part in ("train", "eval"))
    assert (len(train), len(evaluation)) == (29000, 1000)
    assert "a man in an orange hat starring at something." in map(str.lower, evaluation.texts["target"])
    batch, words = everything(train), train.info.vocabularies
    for name in ("source", "target"):
        for row, length, sentence in zip(batch[name][:200], batch[f"{name}_length"], train.texts[name]):
            assert words[name].decode(row[:length]) == words[name].decode(words[name].encode(sentence))
    pipeline = data.Pipeline(train, 128, 0)
    rows = np.stack([pipeline.indices(step) for step in range(pipeline.steps_per_epoch)])
    padded = [train.info.buckets[pipeline.bucket(step)] for step in range(len(rows))]
    both = (batch["source_length"] + batch["target_length"])[rows]
    one, three = (buckets.waste(both, 2 * np.repeat(width, 128)) for width in ([50] * len(rows), padded))
    print(f"multi30k, share of padding: {one:.3f} in one bucket of 50, {three:.3f} in buckets of 14, 20, 50")
    assert three < 0.6 * one


def test_real_byte_pairs(tfds_dir):
    pytest.importorskip("tokenizers")
    text = TextConfig(tokens=Tokens.BYTE_PAIRS, most=2000, lowercase=True)
    source = opened("glue/sst2", dir=real(tfds_dir, "glue"), text=text)
    words = source.info.vocabularies["token"]
    assert words.size == 2000
    assert all(words.decode(words.encode(sentence)) == sentence.lower() for sentence in source.texts["token"][:500])
    assert vocabulary.UNKNOWN in words.specials


def test_real_moving_digits(tfds_dir):
    directory = real(tfds_dir, "moving_digits")
    train, evaluation = (opened("moving_digits", part, dir=directory) for part in ("train", "eval"))
    assert (len(train), len(evaluation)) == (600, 160)
    assert train.info.shapes == {"video": (10, 32, 32, 1), "label": (), "frame_label": (10,)}
    assert train.info.num_classes == 8
    assert 0 < train.info.mean[0] < 0.5


def pictures(prepare, feature, examples, encoded):
    """A set whose pictures are the encoded bytes, some of which may be none."""
    import tensorflow_datasets as tfds

    image = tfds.features.Image(shape=(None, None, 3), encoding_format="png")
    features = tfds.features.FeaturesDict({"image": image, **feature})
    image.encode_example = lambda example: example  # bytes go in as they are, as those that rot on a disk
    return prepare(features, [{"image": data, **example} for data, example in zip(encoded, examples, strict=True)])


def coloured(colour, shape=(4, 6)):
    return png(np.broadcast_to(np.array(colour, np.uint8), (*shape, 3))).getvalue()


RED, TORN = coloured((200, 0, 0)), coloured((0, 0, 200))[:40]


def test_captions_of_pictures_one_of_them_torn(prepare):
    import tensorflow_datasets as tfds

    feature = {"captions": tfds.features.Sequence({"text": tfds.features.Text()})}
    said = [{"captions": [{"text": "A red one"}, {"text": ""}]}, {"captions": [{"text": "a blue one"}]}]
    directory = pictures(prepare, feature, said, (RED, TORN))
    for part in ("train", "eval"):
        source = opened("tiny", part, dir=directory, text=TextConfig(lowercase=True))
        batch, words = everything(source), source.info.vocabularies["target"]
        by_text = dict(zip(source.texts["target"], batch["image"]))
        assert by_text["A red one"][0, 0].tolist() == by_text[""][0, 0].tolist() == [200, 0, 0]
        assert not by_text["a blue one"].any()
        assert source.noticed == {"pictures that cannot be decoded, black": 1, "empty captions": 1}
        at = source.texts["target"].index("")
        assert batch["target"][at, :2].tolist() == [words.specials[vocabulary.BEGIN], words.specials[vocabulary.END]]
    seldom = opened("tiny", dir=directory, text=TextConfig(lowercase=True, min_count=2))  # a, one
    assert seldom.noticed["unknown words in captions"] == 2


def test_captions_in_the_form_of_coco_captions(prepare):
    import tensorflow_datasets as tfds

    box = {"bbox": tfds.features.BBoxFeature(), "is_crowd": np.bool_}
    feature = {
        "captions": tfds.features.Sequence({"id": np.int64, "text": tfds.features.Text()}),
        "image/filename": tfds.features.Text(),
        "image/id": np.int64,
        "objects": tfds.features.Sequence(box),
    }
    things = [{"bbox": tfds.features.BBox(0.0, 0.0, 1.0, 1.0), "is_crowd": False}]
    texts = ([(7, "a red one"), (9, "one in red")], [(8, "a blue one")])
    said = [
        {
            "captions": [{"id": i, "text": text} for i, text in some],
            "image/filename": f"{number}.jpg",
            "image/id": number,
            "objects": things[:number],
        }
        for number, some in enumerate(texts)
    ]
    source = opened("tiny", dir=pictures(prepare, feature, said, (RED, coloured((0, 0, 200)))))
    colours = {text: pixels[0, 0].tolist() for text, pixels in zip(source.texts["target"], everything(source)["image"])}
    assert colours == {"a red one": [200, 0, 0], "one in red": [200, 0, 0], "a blue one": [0, 0, 200]}


@pytest.mark.parametrize("form", ["qa", "question_answer"])
def test_questions_about_pictures(prepare, form):
    """In the form of clevr, which also lists the things of each picture, and in that of sets with `qa`."""
    import tensorflow_datasets as tfds

    feature = {form: tfds.features.Sequence({name: tfds.features.Text() for name in ("question", "answer")})}
    things = {
        "objects": tfds.features.Sequence(
            {"color": tfds.features.Text(), "3d_coords": tfds.features.Tensor(shape=(3,), dtype=np.float32)}
        )
    }
    feature |= things if form == "question_answer" else {}
    thing = {"color": "red", "3d_coords": np.zeros(3, np.float32)}
    more = {"objects": [thing, thing]} if form == "question_answer" else {}
    asked = [("Is it red?", "yes"), ("what color is it", "red"), ("How many are there?", "1"), ("where is it", "here")]
    said = [{form: [{"question": q, "answer": a} for q, a in some], **more} for some in (asked[:3], asked[3:])]
    directory = pictures(prepare, feature, said, (RED, RED))
    source = opened("tiny", dir=directory)
    assert dict(zip(source.texts["token"], source.texts["label"])) == dict(asked)
    kinds = dict(zip(source.texts["token"], source.types))
    assert [kinds[question] for question, _ in asked] == ["yes or no", "colour", "count", "other"]
    assert source.info.classes == ("1", "here", "red", "yes")


def test_a_picture_without_a_caption_is_left_out_and_counted(prepare):
    import tensorflow_datasets as tfds

    feature = {"captions": tfds.features.Sequence({"text": tfds.features.Text()})}
    said = [{"captions": texts} for texts in ([], [{"text": "a red one"}], [])]
    directory = pictures(prepare, feature, said, (RED, RED, RED))
    source = opened("tiny", dir=directory)
    assert source.texts["target"] == ("a red one",)
    assert source.noticed == {"pictures without a caption left out": 2}


def test_questions_that_several_people_answered(prepare):
    """The commonest answer is learned, and all of them are kept."""
    import tensorflow_datasets as tfds

    feature = {"question": tfds.features.Text(), "answers": tfds.features.Sequence(tfds.features.Text())}
    asked = {
        "Is it red?": ("no", "yes", "yes"),
        "what color is it": ("red", "pink"),
        "is it old": ("yes", "no", "no"),
        "why": (),
    }
    said = [{"question": question, "answers": list(answers)} for question, answers in asked.items()]
    directory = pictures(prepare, feature, said, (RED,) * len(said))
    source = opened("tiny", dir=directory)
    assert dict(zip(source.texts["token"], source.people)) == {**asked, "why": ("",)}
    assert dict(zip(source.texts["token"], source.texts["label"])) == dict(zip(asked, ("yes", "red", "no", "")))
    assert source.info.classes == ("", "no", "red", "yes")
    assert source.noticed == {"empty answers": 1}


def test_pictures_of_several_sizes_need_one(prepare):
    import tensorflow_datasets as tfds

    feature = {"captions": tfds.features.Sequence({"text": tfds.features.Text()})}
    said = [{"captions": [{"text": "one"}]}] * 2
    directory = pictures(prepare, feature, said, (RED, coloured((0, 0, 0), (5, 5))))
    with pytest.raises(ValueError, match=r"the images of tiny differ in size; set data\.image_size"):
        opened("tiny", dir=directory)
    assert everything(opened("tiny", dir=directory, image_size=3))["image"].shape == (2, 3, 3, 3)
