"""Features of every stage from one pass, kept and told; probes are regressions, chosen without the test examples."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import models
from cs231n_jax.data import DataConfig, Normalization, open_source
from cs231n_jax.data.base import First
from cs231n_jax.interop import files
from cs231n_jax.models import functional
from cs231n_jax.ops import augment
from cs231n_jax.train import probes
from cs231n_jax.train.encoder import EncoderConfig
from cs231n_jax.train.probes import Split

NARROW = {"width": 4}
STAGES = {"stem": 256, "stage1": 256, "stage2": 128, "stage3": 64, "pre_logits": 16}  # of digits: 8×8, 8×8, 4×4, 2×2


@pytest.fixture
def weights(tmp_path, monkeypatch):
    monkeypatch.setenv("CS231N_JAX_CACHE", str(tmp_path / "cache"))
    return written(tmp_path / "weights.npz")


def written(path, seed=0):
    files.write(
        path, files.to_flat(*functional.init(models.create("resnet8", **NARROW), seed, jnp.zeros((1, 8, 8, 1))))
    )
    return path


def found(weights, source=None, data=None):
    data = data or DataConfig(name="digits")
    config = EncoderConfig(model="resnet8", options=NARROW, weights=str(weights), stage=probes.TOP)
    return probes.features(config, data, source or open_source(data, "train"))


class Counted:
    """Images that count how often each is looked at."""

    def __init__(self, images):
        self.images, self.looks = images, np.zeros(len(images), int)
        self.shape, self.dtype = images.shape, images.dtype

    def __len__(self):
        return len(self.images)

    def __getitem__(self, which):
        self.looks[which] += 1
        return self.images[which]


def test_all_stages_cost_one_pass_and_are_kept(weights, monkeypatch):
    source, traced = open_source(DataConfig(name="digits"), "train"), []
    apply = functional.apply
    monkeypatch.setattr(functional, "apply", lambda *args, **kwargs: traced.append(1) or apply(*args, **kwargs))
    source.arrays["image"] = counted = Counted(source.arrays["image"])
    first = found(weights, source)
    assert set(counted.looks) == {1}  # every image once
    assert len(traced) == 1  # in one program, of one run of the network a batch
    assert first.told.endswith("computed in one pass over 898 images")
    assert {stage: x.shape for stage, x in first.arrays.items()} == {stage: (898, d) for stage, d in STAGES.items()}
    again = found(weights, source)
    assert set(counted.looks) == {1}
    assert again.told.endswith("read from the disk")
    assert again.fingerprint == first.fingerprint
    assert all(np.array_equal(again.arrays[stage], first.arrays[stage]) for stage in STAGES)
    few = found(weights, First(source, 7))
    assert set(counted.looks) == {1}
    np.testing.assert_array_equal(few.arrays["stem"], first.arrays["stem"][:7])

    run = jax.jit(functools.partial(apply, models.create("resnet8", **NARROW), method="features"))(
        *files.from_flat(files.read(weights)),
        augment.standardize(jnp.asarray(counted.images[:3]), source.info.mean, source.info.std),
    )[0]
    np.testing.assert_allclose(first.arrays["stem"][:3].reshape(3, 8, 8, 4), run["stem"], atol=1e-5)
    mean = np.asarray(run["stage2"], np.float64)  # 4×4 maps of 8 channels: a grid of 4×4 places
    np.testing.assert_allclose(first.arrays["stage2"][:3].reshape(3, 4, 4, 8), mean, atol=1e-5)


def test_other_weights_or_preprocessing_are_noticed_and_computed(weights, tmp_path):
    first = found(weights)
    other = found(written(tmp_path / "other.npz", seed=1))
    assert "one pass over 898 images since the weights, the images or their preprocessing are not those" in other.told
    plain = found(weights, data=DataConfig(name="digits", normalize=Normalization.NONE))
    assert "since the weights" in plain.told
    assert len({first.fingerprint, other.fingerprint, plain.fingerprint}) == 3
    assert not np.array_equal(first.arrays["stem"], other.arrays["stem"])
    assert found(weights).told.endswith("read from the disk")


def test_maps_are_averaged_over_a_grid():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 6, 60)), jnp.float32)
    grid = np.asarray(x).reshape(2, 2, 3, 2, 3, 60).mean((2, 4))
    np.testing.assert_allclose(probes._flat(x), grid.reshape(2, -1), atol=1e-6)
    assert probes._flat(jnp.zeros((1, 5, 5, 300))).shape == (1, 300)
    assert probes._flat(jnp.zeros((1, 3, 3, 1))).shape == (1, 9)


def test_a_fifth_of_each_class_is_held_out():
    labels = np.array([0, 1] * 10 + [2] * 4)
    held = probes.held_out(labels)
    assert [int(held[labels == k].sum()) for k in range(3)] == [2, 2, 0]
    assert np.flatnonzero(held).tolist() == [8, 9, 18, 19]


def some(n, seed, noise=1.0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, n)
    return Split((np.eye(3)[labels] * 5 + noise * random.normal(size=(n, 3))).astype(np.float32), labels)


def test_the_regression_is_the_minimum_of_its_formula():
    """Gradient of mean cross-entropy + λ/2·‖W‖² at what is found, in float64: W's is λ·W, b's is zero."""
    from sklearn.linear_model import LogisticRegression

    train, penalty = some(90, 0), 0.1
    x = (train.features - train.features.mean(0)) / train.features.std(0)
    model = LogisticRegression(C=1 / (penalty * len(x)), tol=1e-8).fit(x, train.labels)
    error = (model.predict_proba(x) - np.eye(3)[train.labels]) / len(x)
    np.testing.assert_allclose(error.T @ x, -penalty * model.coef_, atol=1e-4)  # where L-BFGS stops
    (right,) = probes._fits(train, test := some(60, 1), (penalty,))
    scaled = (test.features - train.features.mean(0)) / train.features.std(0)
    assert np.mean((model.predict(scaled) == test.labels) == right) > 0.98


def test_the_test_examples_choose_nothing():
    train, test = some(60, 0, noise=4), some(60, 1, noise=4)
    one, other = probes.probe(train, test), probes.probe(train, Split(-test.features, test.labels))
    assert (one.penalty, one.validation) == (other.penalty, other.validation)
    assert one.right.mean() > other.right.mean()
    assert one.right.shape == (60,)


def test_too_few_examples_are_refused():
    with pytest.raises(ValueError, match="3 training examples leave none to choose a penalty by"):
        probes.probe(Split(np.zeros((3, 2)), np.arange(3)), some(5, 0))
