"""The multiclass hinge against float64 numpy, central differences and the numbers of the course notes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax.ops import losses
from tests.references import losses as reference
from tests.rows import one_in

hinge = jax.jit(losses.multiclass_hinge, static_argnames=("margin", "squared"))
FORMS = [(1.0, False), (0.3, False), (0.0, False), (1.0, True), (2.0, True)]
forms = pytest.mark.parametrize(("margin", "squared"), FORMS)


def draw(shape=(6, 10), dtype="float64"):
    random = np.random.default_rng(0)
    return jnp.asarray(2 * random.standard_normal(shape), dtype), jnp.asarray(random.integers(0, shape[-1], shape[:-1]))


@forms
@pytest.mark.parametrize("shape", one_in(3, [((2, 3, 7),), ((6, 10),), ((5, 1),)]))
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-14), ("float32", 2e-6)])
def test_value(margin, squared, shape, dtype, tolerance, x64):
    z, labels = draw(shape, dtype)
    loss = hinge(z, labels, margin=margin, squared=squared)
    assert loss.dtype == dtype
    assert loss.shape == shape[:-1]
    expected = reference.multiclass_hinge(z, labels, margin, squared)
    np.testing.assert_allclose(loss, expected, rtol=tolerance, atol=tolerance)


@forms
def test_gradient_by_central_differences(margin, squared, x64):
    z, labels = draw()
    z64, h = np.asarray(z), 1e-6
    terms = z64 - np.take_along_axis(z64, np.asarray(labels)[:, None], 1) + margin
    others = np.arange(10) != np.asarray(labels)[:, None]
    assert np.abs(terms[others]).min() > 10 * h  # no corner within reach
    gradient = jax.grad(lambda z: hinge(z, labels, margin=margin, squared=squared).sum())(z)
    expected = np.zeros_like(z64)
    for at in np.ndindex(*z64.shape):
        step = np.zeros_like(z64)
        step[at] = h
        ends = [reference.multiclass_hinge(z64 + s, labels, margin, squared).sum() for s in (step, -step)]
        expected[at] = (ends[0] - ends[1]) / (2 * h)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-7)  # the error of the differences
    np.testing.assert_allclose(gradient.sum(-1), 0, atol=1e-12)


@pytest.mark.parametrize(
    ("scores", "label", "margin", "expected"), [((13, -7, 11), 0, 10, 8), ((-2.85, 0.86, 0.28), 2, 1, 1.58)]
)
def test_the_examples_of_the_course_notes(scores, label, margin, expected):
    loss = hinge(jnp.asarray([scores], jnp.float32), jnp.asarray([label]), margin=float(margin))
    np.testing.assert_allclose(loss, [expected], rtol=1e-6)


def test_equal_scores_cost_one_margin_for_every_other_class():
    np.testing.assert_allclose(hinge(jnp.zeros((2, 10)), jnp.asarray([0, 9])), [9.0, 9.0])


def test_narrow_floats_vmap_and_labels_out_of_range():
    z, labels = draw(dtype="float32")
    narrow = z.astype(jnp.bfloat16)
    loss, pull = jax.vjp(lambda z: hinge(z, labels), narrow)
    assert loss.dtype == jnp.float32
    assert pull(jnp.ones_like(loss))[0].dtype == jnp.bfloat16
    np.testing.assert_array_equal(loss, hinge(narrow.astype(jnp.float32), labels))
    np.testing.assert_array_equal(jax.vmap(losses.multiclass_hinge)(z, labels), hinge(z, labels))
    assert jnp.isnan(hinge(z[:2], jnp.asarray([-1, 10]))).all()


@pytest.mark.parametrize("margin", [-0.5, float("nan"), float("inf")])
def test_impossible_margins(margin):
    with pytest.raises(ValueError, match=r"margin is .*finite and at least 0"):
        losses.multiclass_hinge(jnp.zeros((1, 2)), jnp.zeros(1, jnp.int32), margin=margin)
