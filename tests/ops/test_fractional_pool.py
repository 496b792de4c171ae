"""Fractional max pooling: its sequences against their definition, maxima and gradients against float64 numpy."""

import functools
import inspect
import itertools
import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jax.test_util import check_grads

from cs231n_jax.ops import fractional_pool as fractional
from tests.golden import make_fractional_pool as golden
from tests.references import pool as reference
from tests.rows import but_for, one_in

pytestmark = pytest.mark.usefixtures("emitters")
PAIRS = [(size, out) for size in range(3, 41) for out in range(1, size) if size < 2 * out]
KINDS = {"disjoint": False, "overlapping": True}
POOL = jax.jit(fractional.fractional_max_pool, static_argnames=("ratio", "size", "overlapping", "sequence", "draw"))
CASES = [  # the first and the last differ in everything
    (False, "random", "batch"),
    (False, "random", "row"),
    (False, "pseudorandom", "row"),
    (False, "pseudorandom", "batch"),
    (True, "random", "row"),
    (True, "random", "batch"),
    (True, "pseudorandom", "batch"),
    (True, "pseudorandom", "row"),
]


def draw(size, dtype="float64", ties=False, n=3):
    random = np.random.default_rng(0)
    x = random.integers(-1, 2, (n, *size, 2)) if ties else random.standard_normal((n, *size, 2))
    return jnp.asarray(x, dtype)


def drawn_borders(key, x, size, overlapping, sequence, draw):
    """The borders of each image as `fractional_max_pool` draws them, seen through images of their own coordinates."""
    n, h, w, _ = x.shape
    place = jnp.stack(jnp.broadcast_arrays(jnp.arange(h)[:, None], jnp.arange(w)), -1).astype("float32")
    ends = POOL(key, jnp.stack([place] * n), size=size, overlapping=overlapping, sequence=sequence, draw=draw)
    ends = np.asarray(ends, int) + (not overlapping)
    return [np.pad(ends[:, :, 0, 0], ((0, 0), (1, 0))), np.pad(ends[:, 0, :, 1], ((0, 0), (1, 0)))]


def value_and_pullback(pool, x, dy=None):
    """The maxima and, of their gradient `dy` or ones, that of x: in one program."""

    def both(x, dy):
        y, pull = jax.vjp(pool, x)
        return y, pull(jnp.ones_like(y) if dy is None else dy)[0]

    return jax.jit(both)(x, dy)


# --- sequences ---


# Without the checks of types, which numpy's arrays fail.
random_sequence, pseudorandom_sequence = map(
    inspect.unwrap, (fractional.random_sequence, fractional.pseudorandom_sequence)
)


@pytest.fixture
def in_numpy(monkeypatch):
    """The formulas of the sequences by numpy: by jax each length takes a second to compile."""
    monkeypatch.setattr(fractional, "jnp", np)
    monkeypatch.setattr(jax.random, "permutation", lambda key, x: np.random.default_rng(key).permutation(x))


def is_cover(borders, size, out, overlapping):
    """Whether the regions cover the image by ones and twos."""
    covered = [range(*region) for region in reference.regions(borders, overlapping)]
    return (
        borders.shape == (out + 1,)
        and borders.dtype == np.int32
        and borders[0] == 0
        and borders[-1] == size - overlapping
        and set(np.diff(borders)) <= {1, 2}
        and {len(pixels) for pixels in covered} <= ({2, 3} if overlapping else {1, 2})
        and set().union(*covered) == set(range(size))
        and sum(map(len, covered)) == size + overlapping * (out - 1)
    )


@pytest.mark.parametrize("overlapping", KINDS.values(), ids=KINDS)
def test_every_sequence_covers_the_image_by_ones_and_twos(overlapping, in_numpy):
    for size, out in PAIRS:
        sequences = [random_sequence(size, size, out, overlapping=overlapping)]
        evenly = functools.partial(pseudorandom_sequence, size=size, out=out, overlapping=overlapping)
        sequences += map(evenly, (0.01, 0.5, 0.99))
        assert all(is_cover(borders, size, out, overlapping) for borders in sequences), (size, out)


@pytest.mark.parametrize("overlapping", but_for([True], KINDS.values()), ids=KINDS)
def test_sequences_of_jax_are_those_of_numpy(overlapping, request):
    pairs = [*(pair for pair in PAIRS if pair[0] < 7), (25, 17), (36, 25), (40, 20), (40, 39)]

    def sequences(key, u):
        for size, out in pairs:
            evenly = pseudorandom_sequence(u, size, out, overlapping=overlapping)
            yield evenly, random_sequence(key, size, out, overlapping=overlapping)

    run = jax.jit(lambda *args: list(sequences(*args)))
    drawn = {u: run(jax.random.key(3), u) for u in (0.01, 0.5, 0.99)}
    request.getfixturevalue("in_numpy")
    for u, of_jax in drawn.items():
        for pair, found, wanted in zip(pairs, of_jax, sequences(3, u), strict=True):
            assert is_cover(np.asarray(found[1]), *pair, overlapping), pair
            assert found[0].dtype == np.int32
            np.testing.assert_array_equal(found[0], wanted[0])
            np.testing.assert_array_equal(np.sort(np.diff(found[1])), np.sort(np.diff(wanted[1])))


