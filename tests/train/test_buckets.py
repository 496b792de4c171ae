"""Training in batches of declared lengths: one compilation each, and a run that goes on as if it had not been cut."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax.config import Config, TrainConfig
from cs231n_jax.data import DataConfig
from cs231n_jax.data.text_config import TextConfig
from cs231n_jax.metrics import Mean
from cs231n_jax.ops import losses
from cs231n_jax.optim import OptimizerConfig
from cs231n_jax.tasks import registry
from cs231n_jax.train import plan, sharding
from cs231n_jax.train.assemble import assemble
from cs231n_jax.train.evaluate import device_batches, evaluate, make_eval_step
from cs231n_jax.train.loop import Loop
from cs231n_jax.train.signals import Interrupted, StopRequest
from tests.rows import but_for
from tests.train.test_devices import largest_difference
from tests.train.test_feed import Silent


class SumOfWords:
    """Logits are the sum of a row a word: what padding there is makes no difference."""

    def __init__(self, words):
        self.words = words
        self.widths = []  # of the batches that were traced in training

    def init(self, seed, batch, place=jax.device_put):
        del seed, batch
        (rows,) = place([np.zeros((self.words, 2), np.float32)])
        return {"rows": {"kernel": rows}}, {}

    def shapes(self, batch):
        del batch
        return {"rows": {"kernel": jax.ShapeDtypeStruct((self.words, 2), jnp.float32)}}, {}

    def loss(self, params, model_state, batch, *, key, train):
        del key
        token, length = batch["token"], batch["length"]
        if train:
            self.widths.append(token.shape[1])
        there = jnp.arange(token.shape[1])[None] < length[:, None]
        logits = jnp.sum(jnp.where(there[..., None], params["rows"]["kernel"][token], 0.0), axis=1)
        loss = Mean.of(losses.softmax_cross_entropy(logits, batch["label"]), batch.get("mask"))
        return loss, (model_state, {"loss": loss})

    def summarize(self, metrics):
        return {name: metric.compute() for name, metric in metrics.items()}


@pytest.fixture
def assembled(monkeypatch):
    """Returns assembled(buckets): what a run on 300 made-up reviews is made of."""

    def build(task, model, data, info):
        del task, model, data
        return SumOfWords(info.vocabularies["token"].size)

    def make(buckets, devices=1, **durations):
        train = {"steps": "30", "log_every": "10", "eval_every": "15", "save_every": "0"} | durations
        config = Config(
            data=DataConfig(name="sentiment_grammar:300", batch_size=16, text=TextConfig(buckets=buckets)),
            optimizer=OptimizerConfig(name="sgd", learning_rate=0.1),
            train=TrainConfig(**train),
            mesh=sharding.MeshConfig(data=devices),
        )
        return assemble(config)

    monkeypatch.setattr(registry, "build", build)
    return make


def run(assembly, workdir, stop=None):
    workdir.mkdir(exist_ok=True)
    state = Loop(assembly, workdir, Silent(), StopRequest() if stop is None else stop, 0.0).run()
    return state, list(map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines()))


@pytest.mark.parametrize("devices", but_for([8], [1, 8]))
def test_each_declared_length_is_compiled_and_learned_from(tmp_path, assembled, devices):
    assembly = assembled("12,20,60", devices)
    _, lines = run(assembly, tmp_path)
    assert set(assembly.task.widths) == {12, 20, 60}
    train = [line["loss"] for line in lines if line["split"] == "train"]
    assert train[-1] < train[0]
    assert len([line for line in lines if line["split"] == "eval"]) == 2


def test_evaluation_is_the_same_in_one_bucket_and_in_three(assembled):
    found = []
    for buckets in ("60", "12,20,60"):
        assembly = assembled(buckets)
        drawn = np.random.default_rng(0).normal(size=(assembly.task.words, 2)).astype(np.float32)
        batches = list(device_batches(assembly))
        assert len({batch["token"].shape[1] for batch in batches}) == (1 if buckets == "60" else 2)
        step = jax.jit(make_eval_step(assembly.task, assembly.mesh))
        found.append(evaluate(step, {"rows": {"kernel": drawn}}, {}, iter(batches))["loss"])
    assert found[0].count == found[1].count == 60
    assert found[0].total == pytest.approx(found[1].total, rel=1e-5)


def test_the_plan_counts_the_padding_of_the_batches(assembled):
    assembly = assembled("12,20,60")
    places = words = 0
    for step in range(assembly.pipeline.steps_per_epoch):
        batch = assembly.pipeline.batch(step)
        places, words = places + batch["token"].size, words + batch["length"].sum()
    examples = 16 * assembly.pipeline.steps_per_epoch
    assert plan.padding(assembly) == pytest.approx((1 - words / places, 1 - words / (60 * examples)))


def test_a_resumed_run_is_the_same_run(tmp_path, assembled):
    class AfterAWhile(StopRequest):
        looks = 0

        def __bool__(self):
            self.looks += 1
            return self.looks > 12

    whole, lines = run(assembled("12,20,60"), tmp_path / "whole")
    with pytest.raises(Interrupted):
        run(assembled("12,20,60"), tmp_path / "cut", AfterAWhile())
    again, resumed = run(assembled("12,20,60"), tmp_path / "cut")
    assert resumed == lines
    assert largest_difference(again.params, whole.params) == 0


def test_many_updates_a_call_need_one_length(tmp_path, assembled):
    message = r"train.steps_per_call=4 needs batches of one length, but data.text.buckets declares 3"
    with pytest.raises(ValueError, match=message):
        assembled("12,20,60", steps_per_call=4)
    run(assembled("60", steps_per_call=4), tmp_path)
