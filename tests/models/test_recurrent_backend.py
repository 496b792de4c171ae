"""The option of recurrent models that hands their LSTMs to cuDNN: what is refused, and that nothing else changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import models
from cs231n_jax.config import Config
from cs231n_jax.data import DataConfig
from cs231n_jax.models import ModelConfig, functional
from cs231n_jax.tasks.base import TaskConfig
from cs231n_jax.train.assemble import assemble_here

TOKENS = np.random.default_rng(0).integers(0, 9, (3, 5), np.int32)
LENGTHS = np.array([5, 1, 3], np.int32)
SMALL = {"hidden": 4, "num_classes": 9}
CASES = {
    "char_lm": ({**SMALL, "layers": 2}, (TOKENS,)),
    "sentiment": ({**SMALL, "vocabulary": 9, "embedding": 3}, (TOKENS, LENGTHS)),
    "seq2seq_lstm_general": ({**SMALL, "source_size": 9, "embedding": 3}, (TOKENS, TOKENS[:, :4], LENGTHS)),
    "seq2seq_lstm_additive": ({**SMALL, "source_size": 9, "embedding": 3}, (TOKENS, TOKENS[:, :4], LENGTHS)),
    "lrcn": (
        {"hidden": 4, "widths": (2,), "fc": 5},
        (np.random.default_rng(1).random((3, 4, 8, 8, 1), np.float32),),
    ),
}
gpu = jax.default_backend() == "gpu"


def logits(name, backend, dtype="float32", **more):
    """A function of the parameters, and those."""
    options, batch = CASES[name]
    model = models.create(name, **options, **more, backend=backend)
    params, state = functional.init(model, 0, *batch)
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), params)
    x = tuple(jnp.asarray(part, dtype if part.dtype == np.float32 else part.dtype) for part in batch)
    return lambda params: functional.apply(model, params, state, *x)[0], params


@pytest.mark.gpu
@pytest.mark.skipif(not gpu, reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("name", CASES)
def test_cudnn_gives_a_model_the_same_scores_and_gradients(name):
    """From the same parameters; to the three digits of TF32."""
    found = []
    for backend in ("scan", "cudnn"):
        run, params = logits(name, backend)
        scores, pull = jax.vjp(jax.jit(run), params)
        found.append(jax.tree.leaves((scores, pull(jnp.cos(scores)))))
    for ours, cudnn in zip(*found, strict=True):
        np.testing.assert_allclose(cudnn, ours, rtol=1e-2, atol=1e-2 * float(jnp.abs(ours).max()))


@pytest.mark.gpu
@pytest.mark.skipif(not gpu, reason="needs an NVIDIA GPU")
def test_cudnn_carries_its_state_over_windows():
    options, (tokens,) = CASES["char_lm"]
    model = models.create("char_lm", **options, backend="cudnn")
    params, state = functional.init(model, 0, tokens)
    whole, _ = functional.apply(model, params, state, jnp.asarray(tokens), method="features")
    parts = []
    for window in (jnp.asarray(tokens[:, :2]), jnp.asarray(tokens[:, 2:])):
        scores, state = functional.apply(model, params, state, window, train=True)
        parts.append(scores)
    np.testing.assert_allclose(jnp.concatenate(parts, 1), whole["logits"], rtol=1e-2, atol=1e-2)


@pytest.mark.skipif(gpu, reason="there is a GPU")
@pytest.mark.parametrize("name", CASES)
def test_a_model_without_a_gpu_says_so(name):
    run, params = logits(name, "cudnn")
    with pytest.raises(ValueError, match=r"^backend='cudnn' needs an NVIDIA GPU and .* runs on cpu: set .*'scan'"):
        jax.eval_shape(run, params)


def test_cudnn_is_for_float32(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    run, params = logits("lrcn", "cudnn", "bfloat16")
    with pytest.raises(ValueError, match=r"^backend='cudnn' computes in float32, got bfloat16: set backend='scan', or"):
        jax.eval_shape(run, params)


@pytest.mark.parametrize("name", ["char_rnn", "char_gru", "seq2seq_gru"])
def test_cudnn_is_for_lstms(name):
    with pytest.raises(ValueError, match=r"^backend='cudnn' runs LSTMs alone, got cell='(rnn|gru)': set .*'scan'"):
        models.create(name, backend="cudnn")


def test_a_clip_needs_a_recurrent_layer_for_cudnn():
    with pytest.raises(ValueError, match="got cell='none'"):
        models.create("lrcn", cell="none", backend="cudnn")


def test_a_run_with_cudnn_can_be_looked_at_without_a_gpu(monkeypatch):
    config = Config(
        model=ModelConfig(name="char_lm", options={"hidden": 4, "num_classes": 97, "backend": "cudnn"}),
        data=DataConfig(name="python_docs", batch_size=2, window=8),
        task=TaskConfig(name="language_modelling"),
    )
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    assert assemble_here(config).task.model.backend == "scan"
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert config.model.here() is config.model


@pytest.mark.parametrize("name", CASES)
def test_both_begin_from_the_same_parameters(name):
    ours, cudnn = (logits(name, backend)[1] for backend in ("scan", "cudnn"))
    jax.tree.map(np.testing.assert_array_equal, ours, cudnn)
