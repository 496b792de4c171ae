import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cs231n_jax import data


def open_both(name):
    config = data.DataConfig(name=name)
    return data.open_source(config, "train"), data.open_source(config, "eval")


@given(indices=st.lists(st.integers(0, 99), min_size=1, max_size=8))
def test_an_example_depends_on_its_index_alone(indices):
    source, _ = open_both("synthetic:5x3x2:4:100")
    together = source[np.array(indices)]
    for row, index in enumerate(indices):
        alone = source[np.array([index])]
        np.testing.assert_array_equal(together["image"][row], alone["image"][0])
        assert together["label"][row] == alone["label"][0] == index % 4


def test_the_name_gives_shape_classes_and_count():
    train, evaluation = open_both("synthetic:5x3x2:4:100")
    assert (len(train), len(evaluation)) == (100, 20)
    assert train.info.shapes == {"image": (5, 3, 2), "label": ()}
    assert train.info.num_classes == len(train.info.classes) == 4
    batch = train[np.arange(7)]
    assert batch["image"].shape == (7, 5, 3, 2)
    assert (batch["image"].dtype, batch["label"].dtype) == (np.uint8, np.int32)
    default, _ = open_both("synthetic")
    assert (len(default), default.info.shapes["image"], default.info.num_classes) == (50000, (32, 32, 3), 10)


def test_no_image_is_in_both_splits():
    train, evaluation = open_both("synthetic:8x8x1:2:60")
    pictures = [source[np.arange(len(source))]["image"].reshape(len(source), -1) for source in (train, evaluation)]
    assert len(np.unique(np.concatenate(pictures), axis=0)) == 60 + 12
    assert train.info.fingerprint != evaluation.info.fingerprint


def test_the_stated_statistics_are_those_of_the_pixels():
    train, evaluation = open_both("synthetic:16x16x3:10:2000")
    pixels = train[np.arange(2000)]["image"] / 255.0
    # 512,000 pixels a channel of standard deviation 0.2: three standard errors are 0.0009.
    np.testing.assert_allclose(train.info.mean, pixels.mean((0, 1, 2)), atol=1e-3)
    np.testing.assert_allclose(train.info.std, pixels.std((0, 1, 2)), atol=1e-3)
    assert evaluation.info.mean == train.info.mean


def test_the_classes_can_be_told_apart():
    train, evaluation = open_both("synthetic:16x16x3:10:1000")
    batch = train[np.arange(1000)]
    means = np.stack([batch["image"][batch["label"] == k].mean(0) for k in range(10)])
    rest = evaluation[np.arange(200)]
    distance = ((rest["image"][:, None].astype(float) - means) ** 2).sum((2, 3, 4))
    assert (distance.argmin(1) == rest["label"]).all()


@pytest.mark.parametrize("name", ["synthetic:", "synthetic:32x32:10:5", "synthetic:0x1x1:1:1", "synthetic:1x1x1:2"])
def test_a_wrong_name_is_explained(name):
    with pytest.raises(ValueError, match=r"synthetic:HEIGHTxWIDTHxCHANNELS:CLASSES:EXAMPLES .* such as"):
        open_both(name)


def test_indices_outside_are_refused():
    train, _ = open_both("synthetic:2x2x1:2:10")
    for index in (-1, 10):
        with pytest.raises(IndexError, match="0 … 9"):
            train[np.array([index])]
