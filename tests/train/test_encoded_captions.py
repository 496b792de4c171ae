"""Captions of pictures that a frozen network has looked at: trained, decoded, and what is refused."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from cs231n_jax import models
from cs231n_jax.config import Config, TrainConfig
from cs231n_jax.data import DataConfig, Normalization, open_source
from cs231n_jax.interop import files
from cs231n_jax.models import ModelConfig, functional
from cs231n_jax.models.base import stage_of
from cs231n_jax.optim import OptimizerConfig
from cs231n_jax.tasks.base import TaskConfig
from cs231n_jax.train import description_page, encoder, generate, generate_many, own_pictures
from cs231n_jax.train.assemble import assemble
from cs231n_jax.train.encoder import EncoderConfig
from cs231n_jax.train.initial import InitialConfig
from cs231n_jax.train.loop import Loop, Silent
from cs231n_jax.train.run import run
from cs231n_jax.train.sharding import MeshConfig
from cs231n_jax.train.signals import StopRequest
from tests import pages

NARROW = {"width": 4}


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    monkeypatch.setenv("CS231N_JAX_CACHE", str(tmp_path / "cache"))
    variables = functional.init(models.create("resnet8", **NARROW), 0, jnp.zeros((1, 64, 64, 3)))
    files.write(tmp_path / "weights.npz", files.to_flat(*variables))
    return tmp_path


def captions(workdir, name="attention_captioner", **fields) -> Config:
    weights = str(workdir / "weights.npz")
    seen = {"model": "resnet8", "options": NARROW, "weights": weights, "stage": "stage3"}
    return Config(
        task=TaskConfig(name="captioning", attention_spread=float(name == "attention_captioner")),
        model=ModelConfig(name=name, options={"hidden": 6, "embedding": 4, "num_classes": 25}),
        data=DataConfig(name="scenes:20", batch_size=20, normalize=Normalization.IMAGENET),
        encoder=EncoderConfig(**{**seen, **fields}),
        train=TrainConfig(steps="2", log_every="1"),
        mesh=MeshConfig(data=1),
    )


@pytest.mark.slow
@pytest.mark.parametrize(("name", "pooled"), [("attention_captioner", False), ("captioner_lstm", True)])
def test_a_captioner_learns_from_features_and_describes_each_picture(workdir, name, pooled, monkeypatch):
    config = captions(workdir, name, pooled=pooled, scale=0.5)
    result = run(config, workdir / "run", {}, Silent(), time.time())
    assert np.isfinite(result["eval"]["loss"])
    shape = (20, 16) if pooled else (20, 16, 16, 16)
    assert assemble(config).pipeline.batch(0)["image"].shape == shape
    monkeypatch.setattr(encoder, "BATCH", 0)  # nothing is computed any more
    found = generate_many.generate_split(workdir / "run", "test", generate_many.Settings(beam=2, length=6))
    assert len(found.texts) == len(np.unique(assemble(config).eval_source.owner))
    assert {"bleu-1", "bleu-4", "cider-d"} <= found.scores.keys()


@pytest.mark.slow
@pytest.mark.parametrize("centered", [False, True])
def test_a_picture_of_a_users_own_is_described_as_the_same_one_in_a_split(workdir, centered):
    """Alone, in a list, and on the page, which shows the picture itself."""
    config = captions(workdir, centered=centered)
    run(config, workdir / "run", {}, Silent(), time.time())
    plain, settings = open_source(config.data, "eval"), generate_many.Settings(beam=2, length=6)
    paths = [str(workdir / f"{number}.png") for number in range(3)]
    for image, path in zip(plain.images, paths):
        Image.fromarray(image).save(path)
    expected = generate_many.generate_split(workdir / "run", "test", settings).texts[:3]
    assert generate_many.generate_texts(workdir / "run", paths, settings).texts == expected
    _, (alone, *_) = generate.generate_snapshot(workdir / "run", generate.Settings(prompt=paths[1], beam=2, length=6))
    assert alone.text == expected[1]
    where = description_page.Page(workdir / "page.html", 2)
    _, shown = pages.read(description_page.of_files(workdir / "run", paths, settings, where).read_text("utf-8"))
    assert [one.caption for one in shown] == [text or "(nothing)" for text in expected[:2]]
    for one, image in zip(shown, plain.images):
        np.testing.assert_array_equal(pages.unpacked(one.picture), image)


def test_what_is_no_picture_is_refused_by_its_name(workdir):
    (workdir / "photo.png").write_text("no picture")
    texts = captions(workdir)
    texts.data.name = "sentiment_grammar:40"
    for config, paths, message in (
        (captions(workdir), ["photo.png"], "photo.png cannot be read as an image"),
        (captions(workdir), ["nothing.png"], "nothing.png cannot be read as an image .*No such file"),
        (captions(workdir), [], "nothing to look at: give at least one file"),
        (texts, ["photo.png"], "has token, length, label and no pictures for a network to look at"),
        (Config(), ["photo.png"], "let its task read the files"),
    ):
        with pytest.raises(ValueError, match=message) as refusal:
            own_pictures.looked_at(config, [str(workdir / path) for path in paths])
        assert "\n" not in str(refusal.value)
    with pytest.raises(ValueError, match="reads features of an encoder, and photo"):
        assemble(captions(workdir)).task.generation().read("photo.png")


@pytest.mark.slow
def test_a_backbone_begins_as_in_the_file_and_is_trained_from_a_given_update_on(workdir):
    """The published weights in the part "backbone" of a captioner; frozen for an update, then at a rate of its own."""
    params, state = functional.init(models.create("lenet5"), 3, jnp.zeros((1, 64, 64, 3)))
    files.write(workdir / "lenet5.npz", files.to_flat(params, state))
    config = captions(workdir)
    config.encoder = EncoderConfig()
    config.model.options |= {"backbone": "lenet5", "stage": "stage2"}
    config.initial = InitialConfig(weights=str(workdir / "lenet5.npz"), into="backbone")
    groups = {"rate_paths": ("^backbone/",), "rate_factors": (0.1,), "rate_starts": ("1",)}
    config.optimizer = OptimizerConfig(name="adam", learning_rate=1e-3, **groups)
    after = {0: jax.device_get(assemble(config).new_state().params)}
    for until in (1, 2):
        with StopRequest() as stop:
            loop = Loop(assemble(config), workdir / f"run{until}", Silent(), stop, time.time())
            loop.workdir.mkdir()
            after[until] = jax.device_get(loop.run(until).params)
    kernel = np.asarray(params["stage1_conv"]["kernel"])
    found = [after[step]["backbone"]["stage1_conv"]["kernel"] for step in (0, 1, 2)]
    assert found[0].tobytes() == found[1].tobytes() == kernel.tobytes()
    assert 0 < np.abs(found[2] - kernel).max() <= 1.01e-4  # Adam's first step at a tenth of the rate
    assert set(after[0]["backbone"]) == {name for name in params if stage_of(name) in ("stage1", "stage2")}
    assert (after[1]["head"]["kernel"] != after[0]["head"]["kernel"]).any()
