"""The language-modelling task: loss and metrics by hand, its dtypes, what it refuses, members and their averages."""

import json
import math
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax.config import Config, TrainConfig
from cs231n_jax.data import DataConfig
from cs231n_jax.metrics import Mean
from cs231n_jax.models import ModelConfig, create
from cs231n_jax.optim import OptimizerConfig
from cs231n_jax.tasks.base import Loss, TaskConfig
from cs231n_jax.tasks.language_modelling import LanguageModelling
from cs231n_jax.train import sharding
from cs231n_jax.train.assemble import assemble
from cs231n_jax.train.evaluate import evaluate_snapshot
from cs231n_jax.train.run import run
from cs231n_jax.train.snapshots import SnapshotConfig

N, T, V = 3, 6, 11


def made(dtype="float32", **options):
    task = LanguageModelling(create("char_lm", hidden=8, num_classes=V), dtype=dtype, **options)
    random = np.random.default_rng(0)
    batch = {name: jnp.asarray(random.integers(0, V, (N, T)), jnp.int32) for name in ("token", "target")}
    batch |= {"start": jnp.ones(N, bool), "counted": jnp.asarray(random.random((N, T)) < 0.7)}
    return task, *task.init(0, batch), batch


@pytest.mark.parametrize("mask", [None, (1.0, 0.0, 1.0)])
def test_loss_and_metrics_by_hand(mask, x64):
    task, params, state, batch = made("float64", label_smoothing=0.1)
    batch = batch if mask is None else {**batch, "mask": jnp.asarray(mask, jnp.float32)}
    logits, score = np.asarray(jax.jit(task.predict)(params, state, batch)), jax.jit(task.loss, static_argnames="train")
    counted = np.asarray(batch["counted"]) * (np.ones(N) if mask is None else np.asarray(mask))[:, None]
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    nats = -np.take_along_axis(log_p, np.asarray(batch["target"])[..., None], -1)[..., 0]
    mean = (nats * counted).sum() / counted.sum()
    _, (_, metrics) = score(params, state, batch, key=None, train=False)
    found = task.summarize(jax.device_get(metrics))
    right = ((logits.argmax(-1) == np.asarray(batch["target"])) * counted).sum() / counted.sum()
    expected = {"loss": mean, "perplexity": math.exp(mean), "bits": mean / math.log(2), "accuracy": right}
    assert found == pytest.approx(expected, rel=1e-12)
    assert float(metrics["loss"].count) == counted.sum()
    smooth, _ = score(params, state, batch, key=jax.random.key(0), train=True)
    by_hand = ((0.9 * nats - 0.1 * log_p.mean(-1)) * counted).sum() / counted.sum()
    assert smooth.compute() == pytest.approx(by_hand, rel=1e-12)


def test_the_perplexity_of_a_loss_beyond_numbers_is_finite():
    far = Mean(np.float32(1e4), np.float32(1))
    assert math.isfinite(made()[0].summarize({"loss": far, "accuracy": far})["perplexity"])


def test_all_is_ln_v_with_a_zeroed_head():
    task, params, state, batch = made()
    params = {**params, "head": jax.tree.map(jnp.zeros_like, params["head"])}
    loss, _ = task.loss(params, state, batch, key=jax.random.key(0), train=True)
    assert loss.compute() == pytest.approx(math.log(V), rel=1e-6)


def test_in_bfloat16_parameters_gradients_loss_and_carry_stay_in_float32():
    task, params, state, batch = made("bfloat16")
    full = jax.jit(made()[0].predict)(params, state, batch)

    def loss(params):
        mean, (new, _) = task.loss(params, state, batch, key=jax.random.key(0), train=True)
        return mean.total, new

    (total, new), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    assert {leaf.dtype for leaf in jax.tree.leaves((total, new, grads))} == {jnp.dtype("float32")}
    half = jax.jit(task.predict)(params, state, batch)
    assert 0 < np.abs(half - full).max() < 0.02  # 2^-8 a rounding, of numbers below 1


def config_of(**changes):
    parts = {
        "task": TaskConfig(name="language_modelling"),
        "model": ModelConfig(name="char_lm", options={"hidden": 8}),
        "data": DataConfig(name="python_docs", batch_size=16, window=8),
        "optimizer": OptimizerConfig(name="adam", learning_rate=0.01),
        "train": TrainConfig(steps="4", log_every="2", eval_every="0", save_every="0"),
        "mesh": sharding.MeshConfig(data=1),
    }
    return Config(**{**parts, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model": ModelConfig(name="char_lm", options={"cell": "gru2"})},
            "option cell=.gru2. .* one of",
        ),
        ({"model": ModelConfig(name="char_lm", options={"num_classes": 5})}, "num_classes=97"),
        ({"model": ModelConfig(name="mlp")}, "model mlp reads images, and python_docs has token.*language_modelling"),
        ({"task": TaskConfig()}, "task classification reads labels, and python_docs has token"),
        ({"data": DataConfig()}, "task language_modelling reads starts, and digits has image.*classification"),
        ({"task": TaskConfig(name="language_modelling", loss=Loss.SVM, l2=1.0)}, "does not read task.loss, task.l2"),
        (
            {"data": DataConfig(name="python_docs", batch_size=16, window=8, augment="flip")},
            "does not read data.augment",
        ),
        ({"data": DataConfig(name="python_docs", batch_size=16)}, "data.window is 0, and python_docs is text"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        assemble(config_of(**changes))


class Silent:
    """A reporter that says nothing."""

    def start(self, done, total):
        """Nothing."""

    def advance(self, done):
        """Nothing."""

    def line(self, text):
        """Nothing."""


@pytest.mark.slow
def test_members_are_compared_and_averaged_character_by_character(tmp_path):
    result = run(config_of(snapshots=SnapshotConfig(members=2)), tmp_path / "run", {}, Silent(), time.time())
    rows = {row["name"]: row for row in result["members"]}
    step, numbers = evaluate_snapshot(tmp_path / "run")
    assert step == 4
    source = assemble(config_of()).eval_source
    assert rows["snapshot at step 4"]["total"] == source[np.arange(len(source))]["counted"].sum()
    assert rows["snapshot at step 4"]["loss"] == pytest.approx(numbers["loss"], rel=1e-5)
    assert {"average of predictions", "average of weights"} <= set(rows)
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["loss"] == pytest.approx(numbers["loss"], rel=1e-12)
