"""Losses and penalties as a run has them: from the config through the task to the update."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax.config import Config, from_json, to_json
from cs231n_jax.data import DataConfig
from cs231n_jax.models import ModelConfig, Precision, functional
from cs231n_jax.ops import penalties
from cs231n_jax.optim import OptimizerConfig
from cs231n_jax.tasks.base import Loss, TaskConfig
from cs231n_jax.tasks.classification import Classification
from cs231n_jax.train import sharding
from cs231n_jax.train.assemble import assemble
from cs231n_jax.train.step import make_train_step
from tests.descriptors import MODELS

PERCEPTRON = ModelConfig(name="mlp", options={"hidden": (32,)})


def assembly_of(dtype=Precision.FLOAT32, optimizer=None, model=PERCEPTRON, **task):
    return assemble(
        Config(
            task=TaskConfig(**task),
            model=dataclasses.replace(model, dtype=dtype),
            data=DataConfig(name="digits", batch_size=24),
            optimizer=optimizer or OptimizerConfig(name="sgd", learning_rate=0.05),
            mesh=sharding.MeshConfig(data=1),
        )
    )


def after(assembly, updates, accumulate=1):
    """The state after some updates."""
    step = jax.jit(make_train_step(assembly.task, assembly.optimizer, 0, accumulate=accumulate))
    state = assembly.new_state()
    for i in range(updates):
        state = step(state, assembly.pipeline.batch(i))
    return jax.device_get(state)


def largest_difference(a, b):
    return max(jax.tree.leaves(jax.tree.map(lambda x, y: float(np.abs(x - y).max()), a.params, b.params)))


@pytest.mark.parametrize(("name", "accumulate"), [("sgd", 1), ("momentum", 3), ("nesterov", 1)])
def test_l2_in_the_loss_is_the_coupled_weight_decay_of_the_optimizer(name, accumulate, x64):
    strength = 0.03
    rule = OptimizerConfig(name=name, learning_rate=0.05)
    decay = dataclasses.replace(rule, weight_decay=strength, decay_vectors=False)
    in_the_loss = after(assembly_of(Precision.FLOAT64, rule, l2=strength), 3, accumulate)
    in_the_rule = after(assembly_of(Precision.FLOAT64, decay), 3, accumulate)
    assert largest_difference(in_the_loss, in_the_rule) < 1e-14
    assert largest_difference(in_the_loss, after(assembly_of(Precision.FLOAT64, rule), 3, accumulate)) > 1e-4


def test_auxiliary_heads_count_three_tenths_and_in_training_alone():
    row = next(row for row in MODELS if row.name == "googlenet")
    model = row.model(drop_rate=0.0, aux_drop_rate=0.0)
    task, random = Classification(model, (0.5,) * 3, (0.25,) * 3), np.random.default_rng(0)
    images = random.integers(0, 256, row.input_shape, np.uint8)
    batch = {"image": jnp.asarray(images), "label": jnp.asarray([3, 0, 7], jnp.int32)}
    params, model_state = task.init(0, batch)

    @jax.jit
    def computed(params, model_state):
        standard = (jnp.asarray(images, jnp.float32) / 255 - 0.5) / 0.25
        options = {"key": jax.random.key(0), "train": True}
        found, _ = functional.apply(model, params, model_state, standard, method="features", **options)
        loss, (_, metrics) = task.loss(params, model_state, batch, **options)
        return {head: found[head] for head in ("logits", "aux1", "aux2")}, loss.total, metrics["loss"].total

    def nats(logits):
        return (np.log(np.exp(logits).sum(-1)) - logits[np.arange(3), batch["label"]]).sum()

    heads, loss, reported = computed(params, model_state)
    main, first, second = (nats(np.asarray(heads[name], np.float64)) for name in ("logits", "aux1", "aux2"))
    assert float(loss) == pytest.approx(main + 0.3 * first + 0.3 * second, rel=1e-5)
    assert float(reported) == pytest.approx(main, rel=1e-5)


def test_penalties_are_added_to_the_mean_loss_of_training_alone():
    plain, both = assembly_of(), assembly_of(l1=0.01, l2=0.1)
    params, model_state = plain.task.init(0, plain.batch_shapes)
    batch = {**plain.pipeline.batch(0), "mask": np.arange(24) % 3 > 0}
    batch = jax.tree.map(jnp.asarray, {**batch, "mask": batch["mask"].astype(np.float32)})
    kernels = penalties.weights(params)
    expected = float(0.01 * penalties.l1(kernels) + 0.1 * penalties.l2(kernels))
    assert expected > 1
    for train, key in ((True, jax.random.key(0)), (False, None)):
        without, (_, metrics) = plain.task.loss(params, model_state, batch, key=key, train=train)
        with_both, (_, same_metrics) = both.task.loss(params, model_state, batch, key=key, train=train)
        assert float(without.count) == float(with_both.count) == 16
        gain = with_both.compute() - without.compute()
        assert gain == pytest.approx(expected if train else 0.0, rel=1e-5)
        assert metrics["loss"].compute() == same_metrics["loss"].compute()


def test_l1_makes_more_weights_small_than_l2():
    sizes = []
    for task in ({"l1": 0.05}, {"l2": 0.05}):
        kernels = penalties.weights(after(assembly_of(**task), 60).params)
        sizes.append(np.mean([(np.abs(w) < 5e-3).mean() for w in kernels]))
    assert sizes[0] > 1.5 * sizes[1]


@pytest.mark.parametrize(("loss", "terms", "rate"), [(Loss.SVM, 0.5 * 9, 0.05), (Loss.SQUARED_SVM, 0.25 * 9, 0.001)])
def test_a_machine_of_equal_scores_costs_the_margin_for_each_other_class_and_learns(loss, terms, rate):
    rule, lenet = OptimizerConfig(name="sgd", learning_rate=rate), ModelConfig(name="lenet5", options={"padding": 4})
    assembly = assembly_of(optimizer=rule, model=lenet, loss=loss, margin=0.5)
    params, model_state = assembly.task.init(0, assembly.batch_shapes)
    params = {**params, "head": jax.tree.map(jnp.zeros_like, params["head"])}
    batch = jax.tree.map(jnp.asarray, assembly.pipeline.batch(0))
    for train, key in ((True, jax.random.key(0)), (False, None)):
        mean, (_, metrics) = assembly.task.loss(params, model_state, batch, key=key, train=train)
        assert mean.compute() == metrics["loss"].compute() == pytest.approx(terms)
    trained = after(assembly, 100)
    assert trained.dropped_total == 0
    assert trained.metrics["accuracy"].compute() > 0.3  # chance is 0.1; of a hundred batches, the first ones included


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"l1": -0.1}, "task.l1=-0.1 must be finite and at least 0"),
        ({"l2": float("nan")}, "task.l2=nan must be finite"),
        ({"margin": -1.0, "loss": Loss.SVM}, "task.margin=-1.0 must be finite"),
        ({"margin": 2.0}, "task.margin=2.0 is for task.loss=svm"),
        ({"label_smoothing": 0.1, "loss": Loss.SVM}, "task.label_smoothing=0.1 is for task.loss=softmax"),
        ({"loss": "svm"}, "task.loss='svm' must be one of Loss.SOFTMAX"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        TaskConfig(**fields).validate()


def test_the_loss_survives_json():
    config = Config(task=TaskConfig(loss=Loss.SQUARED_SVM, margin=2.0))
    assert from_json(to_json(config)).task == config.task
    with pytest.raises(ValueError, match="is none of 'softmax', 'svm', 'squared_svm'"):
        from_json({"task": {"loss": "swm"}})
