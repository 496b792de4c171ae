"""The task of captioning: what counts, how attention is spread, and that each image is described once."""

import functools
import json
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from PIL import Image

from cs231n_jax.config import Config, TrainConfig
from cs231n_jax.data import DataConfig, eval_batches, features, open_source
from cs231n_jax.data.text_config import TextConfig
from cs231n_jax.metrics import bleu, cider, rouge
from cs231n_jax.models import ModelConfig, Precision, functional
from cs231n_jax.tasks import generation, registry
from cs231n_jax.tasks.base import TaskConfig
from cs231n_jax.tasks.captioning import spread
from cs231n_jax.train import generate_many
from cs231n_jax.train.loop import Silent
from cs231n_jax.train.run import run
from cs231n_jax.train.sharding import MeshConfig
from tests.references import vision_language as reference
from tests.references.attention import softmax
from tests.rows import but_for

DATA = DataConfig(name="scenes:20")
SOURCE = open_source(DATA, "eval")
SIZES = {"hidden": 6, "embedding": 4, "num_classes": SOURCE.info.num_classes, "backbone": "lenet5", "stage": "stage2"}


def built(name="attention_captioner", spread=1.0, smoothing=0.0, dtype=Precision.FLOAT64, **options):
    model = ModelConfig(name=name, options=SIZES | options, dtype=dtype)
    task = TaskConfig(name="captioning", label_smoothing=smoothing, attention_spread=spread)
    return registry.build(task, model, DATA, SOURCE.info)


def first_batch(size):
    return {name: jnp.asarray(x) for name, x in next(eval_batches(SOURCE, size)).items()}


@functools.partial(jax.jit, static_argnums=0)
def features_of(task, params, state, batch):
    return functional.apply(task.model, params, state, *task.fed(batch), method="features")[0]


def test_the_loss_is_that_of_each_token_and_of_the_places_passed_over(x64):
    task, batch = built(spread=0.7), first_batch(4)
    batch["mask"] = jnp.asarray([1, 0, 1, 1], jnp.float32)
    params, state = task.init(0, batch)
    params = jax.tree.map(lambda x: 2 * x, params)
    score = jax.jit(functools.partial(task.loss, key=None), static_argnames="train")
    loss, (_, metrics) = score(params, state, batch, train=False)
    trained, _ = score(params, state, batch, train=True)
    found = features_of(task, params, state, batch)
    plain, nats, passed, right = jax.tree.map(np.asarray, params), [], [], []
    for n in np.flatnonzero(batch["mask"]):
        target = np.asarray(batch["target"][n, : batch["target_length"][n]])
        logits, weights = reference.attention_captioner(plain, np.asarray(found["backbone"][n]), target[:-1])
        nats += [-np.log(softmax(row))[token] for row, token in zip(logits, target[1:])]
        right += [row.argmax() == token for row, token in zip(logits, target[1:])]
        passed.append(((1 - weights.sum(0)) ** 2).sum())
    assert float(loss.count) == float(trained.count) == len(nats)
    np.testing.assert_allclose(loss.compute(), np.mean(nats), rtol=1e-8)
    np.testing.assert_allclose(trained.total, np.sum(nats) + 0.7 * np.sum(passed), rtol=1e-8)
    numbers = task.summarize(metrics)
    assert numbers["loss"] == pytest.approx(np.mean(nats), rel=1e-8)
    assert numbers["accuracy"] == pytest.approx(np.mean(right))


@pytest.mark.slow
def test_the_gradient_of_the_spread_is_that_of_central_differences(x64):
    random = np.random.default_rng(0)
    scores = jnp.asarray(random.standard_normal((3, 4, 5)))
    counted = jnp.asarray([[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]], jnp.float32)
    weighed = jax.jit(lambda scores: spread(jax.nn.softmax(scores), counted))
    found = weighed(scores)
    alpha = np.asarray(jax.nn.softmax(scores))
    assert found[0] == pytest.approx(((1 - alpha[0, :3].sum(0)) ** 2).sum())
    assert found[1] == pytest.approx(((1 - alpha[1, 0]) ** 2).sum())
    assert found[2] == 0
    check_grads(weighed, (scores,), 2, ["rev"])
    task, batch = built(), first_batch(2)
    params, state = task.init(0, batch)
    whole = jax.jit(lambda params: task.loss(params, state, batch, key=None, train=True)[0].total)
    draw = lambda x: jnp.asarray(random.standard_normal(x.shape))  # noqa: E731
    direction, gradient = jax.tree.map(draw, params), jax.jit(jax.grad(whole))(params)
    along = sum(jnp.vdot(g, d) for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction)))
    ahead, back = (whole(jax.tree.map(lambda p, d, by=by: p + by * d, params, direction)) for by in (1e-7, -1e-7))
    np.testing.assert_allclose((ahead - back) / 2e-7, along, rtol=1e-5)


@pytest.mark.slow
def test_a_search_begins_from_the_image_and_is_the_reference(x64):
    task, batch = built(spread=0.0), first_batch(2)
    params, state = task.init(0, batch)
    params = jax.tree.map(lambda x: 3 * x, params)
    how = generation.of(task)
    settings = generate_many.Settings(beam=1, length=6)
    tokens, _, log_probs = generate_many.search(how, settings)((params, state), {"image": batch["image"]})
    places = features_of(task, params, state, batch)["backbone"]
    special = task.target.specials
    for n in range(2):
        wanted, total = [special["<bos>"]], 0.0
        while len(wanted) <= 6 and wanted[-1] != special["<eos>"]:
            logits, _ = reference.attention_captioner(jax.tree.map(np.asarray, params), np.asarray(places[n]), wanted)
            wanted.append(int(logits[-1].argmax()))
            total += np.log(softmax(logits[-1])[wanted[-1]])
        assert tokens[n, : len(wanted) - 1].tolist() == wanted[1:]
        np.testing.assert_allclose(log_probs[n], total, rtol=1e-8)