@pytest.mark.parametrize("overlapping", KINDS.values(), ids=KINDS)
def test_pseudorandom_sequences_are_those_of_the_paper(overlapping, in_numpy):
    """a_i = ⌈α(i + u)⌉ in exact fractions, moved to begin at 0; the third u makes α·u whole."""
    for size, out in PAIRS:
        alpha = Fraction(size - overlapping, out)
        for u in (Fraction(1, 8), Fraction(1, 2), Fraction(5, 8)):
            expected = [math.ceil(alpha * (i + u)) - math.ceil(alpha * u) for i in range(out + 1)]
            actual = pseudorandom_sequence(float(u), size, out, overlapping=overlapping)
            np.testing.assert_array_equal(actual, expected)


def test_all_shuffles_are_equally_probable():
    """Two twos and three ones: ten shuffles, χ² of nine degrees of freedom, 27.9 in one case of a thousand."""
    keys = jax.random.split(jax.random.key(0), 20_000)
    drawn = jax.vmap(lambda key: fractional.random_sequence(key, 7, 5, overlapping=False))(keys)
    found, counts = np.unique(np.diff(drawn), axis=0, return_counts=True)
    assert len(found) == 10
    assert ((counts - 2000) ** 2 / 2000).sum() < 27.9


@pytest.mark.slow
def test_pseudorandom_sequences_have_the_frequencies_of_a_uniform_u():
    """α = 11/8: each of eleven stretches of u has one sequence, some of them the same one."""
    stretches = [fractional.pseudorandom_sequence((k + 0.5) / 11, 11, 8, overlapping=False) for k in range(11)]
    expected, weights = np.unique(stretches, axis=0, return_counts=True)
    x = jnp.broadcast_to(jnp.arange(11.0)[:, None, None], (11_000, 11, 1, 1))
    pool = functools.partial(fractional.fractional_max_pool, size=(8, 1), overlapping=False, draw="row")
    ends = np.asarray(pool(jax.random.key(1), x, sequence="pseudorandom"))[:, :, 0, 0]
    found, counts = np.unique(ends + 1, axis=0, return_counts=True)
    np.testing.assert_array_equal(found, expected[:, 1:])
    wanted = weights * 1000
    assert ((counts - wanted) ** 2 / wanted).sum() < 26.1  # χ² of up to eight degrees, one case of a thousand


# --- the operator ---


