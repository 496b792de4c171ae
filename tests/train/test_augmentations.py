"""data.augment: what its terms are, what the old words still mean bit for bit, and the flip that alternates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax.config import Config, TrainConfig
from cs231n_jax.data import DataConfig, Pipeline, open_source
from cs231n_jax.data.pipeline import alternating_flips
from cs231n_jax.models import ModelConfig
from cs231n_jax.ops import augment, colour, cutout, resized_crop
from cs231n_jax.optim import OptimizerConfig
from cs231n_jax.tasks import augmentations
from cs231n_jax.train import sharding
from cs231n_jax.train.assemble import assemble
from cs231n_jax.train.loop import Loop, Silent
from cs231n_jax.train.signals import StopRequest
from tests.train.test_devices import largest_difference

KEY = jax.random.key(0)
MEAN = (0.2, 0.4, 0.6)
BATCH = {"image": jnp.asarray(np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3)), jnp.uint8)}


def changed(text, batch=BATCH, **options):
    function = augmentations.build(DataConfig(augment=text, **options), MEAN)
    assert function is not None
    return function(KEY, batch)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("crop", lambda x: augment.random_crop(KEY, x, padding=2)),
        ("flip", lambda x: augment.random_flip(KEY, x)),
        ("crop_flip", lambda x: augment.random_crop_flip(KEY, x, padding=2)),
        ("crop_flip:3", lambda x: augment.random_crop_flip(KEY, x, padding=3)),
        ("reflect_crop:1", lambda x: augment.random_crop(KEY, x, padding=1, mode="reflect")),
        pytest.param(
            "resized_crop:0.5",
            lambda x: resized_crop.random_resized_crop(KEY, x, area=(0.5, 1.0)),
            marks=pytest.mark.slow,
        ),
        ("cutout:3", lambda x: cutout.cutout(KEY, x, size=3, fill=MEAN)),
        ("jitter:0.4:0.1", lambda x: colour.jitter(KEY, x, strength=0.4, hue_strength=0.1)),
        ("lighting", lambda x: colour.lighting(KEY, x, std=0.1)),
    ],
)
def test_one_term_is_its_operator_with_the_key_itself(text, expected):
    np.testing.assert_array_equal(changed(text, augment_padding=2), expected(BATCH["image"]))


def test_several_terms_are_applied_in_order_with_keys_of_their_own():
    crop, flip, cut = (jax.random.fold_in(KEY, i) for i in range(3))
    x = augment.random_flip(flip, augment.random_crop(crop, BATCH["image"], padding=4))
    np.testing.assert_array_equal(changed("crop:4+flip+cutout:8"), cutout.cutout(cut, x, size=8, fill=MEAN))
    assert augmentations.build(DataConfig(), MEAN) is None


def test_strength_0_changes_nothing():
    np.testing.assert_array_equal(changed("crop:0+cutout:0+jitter:0+lighting:0+reflect_crop:0"), BATCH["image"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("crap", r"term 'crap': there is no such term; there are none, crop\[:padding\], .*jitter:strength\[:hue\]"),
        ("crop:4+none", "term 'none': there is no such term"),
        ("crop:2.5", "term 'crop:2.5': padding is 2.5; it must be a whole number of at least 0 and at most 4096"),
        ("flip:1", "term 'flip:1' has 1 numbers: write flip"),
        ("crop+cutout", "term 'cutout' has 0 numbers: write cutout:size"),
        ("jitter:0.4:0.7", "hue is 0.7; it must be a number of at least 0 and at most 0.5"),
        ("jitter:-1", "strength is -1.0; it must be a number of at least 0"),
        ("lighting:0.1:0.1", "has 2 numbers: write lighting"),
        ("resized_crop:0", "area is 0.0; it must be a number of at least 0.0001 and at most 1"),
    ],
)
def test_a_wrong_term_is_named(text, words):
    with pytest.raises(ValueError, match=words):
        augmentations.build(DataConfig(augment=text), MEAN)


def test_flips_alternate():
    size = 20_000
    first, second, third = (alternating_flips(0, epoch, size) for epoch in range(3))
    assert abs(first.mean() - 0.5) < 3.3 * 0.5 / size**0.5  # p = 0.001
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 3.3 / size**0.5
    np.testing.assert_array_equal(second, ~first)
    np.testing.assert_array_equal(third, first)
    assert (first != alternating_flips(1, 0, size)).any()


@pytest.mark.parametrize("processes", [1, 2])
def test_over_two_epochs_every_image_is_seen_once_mirrored_and_once_not(processes):
    source = open_source(DataConfig(name="synthetic:4x4x1:3:48"), "train")
    seen = {False: [], True: []}
    for process in range(processes):
        pipeline = Pipeline(source, 8, 3, alternating=True, process_index=process, process_count=processes)
        for step in range(2 * pipeline.steps_per_epoch):
            batch, indices = pipeline.batch(step), pipeline.indices(step)
            np.testing.assert_array_equal(batch["image"], source[indices]["image"])
            images = changed("alternating_flip", jax.tree.map(jnp.asarray, batch))
            for image, index, flip in zip(np.asarray(images), indices, batch["flip"], strict=True):
                original = source[np.array([index])]["image"][0]
                np.testing.assert_array_equal(image, original[:, ::-1] if flip else original)
                seen[bool(flip)].append(index)
    for indices in seen.values():
        np.testing.assert_array_equal(np.sort(indices), np.arange(48))
    assert "flip" not in Pipeline(source, 8, 3).batch(0)


@pytest.mark.slow
def test_a_data_set_on_the_device_flips_as_a_streamed_one_does(tmp_path):
    states = []
    for calls in (1, 8):
        config = Config(
            model=ModelConfig(name="lenet5", options={"padding": 4}),
            data=DataConfig(name="digits", batch_size=128, augment="alternating_flip"),
            optimizer=OptimizerConfig(name="sgd", learning_rate=0.05),
            train=TrainConfig(steps="11", steps_per_call=calls, eval_every="0", save_every="0"),
            mesh=sharding.MeshConfig(data=2),
        )
        workdir = tmp_path / str(calls)
        workdir.mkdir()
        assembly = assemble(config)
        assert assembly.batch_shapes["flip"].shape == (128,)
        states.append(Loop(assembly, workdir, Silent(), StopRequest(), 0.0).run())
    assert largest_difference(states[0].params, states[1].params) < 1e-5


def test_all_frames_of_a_clip_are_moved_alike():
    """As the frames would be moved each by itself with the same key, whatever is moved into the picture."""
    clips = np.random.default_rng(0).integers(0, 256, (6, 4, 8, 8, 3), np.uint8)
    apply = augmentations.build(DataConfig(augment="crop_flip:2"), (0.5,) * 3, "video")
    found = apply(jax.random.key(3), {"video": jnp.asarray(clips)})
    for frame in range(4):
        alone = augment.random_crop_flip(jax.random.key(3), jnp.asarray(clips[:, frame]), padding=2)
        np.testing.assert_array_equal(found[:, frame], alone)
