import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import optim

GRADS = {"a": jnp.array([3.0, -4.0]), "b": jnp.array([[12.0]])}  # norm 13


def clip(transformation, grads=GRADS):
    return transformation.update(grads, transformation.init(grads))


def test_clipping_by_value_bounds_every_element():
    clipped, _ = clip(optim.clip_by_value(3.5))
    np.testing.assert_array_equal(clipped["a"], [3.0, -3.5])
    np.testing.assert_array_equal(clipped["b"], [[3.5]])


def test_clipping_by_norm_scales_all_leaves_alike_and_tells():
    clipped, state = clip(optim.clip_by_global_norm(6.5))
    np.testing.assert_allclose(clipped["a"], [1.5, -2.0], rtol=1e-6)
    np.testing.assert_allclose(clipped["b"], [[6.0]], rtol=1e-6)
    read = optim.measurements(state)
    assert float(read["gradient_norm"]) == pytest.approx(13.0)
    assert float(read["clip_factor"]) == pytest.approx(0.5)


def test_a_gradient_that_fits_is_not_touched():
    clipped, state = clip(optim.clip_by_global_norm(13.5, eps=1e-6))
    assert all(jax.tree.map(lambda x, y: bool(jnp.all(x == y)), clipped, GRADS).values())
    assert float(state.clip_factor) == 1.0
    nothing, state = clip(optim.clip_by_global_norm(1.0), jax.tree.map(jnp.zeros_like, GRADS))
    np.testing.assert_array_equal(nothing["a"], 0.0)
    assert float(state.clip_factor) == 1.0


def test_torchs_eps_counts_where_the_norm_just_fits():
    """torch multiplies by limit / (norm + eps) wherever that is below 1: at a norm of 5 and a limit of 5 too."""
    grads = {"w": jnp.asarray([3.0, 4.0])}
    clip = optim.clip_by_global_norm(5.0, eps=1e-3)
    clipped, _ = clip.update(grads, clip.init(grads))
    np.testing.assert_allclose(clipped["w"], np.array([3.0, 4.0]) * 5 / 5.001, rtol=1e-6)


def test_one_nan_stays_one_nan():
    grads = {"a": jnp.array([jnp.nan, 1.0]), "b": jnp.array([[2.0]])}
    for clipped, _ in (clip(optim.clip_by_global_norm(1.0), grads), clip(optim.clip_by_value(5.0), grads)):
        np.testing.assert_array_equal(jnp.isnan(clipped["a"]), [True, False])
        np.testing.assert_array_equal(clipped["b"], [[2.0]])


def test_a_norm_that_overflows_gives_no_update_instead_of_a_wild_one():
    clipped, state = clip(optim.clip_by_global_norm(1.0), {"a": jnp.array([1e25, -1.0]), "b": jnp.array([1.0])})
    np.testing.assert_array_equal(clipped["a"], [0.0, 0.0])
    assert np.isinf(float(state.gradient_norm))


def test_norms_of_narrow_floats_are_taken_in_float32():
    tree = {"a": jnp.full(100_000, 1e-2, jnp.bfloat16), "b": jnp.zeros(3, jnp.float16)}
    norm = optim.global_norm(tree)
    assert norm.dtype == jnp.float32
    assert float(norm) == pytest.approx(float(tree["a"][0]) * np.sqrt(1e5), rel=1e-5)
    assert float(optim.global_norm({})) == 0.0


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("compiled", [False, True])
def test_what_is_finite(dtype, compiled):
    check = jax.jit(optim.all_finite) if compiled else optim.all_finite
    largest = jnp.full(1000, jnp.finfo(dtype).max, dtype)
    assert bool(check({"a": largest, "b": -largest}))  # although their sum is not
    for bad in (jnp.nan, jnp.inf, -jnp.inf):
        assert not bool(check({"a": largest, "b": largest.at[7].set(bad)}))
    assert not bool(check({"a": jnp.array([jnp.inf, -jnp.inf], dtype)}))
    assert bool(check({}))


def run(optimizer, gradients, x=1.0):
    """Points and measurements of a run over given gradients."""
    x = jnp.asarray(x)
    state, out = optimizer.init(x), []
    for g in gradients:
        updates, state = jax.jit(optimizer.update)(jnp.asarray(g, x.dtype), state, x)
        x = optim.apply_updates(x, updates)
        out.append((float(x), {k: float(v) for k, v in optim.measurements(state).items()}))
    return out


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_gradient_leaves_no_trace(bad):
    inner = optim.chain(optim.clip_by_global_norm(10.0), optim.adamw(0.1, weight_decay=0.1))
    interrupted = run(optim.drop_nonfinite(inner, 2), [1.0, bad, 2.0, bad, bad, 3.0])
    clean = run(inner, [1.0, 2.0, 3.0])
    assert [interrupted[i][0] for i in (0, 2, 5)] == [x for x, _ in clean]
    assert interrupted[1][0] == interrupted[0][0]
    assert [m["dropped"] for _, m in interrupted] == [0, 1, 1, 2, 3, 3]
    assert [m["dropped_in_a_row"] for _, m in interrupted] == [0, 1, 0, 1, 2, 0]
    assert interrupted[5][1]["gradient_norm"] == 3.0


def test_after_too_many_bad_gradients_nothing_moves_until_somebody_looks():
    points = run(optim.drop_nonfinite(optim.sgd(0.1), 1), [1.0, np.nan, np.nan, 1.0, 1.0])
    assert [x for x, _ in points] == [points[0][0]] * 5
    assert points[-1][1]["dropped_in_a_row"] == 4


def test_no_bad_gradient_at_all_is_allowed_by_zero():
    points = run(optim.drop_nonfinite(optim.sgd(0.1), 0), [np.nan, 1.0])
    assert points[-1][0] == 1.0
