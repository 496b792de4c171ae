"""The task of translation: what counts, what is reported, and what is generated."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import decode
from cs231n_jax.data import DataConfig, eval_batches, open_source
from cs231n_jax.models import ModelConfig, Precision
from cs231n_jax.tasks import generation, registry
from cs231n_jax.tasks.base import TaskConfig
from tests.references import attention as reference
from tests.rows import but_for

DATA = DataConfig(name="translation_grammar:40")
SOURCE = open_source(DATA, "eval")
SIZES = {"num_classes": SOURCE.info.num_classes, "source_size": SOURCE.info.vocabularies["source"].size}


def built(name="seq2seq_gru_additive", smoothing=0.0, **options):
    options = {"hidden": 8, "embedding": 6, **SIZES, **options}
    model = ModelConfig(name=name, options=options, dtype=Precision.FLOAT64)
    return registry.build(TaskConfig(name="translation", label_smoothing=smoothing), model, DATA, SOURCE.info)


def drawn(task, batch):
    """Parameters large enough that the likeliest token is not always the same."""
    params, _ = task.init(0, batch)
    return jax.tree.map(lambda x: 4 * x, params)


def first_batch(size):
    return {name: jnp.asarray(x) for name, x in next(eval_batches(SOURCE, size)).items()}


def test_the_loss_is_the_mean_over_the_tokens_that_there_are(x64):
    task, batch = built(smoothing=0.1), first_batch(6)
    batch["mask"] = jnp.asarray([1, 1, 0, 1, 0, 1], jnp.float32)
    params = drawn(task, batch)
    score = jax.jit(task.loss, static_argnames="train")
    loss, (_, metrics) = score(params, {}, batch, key=None, train=False)
    plain, nats, smooth, right = jax.tree.map(np.asarray, params), [], [], []
    for n in np.flatnonzero(batch["mask"]):
        target = np.asarray(batch["target"][n, : batch["target_length"][n]])
        source = np.asarray(batch["source"][n, : batch["source_length"][n]])
        logits, _ = reference.translator(plain, source, target[:-1], "gru", "additive")
        for row, token in zip(logits, target[1:]):
            each = -np.log(reference.softmax(row))
            nats.append(each[token])
            smooth.append(0.9 * each[token] + 0.1 * each.mean())
            right.append(row.argmax() == token)
    assert float(loss.count) == len(nats)
    np.testing.assert_allclose(loss.compute(), np.mean(nats), rtol=1e-10)
    smoothed, _ = score(params, {}, batch, key=jax.random.key(0), train=True)
    np.testing.assert_allclose(smoothed.compute(), np.mean(smooth), rtol=1e-10)
    found = task.summarize(metrics)
    wanted = {"loss": np.mean(nats), "perplexity": math.exp(np.mean(nats)), "accuracy": np.mean(right)}
    assert found == pytest.approx(wanted, rel=1e-10)


def searched(task, params, batch, width, steps=12):
    """The hypotheses of a batch, as a list of a row's (tokens, log-probabilities)."""
    how = generation.of(task)

    def run(params, batch):
        at = how.start(params, {}, batch)
        return decode.beam_search(at.step, at.carry, at.prompt, steps, beam=width, stop=how.stop)

    found = jax.device_get(jax.jit(run)(params, batch))
    return list(zip(found.tokens, found.log_probs))


def test_greedy_decoding_is_the_reference(x64):
    task, batch = built(), first_batch(4)
    params = drawn(task, batch)
    plain, special = jax.tree.map(np.asarray, params), task.target.specials
    for n, (tokens, log_probs) in enumerate(searched(task, params, batch, width=1)):
        source = np.asarray(batch["source"][n, : batch["source_length"][n]])
        wanted, total = [special["<bos>"]], 0.0
        while len(wanted) <= 12 and wanted[-1] != special["<eos>"]:
            logits, _ = reference.translator(plain, source, wanted, "gru", "additive")
            wanted.append(int(logits[-1].argmax()))
            total += np.log(reference.softmax(logits[-1])[wanted[-1]])
        assert tokens[0, : len(wanted) - 1].tolist() == wanted[1:]
        np.testing.assert_allclose(log_probs[0], total, rtol=1e-10)


@pytest.mark.parametrize("name", but_for(["seq2seq_gru_additive"], ["seq2seq_lstm_general", "seq2seq_gru_additive"]))
def test_a_search_over_a_batch_is_that_of_each_sentence_without_its_padding(name, x64):
    task, batch = built(name), first_batch(2)
    params = drawn(task, batch)
    for n, (tokens, log_probs) in enumerate(searched(task, params, batch, width=3)):
        text = SOURCE.texts["source"][n]
        alone = {key: jnp.asarray(x) for key, x in generation.of(task).read(text).items()}
        assert alone["source"].shape[1] == batch["source_length"][n]
        ((wanted, scores),) = searched(task, params, alone, width=3)
        assert np.array_equal(tokens, wanted)
        np.testing.assert_allclose(log_probs, scores, rtol=1e-10)


def test_what_is_written_is_the_text_without_marks():
    task = built()
    how, text = generation.of(task), SOURCE.texts["target"][0]
    tokens = [*task.target.encode(text), how.stop]
    assert how.write("whatever", np.array(tokens)) == text
    assert how.read("")["source"].tolist() == [[task.source.specials["<unk>"], task.source.specials["<eos>"]]]


def test_alignments_are_the_weights_of_each_token(x64):
    task, batch = built(), first_batch(3)
    params = drawn(task, batch)
    found = jax.jit(task.alignment)(params, {}, batch)
    assert found.shape == (3, batch["target"].shape[1] - 1, batch["source"].shape[1])
    np.testing.assert_allclose(found.sum(-1), np.ones(found.shape[:2]), rtol=1e-12)
    with pytest.raises(ValueError, match="this model has no attention"):
        built("seq2seq_gru").alignment(params, {}, batch)


def test_what_does_not_fit_is_named():
    with pytest.raises(
        ValueError, match=r"reads 7 tokens, translation_grammar:40 has \d+ in its sources: set --config"
    ):
        built(source_size=7)
    model = ModelConfig(name="seq2seq_gru", options=SIZES)
    with pytest.raises(ValueError, match=r"task translation does not read task\.l2: leave it at its default"):
        registry.build(TaskConfig(name="translation", l2=0.1), model, DATA, SOURCE.info)
    words = ModelConfig(name="char_lm", options={"num_classes": SIZES["num_classes"]})
    with pytest.raises(ValueError, match="model char_lm reads tokens, and translation_grammar:40 has source"):
        registry.build(TaskConfig(name="translation"), words, DATA, SOURCE.info)
