"""DropConnect: against loops in float64 with the same masks, the masks' distribution, memory, and meshes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jax.test_util import check_grads

from cs231n_jax.ops import dropconnect, gaussian
from tests.references import regularizers as reference
from tests.rows import but_for

KEY = jax.random.key(3)
N, D, M = 5, 37, 4  # 37 rows: more than one random word, and part of another


def draw(dtype="float64", shape=(N, D, M)):
    random = np.random.default_rng(0)
    n, d, m = shape
    return [jnp.asarray(random.standard_normal(s), dtype) for s in ((n, d), (d, m), (m,), (n, m))]


def results_of(run):
    """(x, kernel, bias, dy) -> y and the gradients of x, kernel and bias."""

    def results(x, kernel, bias, dy):
        y, pull = jax.vjp(run, x, kernel, bias)
        return y, *pull(dy)

    return results


def masks_of(key, examples, drop_rate, shape=(D, M)):
    keys = [jax.random.fold_in(key, n) for n in range(examples)]
    return np.stack([dropconnect.keep_mask(k, shape, drop_rate=drop_rate) for k in keys])


def shared_masks_of(key, examples, drop_rate):
    return np.stack([dropconnect.keep_mask(key, (D, M), drop_rate=drop_rate)] * examples)


FORMS = {
    "example": ({"chunk_size": 1}, masks_of),
    "chunks": ({"chunk_size": 2}, masks_of),  # the last of three is not full
    "all at once": ({"chunk_size": 64}, masks_of),
    "batch": ({"shared_mask": True}, shared_masks_of),
}
every_form = pytest.mark.parametrize("form", FORMS)


@pytest.mark.parametrize(
    ("form", "dtype", "tolerance", "drop_rate"),
    [
        *((form, "float64", 1e-14, 0.3) for form in FORMS),
        ("chunks", "float64", 1e-14, 0.5),
        ("chunks", "float32", 1e-6, 255 / 256),
        ("chunks", "bfloat16", 2**-6, 0.75),
        ("batch", "bfloat16", 2**-6, 0.75),
    ],
)
def test_forward_and_backward_are_the_reference(form, drop_rate, dtype, tolerance, x64):
    options, masks = FORMS[form]
    x, kernel, bias, dy = draw(jnp.dtype(dtype))
    run = functools.partial(dropconnect.drop_connect, KEY, drop_rate=drop_rate, **options)
    y, *gradients = jax.jit(results_of(run))(x, kernel, bias, dy)
    x_, kernel_, bias_, dy_ = (np.asarray(a, np.float64) for a in (x, kernel, bias, dy))
    mask = masks(KEY, N, drop_rate)
    wanted = reference.drop_connect(x_, kernel_, bias_, mask)
    wanted = wanted, *reference.drop_connect_gradients(x_, kernel_, mask, dy_)
    for actual, desired in zip((y, *gradients), wanted, strict=True):
        assert actual.dtype == x.dtype
        # in units of the sum of 37 products
        np.testing.assert_allclose(np.asarray(actual, np.float64), desired, rtol=tolerance, atol=10 * tolerance)


@pytest.mark.parametrize("form", but_for(["chunks"], ["chunks", "batch"]))
def test_gradients_are_central_differences(form, x64):
    run = functools.partial(dropconnect.drop_connect, KEY, drop_rate=0.3, **FORMS[form][0])
    check_grads(jax.jit(run), tuple(draw()[:3]), order=1, modes=["rev"], eps=1e-4, atol=1e-8, rtol=1e-8)


def test_gradients_of_the_moments_are_central_differences(x64):
    moments = functools.partial(dropconnect.moments, drop_rate=0.3)
    check_grads(jax.jit(moments), tuple(draw()[:3]), order=2, modes=["rev"], eps=1e-4, atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize("drop_rate", [0.5, 0.25, 0.75, 0.3, 0.9, 1 / 500, 255 / 256])
def test_each_connection_is_kept_with_the_stated_probability(drop_rate):
    keep = dropconnect.keep_rate(drop_rate)
    assert abs(keep - (1 - drop_rate)) <= 1 / 512
    assert keep * 256 == round(keep * 256)
    mask = np.asarray(dropconnect.keep_mask(KEY, (3200, 320), drop_rate=drop_rate))
    error = np.sqrt(keep * (1 - keep))
    assert mask.mean() == pytest.approx(keep, abs=4.5 * error / np.sqrt(mask.size))
    np.testing.assert_allclose(mask.mean(0), keep, atol=5 * error / np.sqrt(3200))  # each column, each of the 32 bits
    bits = mask.reshape(100, 32, 320).mean((0, 2))
    np.testing.assert_allclose(bits, keep, atol=5 * error / np.sqrt(32_000))


@pytest.mark.parametrize("drop_rate", but_for([0.3], [0.5, 0.3]))
def test_connections_and_examples_are_independent(drop_rate):
    """Pairs of connections of one word, one row and one column, and of one connection in two examples."""
    count, keep = 20_000, dropconnect.keep_rate(drop_rate)
    keys = jax.random.split(KEY, count)
    mask = np.asarray(jax.vmap(lambda k: dropconnect.keep_mask(k, (40, 3), drop_rate=drop_rate))(keys))
    flat = (mask.reshape(count, -1) - keep) / np.sqrt(keep * (1 - keep))
    correlation = flat.T @ flat / count - np.eye(120)
    assert np.abs(correlation).max() < 5.5 / np.sqrt(count)  # of 7140 pairs and 120 variances
    across = (flat[1:] * flat[:-1]).mean(0)
    assert np.abs(across).max() < 5 / np.sqrt(count)
    first, second = masks_of(KEY, 2, drop_rate, (200, 200))
    assert (first == second).mean() == pytest.approx(keep**2 + (1 - keep) ** 2, abs=4.5 * 0.5 / 200)
    together, apart = ((first == m).mean() for m in shared_masks_of(KEY, 2, drop_rate)[:, :1, :1])
    assert together == apart


@pytest.mark.parametrize(("form", "drop_rate"), but_for([("batch", 0.5)], [("chunks", 0.3), ("batch", 0.5)]))
def test_mean_and_variance_are_the_moments(form, drop_rate, x64):
    """Unbiased: 20,000 draws; the variance of a variance by the fourth moment of the draws themselves."""
    x, kernel, bias, _ = draw()
    keys = jax.random.split(jax.random.key(8), 20_000)
    run = functools.partial(dropconnect.drop_connect, drop_rate=drop_rate, **FORMS[form][0])
    draws = np.asarray(jax.jit(jax.vmap(run, (0, None, None, None)))(keys, x, kernel, bias))
    mean, var = map(np.asarray, dropconnect.moments(x, kernel, bias, drop_rate=drop_rate))
    keep = dropconnect.keep_rate(drop_rate)
    np.testing.assert_allclose(mean, keep * np.asarray(x) @ np.asarray(kernel) + np.asarray(bias), rtol=1e-12)
    products = (np.asarray(x)[:, :, None] * np.asarray(kernel)) ** 2
    np.testing.assert_allclose(var, keep * (1 - keep) * products.sum(1), rtol=1e-12)
    centred = (draws - mean) ** 2
    for found, wanted in ((draws, mean), (centred, var)):
        np.testing.assert_array_less(np.abs(found.mean(0) - wanted), 4.5 * found.std(0) / np.sqrt(len(keys)))


@every_form
def test_rate_zero_is_the_dense_layer(form):
    x, kernel, bias, _ = draw("float32")
    run = functools.partial(dropconnect.drop_connect, KEY, drop_rate=0.0, **FORMS[form][0])
    np.testing.assert_array_equal(run(x, kernel, bias), x @ kernel + bias.reshape(1, -1))
    assert "random_bits" not in str(jax.make_jaxpr(run)(x, kernel, bias))
    mean, var = dropconnect.moments(x, kernel, bias, drop_rate=0.0)
    np.testing.assert_array_equal(mean, run(x, kernel, bias))
    np.testing.assert_array_equal(var, 0)
    assert dropconnect.keep_mask(KEY, (3, 2), drop_rate=0.0).all()


@pytest.mark.parametrize("drop_rate", [0.3])
def test_the_chunk_size_changes_nothing(drop_rate, x64):
    x, kernel, bias, dy = draw(shape=(11, D, M))

    def results(size):
        run = functools.partial(dropconnect.drop_connect, KEY, drop_rate=drop_rate, chunk_size=size)
        return jax.jit(results_of(run))(x, kernel, bias, dy)

    alone = results(1)
    for size in (3, 500):
        for a, b in zip(alone, results(size)):
            np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-13)


def test_the_draw_of_an_example_depends_on_its_number_and_the_key_alone():
    x, kernel, _, _ = draw("float32", (6, D, M))
    run = jax.jit(functools.partial(dropconnect.drop_connect, drop_rate=0.5))
    whole = run(KEY, x, kernel)
    np.testing.assert_allclose(run(KEY, x[:4], kernel), whole[:4], rtol=1e-6)
    np.testing.assert_array_equal(run(KEY, x, kernel), whole)
    assert not np.allclose(run(jax.random.key(4), x, kernel), whole)
    same = run(KEY, jnp.broadcast_to(x[:1], x.shape), kernel)
    assert len(np.unique(np.asarray(same), axis=0)) == 6
    same = jnp.broadcast_to(x[:1], x.shape)
    shared = dropconnect.drop_connect(KEY, same, kernel, drop_rate=0.5, shared_mask=True)
    np.testing.assert_allclose(shared, jnp.broadcast_to(shared[:1], shared.shape), rtol=1e-5)


def temporary_bytes(shape, **options):
    n, d, m = shape

    def gradients(key, x, kernel, bias, dy):
        run = functools.partial(dropconnect.drop_connect, key, drop_rate=0.3, **options)
        y, pull = jax.vjp(run, x, kernel, bias)
        return y, pull(dy)

    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((n, d), (d, m), (m,), (n, m))]
    key = jax.eval_shape(lambda: jax.random.key(0))
    return jax.jit(gradients).lower(key, *shapes).compile().memory_analysis().temp_size_in_bytes


def test_masks_of_a_batch_are_never_held_together():
    """4096 × 4096 at batch 128, forward and backward: a few times the kernel, and the batch plays no part."""
    kernel = 4 * 4096 * 4096
    large, small = (temporary_bytes((n, 4096, 4096)) for n in (128, 16))
    assert large < 4 * kernel < 128 * kernel / 30
    assert large - small <= 16 * (128 - 16) * 4096 * 4  # copies of rows of x, y and their gradients
    assert temporary_bytes((128, 4096, 4096), shared_mask=True) < 4 * kernel


SPLITS = [("chunks", 12), ("batch", 16), ("example", 16), ("all at once", 16), ("batch", 12)]


@pytest.mark.parametrize(("form", "batch_size"), but_for(SPLITS[:2], SPLITS))
def test_eight_devices_that_split_the_batch_compute_the_same(form, batch_size, x64):
    """Not divisible by eight: jax lays 12 examples on four of them."""
    x, kernel, bias, dy = draw(shape=(batch_size, D, M))
    devices = 8 if batch_size % 8 == 0 else 4
    mesh = jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices])
    split, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("data",), ()))

    gradients = results_of(functools.partial(dropconnect.drop_connect, KEY, drop_rate=0.3, **FORMS[form][0]))
    lies = (split, whole, whole, split)
    sharded = jax.jit(gradients, in_shardings=lies, out_shardings=(split, split, whole, whole))
    alone = jax.jit(gradients)(x, kernel, bias, dy)
    for a, b in zip(sharded(*jax.device_put((x, kernel, bias, dy), lies)), alone):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("form", but_for(["batch"], ["chunks", "batch"]))
def test_jit_and_vmap_and_second_derivatives(form, x64):
    x, kernel, bias, _ = draw()
    run = functools.partial(dropconnect.drop_connect, drop_rate=0.3, **FORMS[form][0])
    keys = jax.random.split(KEY, 3)
    one = jax.jit(run)
    alone = jnp.stack([one(key, x, kernel, bias) for key in keys])
    over_keys = jax.jit(jax.vmap(run, (0, None, None, None)))
    np.testing.assert_allclose(over_keys(keys, x, kernel, bias), alone, rtol=1e-12)
    twice = jnp.stack([x, 2 * x, -x])
    over_x = jax.jit(jax.vmap(run, (None, 0, None, None)))(KEY, twice, kernel, bias)
    np.testing.assert_allclose(over_x[1], one(KEY, 2 * x, kernel, bias), rtol=1e-12)
    gradient = jax.jit(jax.grad(lambda x, kernel: jnp.sum(jnp.sin(run(KEY, x, kernel, bias))), (0, 1)))
    # a central difference errs by its third derivative times eps² / 6, here by 2e-5 at the usual eps of 1e-4
    check_grads(gradient, (x, kernel), order=1, modes=["rev"], eps=1e-5, atol=1e-7, rtol=1e-7)


def test_moments_of_bfloat16_are_wide():
    x, kernel, bias, _ = draw(jnp.bfloat16)
    mean, var = dropconnect.moments(x, kernel, bias, drop_rate=0.5)
    assert mean.dtype == var.dtype == jnp.float32
    assert gaussian.relu(mean, var).dtype == jnp.float32
    assert dropconnect.moments(x, kernel, drop_rate=0.5)[0].shape == (N, M)


@pytest.mark.parametrize("drop_rate", [-0.1, 1.0, 1.5, float("nan"), 0.001, 0.999, 1 / 512, 511 / 512])
def test_rates_that_masks_cannot_have_are_refused(drop_rate):
    x, kernel, bias, _ = draw("float32")
    words = rf"^drop_rate is {drop_rate}; .* 1/256: give 0, or a rate between 1/512 and 511/512\.$"
    for call in (
        lambda: dropconnect.drop_connect(KEY, x, kernel, bias, drop_rate=drop_rate),
        lambda: dropconnect.moments(x, kernel, bias, drop_rate=drop_rate),
        lambda: dropconnect.keep_mask(KEY, (3, 2), drop_rate=drop_rate),
    ):
        with pytest.raises(ValueError, match=words):
            call()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": jnp.ones((5, 36))}, ValueError, r"36 columns and the kernel 37 rows; the kernel must be \[36, 4\]"),
        ({"x": jnp.ones((5, 2, 37))}, ValueError, r"shape \[5, 2, 37\]; it must be \[examples, inputs\]"),
        ({"bias": jnp.ones(3)}, ValueError, "bias has 3 elements and the kernel 4 columns"),
        ({"kernel": jnp.ones((37, 4), jnp.bfloat16)}, TypeError, "are bfloat16, float32; cast them to one"),
        ({"chunk_size": 0}, ValueError, "chunk_size is 0; it must be at least 1"),
    ],
)
def test_what_does_not_fit_is_named(change, error, message):
    x, kernel, bias, _ = draw("float32")
    given = {"x": x, "kernel": kernel, "bias": bias, **change}
    with pytest.raises(error, match=message):
        dropconnect.drop_connect(KEY, **given, drop_rate=0.5)
    if "chunk_size" not in change:
        with pytest.raises(error, match=message):
            dropconnect.moments(**given, drop_rate=0.5)
