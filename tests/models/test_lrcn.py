"""The classifier of clips beside a slow one, frame by frame and step by step; its task scores clips and frames."""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import models
from cs231n_jax.config import Config, TrainConfig
from cs231n_jax.data import DataConfig
from cs231n_jax.models import ModelConfig, functional
from cs231n_jax.optim import OptimizerConfig
from cs231n_jax.tasks.classification import Classification
from cs231n_jax.train.assemble import assemble
from cs231n_jax.train.loop import Silent
from cs231n_jax.train.run import run
from cs231n_jax.train.sharding import MeshConfig
from tests.references import classifiers
from tests.rows import but_for

VIDEO = np.random.default_rng(0).standard_normal((3, 4, 9, 8, 2))
NARROW = {"widths": (3, 4), "fc": 6, "hidden": 5, "num_classes": 3, "batch_norm": False}


def network(**options):
    """Parameters in float64, biases moved away from their start."""
    model = models.create("lrcn", **{**NARROW, **options})
    params, _ = functional.init(model, 0, VIDEO.astype(np.float32))
    random = np.random.default_rng(1)
    return model, jax.tree.map(lambda a: jnp.asarray(np.float64(a) + 0.1 * random.standard_normal(a.shape)), params)


@functools.partial(jax.jit, static_argnums=0)
def features_of(model, params, video):
    return functional.apply(model, params, {}, video, method="features")[0]


CLIPS = [("lstm", "last"), ("gru", "average"), ("none", "last"), ("lstm", "average"), ("none", "average")]


@pytest.mark.parametrize(("cell", "clip"), but_for(CLIPS[:3], CLIPS))
def test_it_is_a_network_on_each_frame_and_a_layer_over_them(cell, clip, x64):
    model, params = network(cell=cell, clip=clip)
    features = features_of(model, params, VIDEO)
    plain = jax.tree.map(np.asarray, params)
    logits, frames = zip(*(classifiers.clip(cell, clip, video, plain) for video in VIDEO))
    np.testing.assert_allclose(features["logits"], logits, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(features["frame_logits"], frames, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cell", ["none", "lstm"])
def test_a_frame_is_judged_by_those_up_to_it_alone(cell, x64):
    model, params = network(cell=cell)
    changed = VIDEO.copy()
    changed[:, 2] += 1.0
    before, after = (features_of(model, params, x)["frame_logits"] for x in (VIDEO, changed))
    np.testing.assert_array_equal(before[:, :2], after[:, :2])
    assert np.all(np.abs(before[:, 2] - after[:, 2]).max(-1) > 1e-3)
    assert np.array_equal(before[:, 3], after[:, 3]) == (cell == "none")


def test_the_task_scores_clips_and_frames_and_each_clip_counts_once(x64):
    model, params = network(clip="last")
    task = Classification(model, (0.0,) * 2, (1.0,) * 2, dtype="float64")
    random, mask = np.random.default_rng(2), np.array([1, 0, 1], np.float32)
    batch = {"video": VIDEO, "label": random.integers(0, 3, 3), "frame_label": random.integers(0, 3, (3, 4))}
    batch = {name: jnp.asarray(value) for name, value in {**batch, "mask": mask}.items()}
    score = jax.jit(task.loss, static_argnames="train")
    loss, (_, metrics) = score(params, {}, batch, key=None, train=False)
    plain = jax.tree.map(np.asarray, params)
    found = [classifiers.clip("lstm", "last", VIDEO[i], plain) for i in (0, 2)]
    labels, frame_labels = (np.asarray(batch[name])[[0, 2]] for name in ("label", "frame_label"))
    own = np.mean([nats(logits, label) for (logits, _), label in zip(found, labels)])
    each = np.mean([nats(z, label) for (_, frames), row in zip(found, frame_labels) for z, label in zip(frames, row)])
    right = np.mean([frames.argmax(-1) == row for (_, frames), row in zip(found, frame_labels)])
    numbers = task.summarize(metrics)
    assert numbers["loss"] == pytest.approx(own, rel=1e-12)
    assert numbers["frame_loss"] == pytest.approx(each, rel=1e-12)
    assert numbers["frame_accuracy"] == pytest.approx(right, rel=1e-12)
    assert loss.compute() == pytest.approx(own, rel=1e-12)
    trained, _ = score(params, {}, batch, key=jax.random.key(0), train=True)
    assert trained.compute() == pytest.approx(own + each, rel=1e-12)


def nats(logits, label):
    return np.log(np.exp(logits).sum()) - logits[label]


def config_of(**changes):
    parts = {
        "model": ModelConfig(name="lrcn", options={"widths": (4, 8), "fc": 16, "hidden": 16, "clip": "last"}),
        "data": DataConfig(name="moving_shapes:8", eval_split="train", batch_size=8),
        "optimizer": OptimizerConfig(name="adam", learning_rate=0.01),
        "train": TrainConfig(steps="50", log_every="0", eval_every="0", save_every="0"),
        "mesh": MeshConfig(data=1),
    }
    return Config(**{**parts, **changes})


@pytest.mark.slow
def test_eight_clips_can_be_learned_by_heart(tmp_path):
    found = run(config_of(), tmp_path, {}, Silent(), time.time())["eval"]
    assert found["accuracy"] == 1
    assert found["frame_accuracy"] > 0.9


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": ModelConfig(name="mlp", options={"num_classes": 8})}, "mlp reads images, and moving_shapes:8 has"),
        ({"data": DataConfig(name="digits")}, "model lrcn reads videos, and digits has image"),
        ({"model": ModelConfig(name="lrcn", options={"cell": "cnn"})}, "option cell='cnn'.* one of"),
        ({"data": DataConfig(name="moving_shapes:8", batch_size=8, augment="cutout:2")}, "'cutout': videos take crop"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        assemble(config_of(**changes))


def test_clips_of_another_form_are_refused():
    model, params = network()
    for shape, message in (((3, 9, 8, 2), "takes clips"), ((3, 4, 3, 8, 2), "at least 4×4")):
        with pytest.raises(ValueError, match=message):
            functional.apply(model, params, {}, jnp.zeros(shape))
