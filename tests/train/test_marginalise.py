"""Predictions under noise: each way against an average made by hand, the table, and what is refused."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax.config import Config, TrainConfig
from cs231n_jax.data import DataConfig
from cs231n_jax.metrics import scores
from cs231n_jax.models import ModelConfig
from cs231n_jax.models.base import Model
from cs231n_jax.models.layers import Dense
from cs231n_jax.ops import noise
from cs231n_jax.optim import OptimizerConfig
from cs231n_jax.tasks.classification import Classification
from cs231n_jax.train import ensemble, marginalise, state
from cs231n_jax.train.assemble import assemble
from cs231n_jax.train.evaluate import evaluate_snapshot
from cs231n_jax.train.loop import Silent
from cs231n_jax.train.run import run
from cs231n_jax.train.snapshots import SnapshotConfig
from tests.descriptors import MODELS
from tests.references import views as references

ROWS = {str(row): row for row in MODELS}
KEY = jax.random.key(7)


def jit(function, **options):
    return jax.jit(functools.partial(function, **options))


def task_of(name, **options):
    row = ROWS[name]
    channels = row.input_shape[-1]
    return Classification(row.model(**options), (0.5,) * channels, (0.25,) * channels)


def drawn(task, shape=(5, 8, 8, 3)):
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    batch = {"image": jnp.asarray(images), "label": jnp.arange(shape[0], dtype=jnp.int32)}
    return (*task.init(0, batch), batch)


def averaged(logits):
    """Logarithms of the mean of softmax(logits [V, N, K]) over V, in float64."""
    z = np.asarray(logits, np.float64)
    p = np.exp(z - z.max(-1, keepdims=True))
    return np.log(np.mean(p / p.sum(-1, keepdims=True), axis=0))


# --- Monte Carlo ---


class DroppedLinear(Model):
    """Dropout, then a linear layer: the noise is linear in the logits, so that their expectation is one pass."""

    @nn.compact
    def forward(self, x, *, train=False, noise=False):
        x = x.reshape((x.shape[0], -1))
        return {"logits": Dense(10, name="head")(drop(self, x) if noise else x)}


def drop(module, x):
    return noise.dropout(module.make_rng("noise"), x, drop_rate=0.4)


def test_monte_carlo_logits_of_a_linear_model_converge_to_the_exact_ones(x64):
    """Within the statistical error of K passes, which is as large as the formula says, and falls as 1/√K."""
    task = Classification(DroppedLinear(), (0.5,), (0.25,), dtype="float64")
    params, model_state, batch = drawn(task, (3, 4, 4, 1))
    exact = np.asarray(task.predict(params, model_state, batch))
    passes = jit(jax.vmap(lambda key: task.predict(params, model_state, batch, key=key, noise=True)))
    logits = np.asarray(passes(jax.random.split(KEY, 20_000)))
    x = (np.asarray(batch["image"], np.float64).reshape(3, -1) / 255 - 0.5) / 0.25
    variance = 0.4 / 0.6 * x**2 @ np.asarray(params["head"]["kernel"]) ** 2  # of one pass
    for count in (200, 20_000):
        z = (logits[:count].mean(0) - exact) / np.sqrt(variance / count)
        assert np.abs(z).max() < 4
        assert 0.4 < np.mean(z**2) < 2.2  # of 30 correlated squares with mean 1


@pytest.mark.parametrize("name", ["stochastic_resnet110", pytest.param("fractalnet20", marks=pytest.mark.slow)])
def test_monte_carlo_is_the_mean_of_its_passes_whatever_goes_through_together(name):
    """Against a loop; batch gates and paths are drawn anew in each pass, and the running statistics do not move."""
    task = task_of(name)
    params, model_state, batch = drawn(task)
    predict = jit(task.predict, noise=True)
    expected = averaged([predict(params, model_state, batch, key=key) for key in jax.random.split(KEY, 7)])
    way = marginalise.parse("mc:7")
    for together in (1, 3, 8):
        found = jit(functools.partial(marginalise.log_probabilities, task, way), together=together)
        np.testing.assert_allclose(found(params, model_state, batch, key=KEY), expected, rtol=2e-5, atol=2e-6)
    assert np.abs(found(params, model_state, batch, key=jax.random.key(8)) - expected).max() > 1e-3


def test_monte_carlo_without_a_key_is_refused():
    task = task_of("wrn28_10")
    with pytest.raises(ValueError, match="mc:2 draws random numbers but key is None"):
        marginalise.log_probabilities(task, marginalise.parse("mc:2"), *drawn(task))


@pytest.mark.parametrize(
    ("name", "options", "yes"),
    [
        ("wrn28_10", {}, True),
        ("wrn28_10", {"drop_rate": 0.0}, False),
        ("wrn28_10", {"frozen": ("stage1", "stage2", "stage3")}, False),
        ("wrn28_10", {"frozen": ("stage1", "stage2")}, True),
        ("preresnet110", {}, True),
        ("preresnet110", {"depth_drop_rate": 0.0}, False),
        ("resnet8", {}, False),
        ("fractalnet20", {}, True),
        ("fractalnet20", {"columns": 1, "drop_rates": (0.0, 0.0)}, False),  # draws a column, of which there is one
        ("mlp", {}, False),
    ],
)
def test_whether_a_model_draws_is_seen_from_its_program(name, options, yes):
    task, shape = task_of(name, **options), (2, 8, 8, ROWS[name].input_shape[-1])
    batch = {"image": jax.ShapeDtypeStruct(shape, jnp.uint8), "label": jax.ShapeDtypeStruct((2,), jnp.int32)}
    assert marginalise.draws(task, *task.shapes(batch), batch) == yes


# --- views ---


def by_hand(images):
    return {
        "exact": images[None],
        "tta:flip": np.stack([images, images[:, :, ::-1]]),
        "tta:shifts": np.stack([references.shifted(images, i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]),
        "tta:shifts:2": np.stack([references.shifted(images, i, j) for i in (-2, 0, 2) for j in (-2, 0, 2)]),
        "tta:ten_crop": references.ten_crop(images, 7),  # 7/8 of 8
        "tta:ten_crop:6": references.ten_crop(images, 6),
    }


@pytest.mark.parametrize("text", by_hand(np.zeros((1, 8, 8, 1))))
def test_views_are_averaged_as_by_hand(text):
    task = task_of("convnet")
    params, model_state, batch = drawn(task)
    predict = jit(task.predict)
    seen = by_hand(np.asarray(batch["image"]))[text]
    expected = averaged([predict(params, model_state, {**batch, "image": jnp.asarray(view)}) for view in seen])
    way = marginalise.parse(text)
    found = jit(functools.partial(marginalise.log_probabilities, task, way), together=4)
    np.testing.assert_allclose(found(params, model_state, batch), expected, rtol=2e-5, atol=2e-6)


# --- names ---


@pytest.mark.parametrize(
    ("text", "number"),
    [("exact", 0), ("mc:32", 32), ("tta:flip", 0), ("tta:shifts", 1), ("tta:shifts:3", 3), ("tta:ten_crop:28", 28)],
)
def test_names(text, number):
    way = marginalise.parse(text)
    assert (way.name, way.number) == (text, number)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mc", "mc: mc wants the number of passes with noise on, 1 to 100,000, as in mc:8"),
        ("mc:", "mc:: mc wants the number"),
        ("mc:0", "mc:0: mc wants the number"),
        ("mc:-1", "mc:-1: mc wants the number"),
        ("mc:²", "mc:²: mc wants the number"),
        ("mc:1.5", "mc:1.5: mc wants the number"),
        ("mc:999999", "mc:999999: mc wants the number of passes with noise on, 1 to 100,000"),
        ("mc:8:8", "mc:8:8: mc wants the number"),
        ("tta:shifts:0", "tta:shifts:0: tta:shifts wants the number of pixels"),
        ("tta:ten_crop:", "tta:ten_crop:: tta:ten_crop wants the number of pixels a side of a crop"),
        ("tta:flip:2", "tta:flip:2: tta:flip takes no number, so write tta:flip"),
        ("exact:", "exact:: exact takes no number"),
        ("tta:flipp", r"tta:flipp is no way to predict \(did you mean tta:flip\?\): give exact, mc:K, tta:flip"),
        ("", "'' is no way to predict: give exact"),
    ],
)
def test_wrong_names_say_what_is_allowed(text, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        marginalise.parse(text)


# --- the table of a run ---


def config_of(**options):
    return Config(
        model=ModelConfig(name="convnet", options={"widths": (4,), "hidden": 8, **options}),
        data=DataConfig(name="digits", batch_size=64, eval_batch_size=160),  # six batches, the last one padded
        optimizer=OptimizerConfig(name="momentum", learning_rate=0.1),
        train=TrainConfig(steps="2ep", eval_every="0", save_every="0"),
        snapshots=SnapshotConfig(members=1),
    )


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    path = tmp_path_factory.mktemp("marginalise") / "run"
    run(config_of(drop_rate=0.3), path, {}, Silent(), 0.0)
    return path


@pytest.fixture(scope="module")
def rows(workdir):
    ways = [marginalise.parse(text) for text in ("mc:3", "tta:flip", "mc:3")]
    return marginalise.compare_snapshot(workdir, ways)[1]


def test_the_first_row_is_the_evaluation_and_every_way_has_one(rows, workdir):
    assert [r["name"] for r in rows] == ["exact", "mc:3", "tta:flip"]
    _, alone = evaluate_snapshot(workdir)
    assert rows[0]["accuracy"] == pytest.approx(alone["accuracy"], abs=1e-9)
    assert rows[0]["loss"] == pytest.approx(alone["loss"], rel=1e-5)
    assert {r["total"] for r in rows} == {899}
    assert marginalise.cells(rows)[0][4:] == ("", "")
    gap, loss = marginalise.cells(rows)[2][4:]
    assert gap == f"{rows[2]['accuracy'] - rows[0]['accuracy']:+.2%} ± {rows[2]['accuracy_gap_error']:.2%}"
    assert loss == f"{rows[2]['loss'] - rows[0]['loss']:+.4f} ± {rows[2]['loss_gap_error']:.4f}"


def test_rows_are_those_of_averages_by_hand(rows, workdir):
    """Each batch draws from its own key of the run's seed; gaps and their errors are paired over the examples."""
    assembly = assemble(config_of(drop_rate=0.3))
    _, params, model_state = marginalise.snapshots.load(workdir)
    source, task = assembly.eval_source, assembly.task
    labels = ensemble.labels_of(assembly)
    size = assembly.eval_batch_size
    predict, noisy = jit(task.predict), jit(task.predict, noise=True)
    found = {"exact": [], "mc:3": [], "tta:flip": []}
    for index in range(-(-899 // size)):
        batch = source[np.arange(index * size, min((index + 1) * size, 899))]
        whole = {name: np.concatenate([x, np.repeat(x[:1], size - len(x), 0)]) for name, x in batch.items()}
        batch = {name: jnp.asarray(x) for name, x in whole.items()}
        keys = jax.random.split(state.stream_key(0, "marginalise", index), 3)
        mirrored = {**batch, "image": batch["image"][:, :, ::-1]}
        plain = predict(params, model_state, batch)
        found["exact"].append(averaged([plain]))
        found["mc:3"].append(averaged([noisy(params, model_state, batch, key=key) for key in keys]))
        found["tta:flip"].append(averaged([plain, predict(params, model_state, mirrored)]))
    p = {name: np.exp(np.concatenate(logs)[:899]) for name, logs in found.items()}
    for r in rows:
        right, nats = (
            (p[r["name"]].argmax(-1) == labels) - (p["exact"].argmax(-1) == labels).astype(float),
            scores.nats(p[r["name"]], labels) - scores.nats(p["exact"], labels),
        )
        assert r["wrong"] == np.sum(p[r["name"]].argmax(-1) != labels)
        assert r["loss"] == pytest.approx(scores.nats(p[r["name"]], labels).mean(), rel=1e-5)
        assert r["accuracy_gap"] == pytest.approx(right.mean(), abs=1e-12)
        assert r["accuracy_gap_error"] == pytest.approx(right.std(ddof=1) / np.sqrt(899), abs=1e-12)
        assert r["loss_gap"] == pytest.approx(nats.mean(), rel=1e-4, abs=1e-6)
        assert r["loss_gap_error"] == pytest.approx(nats.std(ddof=1) / np.sqrt(899), rel=1e-4, abs=1e-6)


def test_paired_difference():
    """Against numbers by hand: differences 1, 0, 2 have the mean 1 and the standard deviation 1."""
    found = scores.paired_difference(np.array([3.0, 5.0, 9.0]), np.array([2.0, 5.0, 7.0]))
    assert found == (1.0, pytest.approx(1 / np.sqrt(3)))
    right = scores.paired_difference(np.array([True, False]), np.array([False, False]))
    assert right == (0.5, pytest.approx(0.5))
    assert np.isnan(scores.paired_difference(np.ones(1), np.zeros(1))[1])


@pytest.mark.parametrize(
    ("options", "text", "message"),
    [
        ({}, "mc:4", "mc:4: model convnet has no noise to average over"),
        ({}, "tta:shifts:8", "tta:shifts:8 does not fit model convnet: pixels is 8; images of 8×8"),
        ({}, "tta:ten_crop:9", "tta:ten_crop:9 does not fit model convnet: size is 9; a crop"),
    ],
)
def test_ways_that_do_not_fit_are_refused(options, text, message):
    assembly = assemble(config_of(**options))
    with pytest.raises(ValueError, match=message):
        marginalise.compare(assembly, assembly.task.shapes(assembly.batch_shapes), [marginalise.parse(text)])


def test_crops_that_a_model_does_not_take_are_refused():
    config = config_of()
    config.model = ModelConfig(name="mlp", options={})
    assembly = assemble(config)
    with pytest.raises(ValueError, match=r"tta:ten_crop:6 does not fit model mlp: params hold .*shape"):
        marginalise.compare(
            assembly, assembly.task.shapes(assembly.batch_shapes), [marginalise.parse("tta:ten_crop:6")]
        )
