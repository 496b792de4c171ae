"""cuDNN's LSTM: its weights without a GPU, its results where there is one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax.ops import cudnn_lstm as module
from cs231n_jax.ops import recurrent
from cs231n_jax.ops.cells import LstmState
from cs231n_jax.ops.cudnn_lstm import cudnn_layer, cudnn_lstm, pack
from tests.ops.test_recurrent import D, H, N, T, close, draw, either_way
from tests.ops.test_recurrent_torch import stack_of
from tests.rows import but_for


def two_layers(is_both):
    """An LSTM of two layers, of one direction or of both, with x and states [L, n, h]."""
    x, first, _ = draw("lstm", "float32", scale=0.5)
    _, other, _ = draw("lstm", "float32", n=4, scale=0.5)
    _, second, _ = draw("lstm", "float32", n=5, d=H * (1 + is_both), scale=0.5)
    layers = [(first, other), (second, second._replace(bias=-second.bias))] if is_both else [first, second]
    random = np.random.default_rng(0)
    states = [jnp.asarray(random.standard_normal((2 * (1 + is_both), N, H)), jnp.float32) for _ in range(2)]
    return x, layers, LstmState(*states)


@pytest.mark.parametrize("is_both", but_for([True], [False, True]), ids=["one", "both"])
def test_weights_are_packed_for_cudnn(is_both):
    """Unpacked and run by the reference that jax has for its binding, which needs no GPU."""
    from jax.experimental import rnn

    x, layers, states = two_layers(is_both)
    lengths, vector = jnp.asarray([5, 2, 3], jnp.int32), pack(layers)
    assert vector.size == rnn.get_num_params_in_lstm(D, H, 2, is_both)
    unpacked = rnn.unpack_lstm_weights(vector, D, H, 2, is_both)
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        y, h, c = rnn.lstm_ref(x, *states, *unpacked, lengths, D, H, 2, 0.0, is_both)
    stack = stack_of(states, "lstm", 2, is_both)
    y_ours, last = recurrent.stacked(recurrent.lstm, x, layers, stack, lengths=lengths)
    close((y_ours, last), (y, stack_of((h, c), "lstm", 2, is_both)), 2e-6)


@pytest.mark.gpu
@pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("is_both", [False, True], ids=["one", "both"])
def test_cudnn_gives_the_same(is_both):
    """To the three digits of TF32."""
    x, layers, states = two_layers(is_both)
    lengths = jnp.asarray([5, 2, 3], jnp.int32)
    y, last = cudnn_lstm(x, layers, states, lengths=lengths)
    stack = stack_of(states, "lstm", 2, is_both)
    wanted = recurrent.stacked(recurrent.lstm, x, layers, stack, lengths=lengths)
    close((y, stack_of(last, "lstm", 2, is_both)), wanted, 5e-3)


@pytest.mark.gpu
@pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("is_both", [False, True], ids=["one", "both"])
def test_gradients_through_cudnn_are_the_same(is_both):
    """Of inputs and all weights, behind the ends of sequences too; to the three digits of TF32."""
    x, layers, states = two_layers(is_both)
    lengths, stack = jnp.asarray([5, 2, 3], jnp.int32), stack_of(states, "lstm", 2, is_both)
    weight = jnp.asarray(np.random.default_rng(1).standard_normal((N, x.shape[1], H * (1 + is_both))), jnp.float32)

    def gradients(outputs):
        return jax.grad(lambda x, layers: jnp.sum(outputs(x, layers) * weight), (0, 1))(x, layers)

    found = gradients(lambda x, layers: cudnn_lstm(x, layers, states, lengths=lengths)[0])
    wanted = gradients(lambda x, layers: recurrent.stacked(recurrent.lstm, x, layers, stack, lengths=lengths)[0])
    assert float(jnp.abs(wanted[0]).max()) > 0.1
    close(found, wanted, 1e-2)


def one_layer(given, is_padded):
    """A layer's x, weights, state and lengths 5, 0, 3; behind the ends is no number, or no token."""
    x, weights, state = draw("lstm", "float32", scale=0.5)
    lengths, end = (jnp.asarray([T, 0, 3], jnp.int32), np.index_exp[2, 3:]) if is_padded else (None, np.index_exp[:0])
    if given == "tokens":
        tokens = jnp.asarray(np.random.default_rng(2).integers(0, D, (N, T)), jnp.int32)
        return tokens.at[end].set(D), weights, None, lengths
    return x.at[end].set(jnp.nan), weights, state, lengths


def with_gradients(layer, x, weights, state, lengths, reverse):
    """Outputs and last states, and the gradients of weights, states and vectors."""
    vectors = x if jnp.issubdtype(x.dtype, jnp.floating) else None

    def run(weights, state, vectors):
        return layer(x if vectors is None else vectors, weights, state, lengths=lengths, reverse=reverse)

    found, pull = jax.vjp(run, weights, state, vectors)
    return found, pull(jax.tree.map(jnp.cos, found))


def stand_in(x, layers, states, *, lengths):
    """What cuDNN computes, by `recurrent`; as cuDNN, it wants a step of each sequence."""
    assert x.dtype == jnp.float32
    assert int(lengths.min()) >= 1
    state = LstmState(*(part[0] for part in states))
    y, last = recurrent.lstm(x, layers[0], state, lengths=lengths)
    return y, LstmState(*(part[None] for part in last))


CALLS = [("vectors", True), ("tokens", True), ("tokens", False)]


@pytest.mark.parametrize(
    ("given", "is_padded", "reverse"),
    but_for(
        [("vectors", True, True), ("tokens", False, False)],
        [(*call, reverse) for call in CALLS for reverse in (False, True)],
    ),
)
def test_a_layer_of_cudnn_takes_the_place_of_ours(given, is_padded, reverse, monkeypatch):
    """Lengths from 0 on, tokens and both directions, made around what cuDNN has."""
    monkeypatch.setattr(module, "cudnn_lstm", stand_in)
    arguments = (*one_layer(given, is_padded), reverse)
    close(with_gradients(cudnn_layer, *arguments), with_gradients(recurrent.lstm, *arguments), 2e-6)


@pytest.mark.gpu
@pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs an NVIDIA GPU")
@pytest.mark.parametrize(("given", "is_padded"), CALLS)
@either_way
def test_a_layer_of_cudnn_on_a_gpu_takes_the_place_of_ours(given, is_padded, reverse):
    """To the three digits of TF32."""
    arguments = (*one_layer(given, is_padded), reverse)
    close(with_gradients(cudnn_layer, *arguments), with_gradients(recurrent.lstm, *arguments), 1e-2)


def test_a_token_that_does_not_exist_is_not_a_number_to_cudnn(monkeypatch):
    monkeypatch.setattr(module, "cudnn_lstm", stand_in)
    tokens, weights, _, _ = one_layer("tokens", False)
    y, _ = cudnn_layer(tokens.at[1, 2].set(D), weights)
    bad = np.isnan(np.asarray(y)).all(-1)
    assert bad[1, 2:].all()
    assert bad.sum() == T - 2


@pytest.mark.skipif(jax.default_backend() == "gpu", reason="there is a GPU")
def test_cudnn_says_that_it_needs_a_gpu():
    x, layers, _ = two_layers(False)
    with pytest.raises(RuntimeError, match="needs an NVIDIA GPU and this process runs on cpu: use"):
        cudnn_lstm(x, layers)
