"""Random resized crops against float64 numpy and torch, and the distribution of the rectangles."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax.ops import resized_crop
from cs231n_jax.ops.resized_crop import Boxes, random_boxes, random_resized_crop, resize_boxes
from tests.golden import make_resized_crop as golden
from tests.references import augment as reference
from tests.rows import one_in

KEY = jax.random.key(0)
BOXES = Boxes(*jnp.asarray(golden.RECTANGLES, jnp.int32).T)
PAPER = {"area": (0.08, 1.0), "ratio": (3 / 4, 4 / 3)}


def images(dtype="float64"):
    x = np.random.default_rng(0).random((4, 11, 9, 3))
    return jnp.asarray(np.round(x * 255) if dtype == "uint8" else x, dtype)


def cut(x, i):
    top, left, height, width = (int(field[i]) for field in BOXES)
    return np.asarray(x, np.float64)[i, top : top + height, left : left + width]


@pytest.mark.parametrize("size", [(11, 9), (4, 5), (1, 1), (20, 3)])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), one_in(2, [("float64", 1e-6), ("float32", 1e-6), ("uint8", 0.5 + 1e-4)])
)
def test_every_rectangle_is_resized(size, dtype, tolerance, x64):
    """In float64 too the weights are float32: they are ratios of small numbers of pixels."""
    x = images(dtype)
    y = jax.jit(lambda x, boxes: resize_boxes(x, boxes, size=size))(x, BOXES)
    assert (y.dtype, y.shape) == (x.dtype, (4, *size, 3))
    for i in range(4):
        np.testing.assert_allclose(y[i], reference.resize(cut(x, i), size), rtol=0, atol=tolerance)


@pytest.mark.parametrize("size", golden.SIZES)
def test_torch_resizes_the_same(size):
    with np.load(golden.FILE) as stored:
        theirs = stored["{}x{}".format(*size)]
    x = jnp.asarray(golden.images())
    resized = jax.jit(functools.partial(resize_boxes, size=size))(x, BOXES)
    np.testing.assert_allclose(resized, theirs, rtol=0, atol=2e-6)


@pytest.mark.parity
def test_torch_still_gives_the_stored_numbers():
    pytest.importorskip("torch")
    with np.load(golden.FILE) as stored:
        for name, theirs in golden.make().items():
            np.testing.assert_allclose(stored[name], theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "bfloat16"])
def test_the_whole_image_at_its_size_is_the_image(dtype):
    x = images(dtype)[:, :9]
    crop = jax.jit(functools.partial(random_resized_crop, area=(1.0, 1.0), ratio=(1.0, 1.0)))
    np.testing.assert_array_equal(crop(KEY, x), x)


def test_rectangles_lie_inside_and_fill_their_ranges():
    n, side = 20_000, 200
    boxes = jax.tree.map(np.asarray, random_boxes(KEY, n, (side, side), **PAPER))
    for start, length in ((boxes.top, boxes.height), (boxes.left, boxes.width)):
        assert start.min() >= 0
        assert (start + length).max() <= side
        assert length.min() >= 1
        room = side - length
        share = ((start + 0.5) / (room + 1))[room > 20]
        counts, _ = np.histogram(share, 10, (0, 1))
        # χ² with 9 degrees of freedom, p = 0.001, and the steps of whole pixels
        assert ((counts - len(share) / 10) ** 2 / (len(share) / 10)).sum() < 2 * 27.9
    area = boxes.height * boxes.width / side**2
    assert 0.075 < area.min() < 0.09
    small = area < 0.6  # every shape fits: uniform
    counts, _ = np.histogram(area[small], 10, (0.08, 0.6))
    expected = counts.sum() / 10
    assert ((counts - expected) ** 2 / expected).sum() < 2 * 27.9
    shape = np.log(boxes.width / boxes.height)[small]
    assert abs(shape.mean()) < 4 * shape.std() / len(shape) ** 0.5
    assert abs(shape.std() - np.log(16 / 9) / 12**0.5) < 0.005
    assert abs(np.corrcoef(area[:-1], area[1:])[0, 1]) < 3.3 / n**0.5
    assert abs(np.corrcoef(boxes.top[small], boxes.left[small])[0, 1]) < 0.3  # both shrink with the area, no more


def test_torchvision_s_rule_where_no_draw_fits():
    """Of a strip no draw of the whole area fits: the largest centred piece of the nearest allowed shape."""
    for shape, expected in (((10, 40), (0, 13, 10, 13)), ((40, 10), (13, 0, 13, 10))):
        boxes = random_boxes(KEY, 3, shape, (1.0, 1.0), (3 / 4, 4 / 3))
        for found, wanted in zip(boxes, expected, strict=True):
            np.testing.assert_array_equal(found, [wanted] * 3)
    tall = random_boxes(KEY, 3, (30, 30), (1.0, 1.0), (1.2, 1.3))
    np.testing.assert_array_equal(tall.height, [25] * 3)
    np.testing.assert_array_equal(tall.top, [2] * 3)
    assert resized_crop.TRIES == 10


@pytest.mark.parametrize(("shape", "ratio"), [((2, 1), (3.0, 4.0)), ((1, 2), (0.1, 0.2))])
def test_a_rectangle_is_never_empty(shape, ratio):
    """No shape of one row or column lies in the ratio: rounded, the other side would be 0."""
    boxes = jax.device_get(jax.jit(lambda key: random_boxes(key, 3, shape, (0.08, 1.0), ratio))(KEY))
    assert (boxes.height >= 1).all()
    assert (boxes.width >= 1).all()
    y = jax.jit(functools.partial(random_resized_crop, ratio=ratio))(KEY, jnp.full((3, *shape, 1), 200, jnp.uint8))
    np.testing.assert_array_equal(y, np.full_like(y, 200))


def test_the_key_decides_and_nothing_else():
    x = images("uint8")
    y, crop = random_resized_crop(KEY, x), jax.jit(random_resized_crop)
    compiled = crop(KEY, x)
    np.testing.assert_array_equal(compiled, crop(KEY, x))
    assert (compiled != crop(jax.random.key(1), x)).any()
    # halves are rounded by the last digit
    np.testing.assert_allclose(np.asarray(compiled, int), np.asarray(y, int), rtol=0, atol=1)
    keys = jax.random.split(KEY, 2)
    both = np.asarray(jax.jit(jax.vmap(random_resized_crop, (0, None)))(keys, x), int)
    np.testing.assert_allclose(both[1], np.asarray(crop(keys[1], x), int), rtol=0, atol=1)
    assert jax.eval_shape(lambda: random_resized_crop(KEY, x, size=(5, 6))).shape == (4, 5, 6, 3)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"area": (0.0, 1.0)}, ValueError, "area is .*0 < low ≤ high ≤ 1"),
        ({"area": (0.5, 1.5)}, ValueError, "area is"),
        ({"ratio": (2.0, 1.0)}, ValueError, "ratio is .*0 < low ≤ high"),
        ({"size": (0, 3)}, ValueError, r"size is \(0, 3\)"),
    ],
)
def test_impossible_arguments(options, error, message):
    with pytest.raises(error, match=message):
        random_resized_crop(KEY, images("float32"), **options)
