"""DropConnect in the perceptron and the test bed: names, draws, inference without a key, and what it leaves alone."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import models
from cs231n_jax.models import functional
from cs231n_jax.ops import activations, dropconnect, gaussian
from tests.rows import but_for

X = jnp.asarray(np.random.default_rng(0).standard_normal((6, 4, 4, 1)), jnp.float32)
ACTIVATIONS = activations.NAMES


def mlp(**options):
    return models.create("mlp", hidden=(20, 9), **options)


def shapes(model):
    return jax.tree.map(lambda leaf: leaf.shape, functional.shapes(model, X))


# A closed form with a mask for each example, and learned slopes with one for the batch.
QUICK = [("relu", "example"), ("prelu", "batch")]


@pytest.mark.parametrize(("activation", "mask"), but_for(QUICK, itertools.product(ACTIVATIONS, ("example", "batch"))))
def test_inference_is_the_mean_of_each_layer_and_takes_no_key(activation, mask):
    model = mlp(activation=activation, drop_connect_rate=0.3, drop_connect_mask=mask)
    plain = mlp(activation=activation)
    assert shapes(model) == shapes(plain)
    params, state = functional.init(model, 0, X)
    assert all(map(np.array_equal, jax.tree.leaves(params), jax.tree.leaves(functional.init(plain, 0, X)[0])))
    run = jax.jit(functools.partial(functional.apply, model, params, state, method="features"))
    found, h = run(X)[0], X.reshape(6, -1)
    for stage in model.stages:
        moments = dropconnect.moments(h, *(params[stage][name] for name in ("kernel", "bias")), drop_rate=0.3)
        if activation == "prelu":
            h = gaussian.prelu(*moments, params[f"{stage}_prelu"]["slope"])
        else:
            h = gaussian.get(activation)(*moments)
        np.testing.assert_allclose(found[stage], h, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found["logits"], run(X)[0]["logits"])
    still = functional.apply(plain, params, state, X, method="features")[0]
    assert not np.allclose(found["hidden1"], still["hidden1"], atol=1e-3)


@pytest.mark.parametrize("mask", ["example", "batch"])
def test_noise_is_a_draw_of_masks(mask):
    model = mlp(drop_connect_rate=0.5, drop_connect_mask=mask)
    params, state = functional.init(model, 0, X)
    same = jnp.broadcast_to(X[:1], X.shape)
    run = jax.jit(lambda x, key: functional.apply(model, params, state, x, key=key, noise=True, method="features")[0])
    first, again, other = (run(same, jax.random.key(seed))["hidden1"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len(np.unique(np.asarray(first).round(4), axis=0)) == (6 if mask == "example" else 1)
    # all the sums of kept connections that a unit can have lie between those of its negative and positive products
    products = np.asarray(X[0].ravel())[:, None] * np.asarray(params["hidden1"]["kernel"])
    assert (np.asarray(first) <= activations.relu(jnp.asarray(np.maximum(products, 0).sum(0)))[None] + 1e-5).all()


def test_every_parameter_has_a_gradient_over_several_keys():
    model = mlp(drop_connect_rate=0.5, activation="prelu", drop_rate=0.2)
    params, state = functional.init(model, 0, X)

    @jax.jit
    @jax.grad
    def gradient(params, key):
        return jnp.sum(jnp.sin(functional.apply(model, params, state, X, key=key, train=True)[0]))

    several = [gradient(params, key) for key in jax.random.split(jax.random.key(0), 4)]
    total = jax.tree.map(lambda *each: sum(map(jnp.abs, each)), *several)
    for path, g in jax.tree_util.tree_flatten_with_path(total)[0]:
        assert float(g.max()) > 1e-8, functional.path_name(path)


def test_at_rate_zero_the_graph_is_the_plain_one():
    """The perceptron as it was without these options: affine maps and rectifiers, and nothing random."""
    model = mlp()
    params, state = functional.init(model, 0, X)

    def plain(params, x):
        h = x.reshape((x.shape[0], -1))
        for name in ("hidden1", "hidden2"):
            h = activations.relu(h @ params[name]["kernel"] + params[name]["bias"].reshape(1, -1))
        return h @ params["head"]["kernel"] + params["head"]["bias"].reshape(1, -1)

    for noise, key in ((False, None), (True, jax.random.key(0))):
        run = functools.partial(functional.apply, model, key=key, noise=noise)
        ours = jax.make_jaxpr(lambda params, x, run=run: run(params, state, x)[0])(params, X)
        assert str(ours) == str(jax.make_jaxpr(plain)(params, X))


def test_the_hidden_layer_of_the_convolutional_test_bed():
    plain, model = (models.create("convnet", widths=(4, 6), hidden=9, drop_connect_rate=rate) for rate in (0.0, 0.3))
    images = jnp.asarray(np.random.default_rng(0).standard_normal((5, 8, 8, 3)), jnp.float32)
    params, state = functional.init(model, 0, images)
    assert all(map(np.array_equal, jax.tree.leaves(params), jax.tree.leaves(functional.init(plain, 0, images)[0])))
    found = jax.jit(functools.partial(functional.apply, model, method="features"))(params, state, images)[0]
    before = found["stage2"].mean((1, 2))
    np.testing.assert_allclose(
        found["fc"], gaussian.relu(*dropconnect.moments(before, *_weights(params), drop_rate=0.3)), rtol=1e-5, atol=1e-6
    )
    run = jax.jit(functools.partial(functional.apply, model, params, state, images, noise=True, method="features"))
    first, again, other = (run(key=jax.random.key(seed))[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first["fc"], again["fc"])
    np.testing.assert_array_equal(first["stage2"], other["stage2"])
    assert not np.array_equal(first["fc"], other["fc"])


def _weights(params):
    return params["fc"]["kernel"], params["fc"]["bias"]


def test_frozen_layers_are_as_in_inference():
    model = mlp(drop_connect_rate=0.5, drop_rate=0.5, frozen=("hidden1", "hidden2"))
    params, state = functional.init(model, 0, X)
    still = functional.apply(model, params, state, X)[0]
    noisy = functional.apply(model, params, state, X, key=jax.random.key(0), train=True)[0]
    np.testing.assert_allclose(noisy, still, rtol=1e-6)


def test_dropout_after_the_hidden_layers():
    model = mlp(drop_rate=0.5, activation="sigmoid")
    params, state = functional.init(model, 0, X)
    noisy = functional.apply(model, params, state, X, key=jax.random.key(0), noise=True, method="features")[0]
    zero = np.asarray(noisy["pre_logits"]) == 0
    assert 0 < zero.sum() < zero.size
    np.testing.assert_allclose(
        np.asarray(noisy["pre_logits"])[~zero], 2 * np.asarray(noisy["hidden2"])[~zero], rtol=1e-6
    )


def test_bfloat16_keeps_its_dtype():
    model = mlp(drop_connect_rate=0.5)
    params, state = functional.init(model, 0, X)
    for key in (None, jax.random.key(0)):
        run = functools.partial(functional.apply, model, params, state, key=key, noise=key is not None)
        y, _ = jax.eval_shape(run, X.astype(jnp.bfloat16))
        assert y.dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"drop_connect_rate": 1.0}, "drop_connect_rate=1.0 of model 'mlp' must be a number from 0 and below 1"),
        ({"drop_connect_rate": 0.001}, "drop_rate is 0.001; .* between 1/512 and 511/512"),
        ({"drop_connect_mask": "row"}, "'example', 'batch'"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        mlp(**options)