@pytest.mark.parametrize(("overlapping", "sequence", "each"), one_in(8, CASES[::-1]))
def test_maxima_and_gradients(overlapping, sequence, each, x64):
    key, size = jax.random.key(3), (9, 6)
    options = {"size": size, "overlapping": overlapping, "sequence": sequence, "draw": each}
    borders = drawn_borders(key, draw((13, 10)), size, overlapping, sequence, each)
    pool = jax.jit(lambda x: fractional.fractional_max_pool(key, x, **options))
    pulled = jax.jit(lambda x, dy: jax.vjp(pool, x)[1](dy)[0])
    for x in (draw((13, 10)), draw((13, 10), ties=True)):
        y = pool(x)
        np.testing.assert_array_equal(y, reference.fractional_max_pool(np.asarray(x), *borders, overlapping))
        dy = jnp.asarray(np.random.default_rng(1).standard_normal(y.shape))
        expected = reference.fractional_max_pool_gradient(np.asarray(x), dy, *borders, overlapping)
        np.testing.assert_allclose(pulled(x, dy), expected, rtol=0, atol=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize(("overlapping", "sequence", "each"), one_in(8, CASES[::-1]))
def test_gradients_against_central_differences(overlapping, sequence, each, x64):
    options = {"overlapping": overlapping, "sequence": sequence, "draw": each}
    jitted = jax.jit(lambda x: fractional.fractional_max_pool(jax.random.key(2), x, 1.5, **options))
    on_device = lambda x: jitted(jnp.asarray(x))  # noqa: E731
    check_grads(on_device, (draw((8, 7)),), order=1, modes=["rev"], eps=1e-6, atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize(("kind", "name"), but_for([("overlapping", "oblong")], itertools.product(KINDS, golden.SIZES)))
def test_against_torch_where_both_rules_agree(name, kind, x64):
    with np.load(golden.FILE) as stored:
        x, y, *rest = (stored[f"{name}_{key}"] for key in ("x", "y", *(f"{kind}_{k}" for k in ("dy", "dx"))))
        rows, columns = (jnp.asarray(stored[f"{name}_{kind}_{k}"]) for k in ("rows", "columns"))
    dy, dx = rest
    pool = functools.partial(fractional.max_between, rows=rows, columns=columns, overlapping=KINDS[kind])
    ours, pulled = value_and_pullback(pool, jnp.asarray(x), jnp.asarray(dy))
    np.testing.assert_array_equal(np.asarray(ours)[dy != 0], y[dy != 0])
    np.testing.assert_allclose(pulled, dx, rtol=0, atol=1e-14)  # up to the order of four terms


def test_the_stored_numbers_send_gradients_both_ways():
    with np.load(golden.FILE) as stored:
        sent = {key: np.count_nonzero(value) for key, value in stored.items() if key.endswith("_dy")}
    assert all(count > 0 for key, count in sent.items() if key != "all_ones_disjoint_dy"), sent
    assert sent["all_ones_overlapping_dy"] == 3 * 6 * 5  # everywhere


@pytest.mark.parity
@pytest.mark.slow
@pytest.mark.parametrize("name", golden.SIZES)
def test_torch_still_gives_the_stored_numbers(name):
    pytest.importorskip("torch")
    with np.load(golden.FILE) as stored:
        for key, value in golden.arrays(name).items():
            np.testing.assert_array_equal(value, stored[key])


def test_what_a_key_decides():
    x, pool = draw((16, 16), "float32"), jax.jit(fractional.fractional_max_pool, static_argnames=("draw", "sequence"))
    for sequence in ("random", "pseudorandom"):
        once, again, other = (pool(jax.random.key(k), x, sequence=sequence) for k in (0, 0, 1))
        np.testing.assert_array_equal(once, again)
        assert (once != other).any()
    fixed = pool(None, x)
    np.testing.assert_array_equal(fixed, pool(None, x, sequence="pseudorandom", draw="row"))
    middle = [fractional.pseudorandom_sequence(0.5, 16, 11, overlapping=True)[None]] * 2
    np.testing.assert_array_equal(fixed, fractional.max_between(x, *middle, overlapping=True))


@pytest.mark.slow
def test_rows_and_columns_and_images_have_borders_of_their_own():
    x = draw((40, 40), "float32", n=4)
    for sequence in ("random", "pseudorandom"):
        rows, columns = drawn_borders(jax.random.key(0), x, (28, 28), True, sequence, "row")
        assert len(np.unique(np.concatenate([rows, columns]), axis=0)) == 8
        rows, columns = drawn_borders(jax.random.key(0), x, (28, 28), True, sequence, "batch")
        assert len(np.unique(rows, axis=0)) == len(np.unique(columns, axis=0)) == 1
        assert (rows != columns).any()


@pytest.mark.parametrize(
    ("each", "dtype"), but_for([("row", jnp.bfloat16)], [("batch", jnp.float32), ("row", jnp.bfloat16)])
)
def test_dtype_and_size(each, dtype):
    x = draw((18, 11), dtype)
    y, pulled = value_and_pullback(lambda x: POOL(jax.random.key(0), x, draw=each), x)
    assert y.shape == (3, 12, 7, 2)
    assert y.dtype == pulled.dtype == dtype


@pytest.mark.slow
def test_what_is_not_a_number_stays_so():
    x = draw((6, 6), "float32").at[0, 1, 1, 0].set(jnp.nan)
    for overlapping in KINDS.values():
        y, pulled = value_and_pullback(functools.partial(POOL, jax.random.key(0), overlapping=overlapping), x)
        assert np.isnan(y[0, ..., 0]).any()
        assert np.isfinite(y[1:]).all()
        assert float(np.sum(pulled)) == y.size  # nothing of the gradient is lost


@pytest.mark.slow
@pytest.mark.parametrize("each", ["batch", "row"])
def test_batch_over_eight_devices(each):
    x = draw((12, 12), "float32", n=8)
    pool = functools.partial(fractional.fractional_max_pool, jax.random.key(0), draw=each)
    function = jax.jit(jax.grad(lambda x: jnp.sin(pool(x)).sum()))
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    spread = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
    np.testing.assert_allclose(function(spread), function(x), rtol=0, atol=1e-6)
    assert "all-gather" not in function.lower(spread).compile().as_text()


def test_the_derivative_scatters_nothing():
    traced = jax.jit(jax.grad(lambda x: fractional.fractional_max_pool(jax.random.key(0), x).sum()))
    assert "scatter" not in traced.lower(draw((8, 8), "float32")).as_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 1.0}, "ratio is 1.0; it must lie above 1 and below 2"),
        ({"ratio": 2.0}, "ratio is 2.0"),
        ({"size": 3}, "8 pixels cannot be pooled to 3 by overlapping regions, which allow a size from 4 to 7"),
        ({"size": 8}, "8 pixels cannot be pooled to 8"),
        ({"size": (5, 9), "overlapping": False}, "disjoint regions, which allow a size from 4 to 8"),
        ({"size": 0}, "size is 0"),
        ({"size": 2.5}, r"size is 2.5; it must be an integer or \(height, width\)"),
        ({"sequence": "shuffled"}, "sequence is 'shuffled'"),
        ({"draw": "channel"}, "draw is 'channel'"),
    ],
)
def test_impossible_arguments(options, message, unchecked):
    with pytest.raises(ValueError, match=message):
        fractional.fractional_max_pool(jax.random.key(0), draw((8, 8), "float32"), **options)


def test_an_image_of_one_pixel_has_no_overlapping_regions():
    with pytest.raises(ValueError, match="allow no size at all"):
        fractional.fractional_max_pool(None, draw((1, 1), "float32"), size=1)