@pytest.mark.slow
def test_each_image_is_described_once_and_scored_against_all_its_captions(tmp_path):
    config = Config(
        task=TaskConfig(name="captioning", attention_spread=1.0),
        model=ModelConfig(name="attention_captioner", options=SIZES | {"num_classes": 22}),
        data=DataConfig(name="scenes:20", batch_size=20, text=TextConfig(buckets="8,20", min_count=20)),
        train=TrainConfig(steps="2", log_every="0", eval_every="0", save_every="0"),
        mesh=MeshConfig(data=1),
    )
    assert np.isfinite(run(config, tmp_path, {}, Silent(), time.time())["eval"]["loss"])
    found = generate_many.generate_split(tmp_path, "test", generate_many.Settings(beam=2, length=5, batch_size=3))
    assert found.numbers["unknown words in captions"] == 15
    pictures = np.unique(SOURCE.owner)
    assert len(found.texts) == len(pictures) == 4
    references = [[t for t, o in zip(SOURCE.texts["target"], SOURCE.owner) if o == number] for number in pictures]
    assert {len(some) for some in references} == {5}
    assert [found.scores[f"bleu-{n}"].value for n in (1, 2, 3, 4)] == list(bleu(found.texts, references).scores)
    assert found.scores["rouge-l"].value == rouge(found.texts, references).score
    assert found.scores["cider-d"].value == cider(found.texts, references).score
    assert found.scores["bleu-2"].signature.startswith("BLEU-2|refs:5|")
    kept = json.loads(found.path.with_suffix(".json").read_text())
    assert set(kept["scores"]) == set(found.scores)
    assert kept["noticed"]["unknown words in captions"] == 15
    Image.fromarray(SOURCE.images[0]).save(tmp_path / "one.png")
    own = generate_many.generate_texts(
        tmp_path, [str(tmp_path / "one.png")], generate_many.Settings(beam=2, length=5, batch_size=1)
    )
    assert own.texts == found.texts[:1]
    with pytest.raises(ValueError, match=r"none\.png cannot be read as an image"):
        generate_many.generate_texts(tmp_path, [str(tmp_path / "none.png")], generate_many.Settings())


def test_alignments_are_the_weights_of_each_token(x64):
    task, batch = built(), first_batch(3)
    variables = task.init(0, batch)
    found = jax.jit(task.alignment)(*variables, batch)
    assert found.shape == (3, batch["target"].shape[1] - 1, 13 * 13)
    np.testing.assert_allclose(found.sum(-1), np.ones(found.shape[:2]), rtol=1e-12)
    with pytest.raises(ValueError, match="this model has no attention"):
        built("captioner_rnn", spread=0.0).alignment(*variables, batch)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "captioner_rnn"}, r"task captioning does not read task\.attention_spread: leave it at its default"),
        ({"num_classes": 7}, "has 7 classes, scenes:20 has"),
    ],
)
def test_what_does_not_fit_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        built(**options)


def test_other_tasks_do_not_spread_attention():
    with pytest.raises(ValueError, match=r"task\.attention_spread=-1\.0 must be finite and at least 0"):
        TaskConfig(attention_spread=-1.0).validate()
    data = DataConfig(name="digits")
    model = ModelConfig(name="mlp", options={"num_classes": 10})
    with pytest.raises(ValueError, match=r"task\.attention_spread=1\.0 is for task\.name=captioning"):
        registry.build(TaskConfig(attention_spread=1.0), model, data, open_source(data, "train").info)
    captions = ModelConfig(name="captioner_rnn", options=SIZES)
    with pytest.raises(
        ValueError, match=r"task classification reads labels, and scenes:20 has .*task\.name=captioning"
    ):
        registry.build(TaskConfig(), captions, DATA, SOURCE.info)


@pytest.mark.parametrize("dtype", but_for([Precision.FLOAT64], [Precision.FLOAT32, Precision.FLOAT64]))
def test_features_of_an_encoder_stand_for_images(dtype, x64):
    given = np.random.default_rng(0).standard_normal((len(SOURCE.images), 2, 3, 5)).astype(np.float16)
    source = features.put(SOURCE, given, "drawn")
    options = {**SIZES, "backbone": "none", "stage": ""}
    model = ModelConfig(name="attention_captioner", options=options, dtype=dtype)
    task = registry.build(TaskConfig(name="captioning"), model, DATA, source.info)
    batch = {name: jnp.asarray(x) for name, x in next(eval_batches(source, 6)).items()}
    variables = task.init(0, batch)
    loss, _ = jax.jit(functools.partial(task.loss, key=None, train=False))(*variables, batch)
    assert loss.total.dtype == dtype.value
    how = generation.of(task)
    shown = how.inputs(source).take(np.array([2, 0]), 1)["image"]
    np.testing.assert_array_equal(shown, given[[2, 0]].astype(np.float32))
    assert how.start(*variables, {"image": jnp.asarray(shown)}).prompt.shape == (2, 1)
    with pytest.raises(ValueError, match=r"reads features of an encoder, and one\.png has none"):
        how.read("one.png")
