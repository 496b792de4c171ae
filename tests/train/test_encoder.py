"""Features in the place of images: equal to the network's, computed once, kept whole or not at all."""

import dataclasses
import functools
import json
import os
import signal
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import models
from cs231n_jax.config import Config, TrainConfig, from_json, to_json
from cs231n_jax.data import DataConfig, Normalization, features, open_source
from cs231n_jax.interop import files
from cs231n_jax.models import ModelConfig, functional
from cs231n_jax.ops import augment
from cs231n_jax.optim import OptimizerConfig
from cs231n_jax.train import encoder, members, plan, record
from cs231n_jax.train.assemble import assemble
from cs231n_jax.train.encoder import EncoderConfig, Storage
from cs231n_jax.train.evaluate import evaluate_snapshot
from cs231n_jax.train.loop import Silent
from cs231n_jax.train.run import run
from cs231n_jax.train.sharding import MeshConfig
from tests.programs import PROCESSES
from tests.rows import but_for

NARROW = {"width": 4}  # of the networks here, in two sizes of images
STAGES = {"stage2": (4, 4, 8), "pre_logits": (16,)}  # of digits, 8×8
every_stage = pytest.mark.parametrize("stage", but_for(["stage2"], STAGES))
every_part = pytest.mark.parametrize("part", but_for(["train"], ["train", "eval"]))


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    """Where features are kept: a place of each test's own."""
    monkeypatch.setenv("CS231N_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "data"


def written(path: Path, channels: int = 1, seed: int = 0) -> Path:
    """A file with the weights of a narrow network."""
    example = jnp.zeros((1, 8, 8, channels))
    files.write(path, files.to_flat(*functional.init(models.create("resnet8", **NARROW), seed, example)))
    return path


@pytest.fixture
def weights(tmp_path):
    return written(tmp_path / "weights.npz")


def of(weights: Path, **fields) -> EncoderConfig:
    return EncoderConfig(
        **{"model": "resnet8", "options": NARROW, "weights": str(weights), "stage": "stage2", **fields}
    )


def encoded(config: EncoderConfig, data: DataConfig | None = None, part="train"):
    data = data or DataConfig(name="digits")
    return encoder.build(config, data)(open_source(data, part), open_source(data, "train"))


def directly(weights: Path, images: np.ndarray, mean, std) -> dict[str, jax.Array]:
    params, state = files.from_flat(files.read(weights))
    pixels = augment.standardize(jnp.asarray(images), mean, std)
    run = functools.partial(functional.apply, models.create("resnet8", **NARROW), method="features")
    return jax.jit(run)(params, state, pixels)[0]


def refuse(*_):
    raise AssertionError("computed although it is kept")


# --- what they are ---


@every_stage
@every_part
def test_features_are_those_of_the_network(weights, stage, part):
    """Of all images, also of the last batch, which is not full; without loss in float32, rounded in float16."""
    plain = open_source(DataConfig(name="digits"), part)
    expected = np.asarray(directly(weights, plain.arrays["image"], plain.info.mean, plain.info.std)[stage])
    for storage, bound in ((Storage.FLOAT32, 0), (Storage.FLOAT16, 2.0**-11)):
        source = encoded(of(weights, stage=stage, storage=storage), part=part)
        batch = source[np.arange(len(source))]
        assert len(source) % encoder.BATCH
        assert source.info.shapes == {"image": STAGES[stage], "label": ()}
        assert (source.info.mean, source.info.std) == ((), ())
        assert batch["image"].dtype == np.float32
        off = np.abs(batch["image"] - expected)
        assert (off <= bound * np.abs(expected) + 3.0e-8 * bool(bound) + 1e-5).all()  # 1e-5: batches of another size
        assert off.max() > 1e-5 or not bound  # narrow numbers are narrow
        np.testing.assert_array_equal(batch["label"], plain.arrays["label"])


def test_pooled_features_are_the_mean_of_all_places(weights):
    grid, pooled = (encoded(of(weights, storage=Storage.FLOAT32, pooled=pooled)) for pooled in (False, True))
    rows = np.arange(40)
    assert pooled.info.shapes["image"] == (8,)
    np.testing.assert_allclose(pooled[rows]["image"], grid[rows]["image"].mean((1, 2)), rtol=1e-5, atol=1e-6)


def test_a_picture_with_many_texts_goes_through_once(tmp_path, monkeypatch):
    seen, data, computed = [], DataConfig(name="scenes:20"), encoder.Encoder.computed

    def noted(self, images, *rest):
        seen.append(len(images))
        return computed(self, images, *rest)

    monkeypatch.setattr(encoder.Encoder, "computed", noted)
    config = of(written(tmp_path / "colour.npz", channels=3), stage="stage3")
    source, plain = encoded(config, data), open_source(data, "train")
    assert seen == [20]
    assert len(source) == 100
    assert source.images.shape == (20, 16, 16, 16)
    assert source.texts == plain.texts
    batch = source[np.array([3, 4, 5])]
    np.testing.assert_array_equal(batch["image"][0], batch["image"][1])
    np.testing.assert_array_equal(batch["image"], source.images[[0, 0, 1]].astype(np.float32))
    np.testing.assert_array_equal(batch["target"], plain[np.array([3, 4, 5])]["target"])
    assert source.info.fingerprint != plain.info.fingerprint


@pytest.mark.slow
def test_the_published_network_sees_what_it_should(tmp_path):
    """SqueezeNet in Caffe's names, found from CS231N_WEIGHTS_DIR, against the program that renames them."""
    published = "squeezenet_v1.0_imagenet/squeezenet_v1.0_dense.npz"
    if not Path(os.environ.get("CS231N_WEIGHTS_DIR", ""), published).is_file():
        pytest.skip("CS231N_WEIGHTS_DIR has no squeezenet_v1.0_imagenet")
    data = DataConfig(name="scenes:4", normalize=Normalization.CAFFE)
    config = EncoderConfig(model="squeezenet1_0", weights=published, stage="stage3", storage=Storage.FLOAT32)
    source = encoded(config, data)
    from cs231n_jax.interop import caffe, torchvision

    arrays = files.read(Path(os.environ["CS231N_WEIGHTS_DIR"], published))
    params, state = torchvision.load("squeezenet1_0", caffe.squeezenet(arrays))
    pixels = open_source(data, "train").images.astype(np.float32) - np.array([123, 117, 104], np.float32)
    run = functools.partial(functional.apply, models.create("squeezenet1_0"), method="features")
    found, _ = jax.jit(run)(params, state, jnp.asarray(pixels))
    assert source.images.shape == (4, 3, 3, 512)
    np.testing.assert_allclose(
        source.images[np.arange(4)], found["stage3"], rtol=1e-4, atol=1e-4 * float(found["stage3"].max())
    )


def test_the_first_examples_have_the_features_of_all(weights, kept):
    whole = encoded(of(weights))
    some = encoded(of(weights), DataConfig(name="digits", limit=10))
    assert len(some) == 10
    np.testing.assert_array_equal(some[np.arange(10)]["image"], whole[np.arange(10)]["image"])
    assert len(list(kept.glob("*/meta.json"))) == 1
    assert some.info.fingerprint != whole.info.fingerprint


# --- what is kept ---


def test_a_second_opening_computes_nothing(weights, monkeypatch, capsys):
    first = encoded(of(weights))
    capsys.readouterr()  # what takes more than a second is told
    monkeypatch.setattr(encoder.Encoder, "computed", refuse)
    again = encoded(of(weights))
    assert again.info == first.info
    rows = np.arange(len(first))
    np.testing.assert_array_equal(again[rows]["image"], first[rows]["image"])
    assert capsys.readouterr().err == ""


def test_a_scale_changes_what_is_handed_out_and_not_what_is_kept(weights, monkeypatch):
    first, rows = encoded(of(weights)), np.arange(50)
    monkeypatch.setattr(encoder.Encoder, "computed", refuse)
    scaled = encoded(of(weights, scale=0.25))
    np.testing.assert_array_equal(scaled[rows]["image"], 0.25 * first[rows]["image"])
    assert scaled.info.fingerprint != first.info.fingerprint


@every_part
@every_stage
def test_centred_features_are_less_the_mean_of_the_training_pictures(weights, monkeypatch, stage, part):
    """Of all of them and their places, also where the first are trained on, and for the evaluation too."""
    train, plain = (encoded(of(weights, stage=stage), part=which) for which in ("train", part))
    monkeypatch.setattr(encoder.Encoder, "computed", refuse)
    kept = train[np.arange(len(train))]["image"].astype(np.float64)
    middle = kept.mean(axis=tuple(range(kept.ndim - 1)))
    found = encoded(of(weights, stage=stage, centered=True, scale=0.5), DataConfig(name="digits", limit=7), part)
    rows = np.arange(min(len(found), 7))
    assert np.abs(middle).max() > 0.1
    assert found[rows]["image"].dtype == np.float32
    np.testing.assert_allclose(found[rows]["image"], 0.5 * (plain[rows]["image"] - middle), atol=1e-6 * kept.max())
    other = encoded(of(weights, stage=stage, scale=0.5), DataConfig(name="digits", limit=7), part)
    assert found.info.fingerprint != other.info.fingerprint


@pytest.mark.parametrize("centered", [False, True])
def test_pictures_of_ones_own_have_the_features_that_batches_have(weights, centered):
    data = DataConfig(name="digits")
    config, plain = of(weights, scale=0.5, centered=centered), open_source(data, "train")
    expected = encoder.build(config, data)(plain)[np.arange(40)]["image"]
    found = encoder.build(config, data).of_images(plain.arrays["image"][:40], plain)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)  # float16: batches of another size


def one_bit_more(weights: Path) -> Path:
    arrays = files.read(weights)
    arrays["params/stem_conv/kernel"] = arrays["params/stem_conv/kernel"].copy()
    arrays["params/stem_conv/kernel"].view(np.int32).flat[0] ^= 1
    files.write(other := weights.with_name("other.npz"), arrays)
    return other


CHANGES = {
    "weights": lambda weights: (of(one_bit_more(weights)), {}),
    "stage": lambda weights: (of(weights, stage="stage1"), {}),
    "pooled": lambda weights: (of(weights, pooled=True), {}),
    "storage": lambda weights: (of(weights, storage=Storage.FLOAT32), {}),
    "options": lambda weights: (of(weights, options={**NARROW, "activation": "elu"}), {}),
    "normalisation": lambda weights: (of(weights), {"normalize": Normalization.NONE}),
}


@pytest.mark.parametrize("change", but_for(["weights", "pooled", "normalisation"], CHANGES))
def test_what_changes_features_changes_their_key_and_the_fingerprint(weights, kept, change):
    config, fields = CHANGES[change](weights)
    before, after = encoded(of(weights)), encoded(config, DataConfig(name="digits", **fields))
    assert len(list(kept.glob("*/meta.json"))) == 2
    assert before.info.fingerprint != after.info.fingerprint


def test_another_size_of_the_images_is_another_key(tmp_path, kept):
    from PIL import Image

    for i in range(10):
        (tmp_path / "photos" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (12, 12, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / "ab"[i % 2] / f"{i}.png")
    config = of(written(tmp_path / "colour.npz", channels=3))
    found = [encoded(config, DataConfig(name=str(tmp_path / "photos"), image_size=size)) for size in (8, 12)]
    assert [source.info.shapes["image"] for source in found] == [(4, 4, 8), (6, 6, 8)]
    assert len({source.info.fingerprint for source in found}) == 2
    assert len(list(kept.glob("*resnet8*/meta.json"))) == 2


def test_a_file_of_the_same_weights_under_another_name_is_the_same_key(weights, tmp_path, monkeypatch):
    first = encoded(of(weights))
    monkeypatch.setattr(encoder.Encoder, "computed", refuse)
    weights.rename(tmp_path / "moved.npz")
    assert encoded(of(tmp_path / "moved.npz")).info == first.info


DAMAGES = [lambda entry: os.truncate(entry / "image.npy", 100), lambda entry: (entry / "meta.json").unlink()]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_made_anew(weights, kept, capsys, damage):
    first = encoded(of(weights))[np.arange(5)]["image"]
    (meta,) = kept.glob("*/meta.json")
    damage(meta.parent)
    np.testing.assert_array_equal(encoded(of(weights))[np.arange(5)]["image"], first)
    assert "is damaged" in capsys.readouterr().err


def encode_until_killed(weights: Path, batches: int) -> None:
    """Of a process: dies when so many batches were written."""
    computed = encoder.Encoder.computed

    def fatal(self, *given):
        for number, chunk in enumerate(computed(self, *given)):
            if number == batches:
                os.kill(os.getpid(), signal.SIGKILL)
            yield chunk

    encoder.Encoder.computed = fatal
    encoded(of(weights))


@pytest.mark.slow
def test_a_process_killed_while_it_writes_leaves_nothing_that_looks_finished(weights, kept):
    process = PROCESSES.Process(target=_killed, args=(str(kept.parent), weights, 3))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    (part,) = kept.glob("*.part-*")
    assert (part / "image.npy").exists()
    assert not list(kept.glob("*/meta.json"))
    source = encoded(of(weights))
    assert not list(kept.glob("*.part-*"))
    plain = open_source(DataConfig(name="digits"), "train")
    expected = directly(weights, plain.arrays["image"][:9], plain.info.mean, plain.info.std)["stage2"]
    np.testing.assert_allclose(source[np.arange(9)]["image"], expected, rtol=1e-3, atol=1e-4)


def _killed(cache: str, weights: Path, batches: int) -> None:
    os.environ["CS231N_JAX_CACHE"] = cache
    encode_until_killed(weights, batches)


# --- refusals ---


def nan(weights: Path) -> Path:
    arrays = {name: np.full_like(x, np.nan) for name, x in files.read(weights).items()}
    files.write(other := weights.with_name("nan.npz"), arrays)
    return other


def huge(weights: Path) -> Path:
    arrays = {name: x * (1e8 if "norm" in name else 1) for name, x in files.read(weights).items()}
    files.write(other := weights.with_name("huge.npz"), arrays)
    return other


REFUSED = {
    "there is nothing at missing.npz": lambda w: (of("missing.npz"), {}),
    "CS231N_WEIGHTS_DIR names no folder": lambda w: (of("missing.npz"), {}),
    "resnet8 has no such features; it has stem, stage1": lambda w: (of(w, stage="stage9"), {}),
    r"lack batch_stats/stage1_block2/norm1/mean \[4\]": lambda w: (of(w, model="resnet14"), {}),
    r"norm1/mean has the shape \[4\] in place of \[8\]": lambda w: (of(w, options={"width": 8}), {}),
    "no places: set it to False": lambda w: (of(w, stage="pre_logits", pooled=True), {}),
    r"data.augment='flip' changes images.*set data.augment=none": lambda w: (of(w), {"augment": "flip"}),
    "unknown model 'resnet9'": lambda w: (of(w, model="resnet9"), {}),
    "encoder.model='char_lm' reads token, start": lambda w: (
        EncoderConfig(model="char_lm", weights="w", stage="s"),
        {},
    ),
    "encoder.scale=0": lambda w: (of(w, scale=0.0), {}),
    "encoder.stage is empty": lambda w: (of(w, stage=""), {}),
    "encoder.weights is empty": lambda w: (of(""), {}),
    "encoder.part='eyes': .* has no such part, but head, stage1_block1": lambda w: (of(w, part="eyes"), {}),
    "encoder.weights is given without encoder.model": lambda w: (EncoderConfig(weights=str(w)), {}),
    "no pictures for a network": lambda w: (of(w), {"name": "sentiment_grammar:40"}),
    "weights.txt is no kind of weights": lambda w: (of(w.rename(w.with_suffix(".txt"))), {}),
    "holds numbers that are not finite": lambda w: (of(nan(w)), {}),
    "more than float16 holds: set encoder.storage=float32": lambda w: (of(huge(w)), {}),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_is_refused_in_a_sentence(weights, kept, monkeypatch, message):
    monkeypatch.delenv("CS231N_WEIGHTS_DIR", raising=False)
    config, fields = REFUSED[message](weights)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as refusal:
        encoded(config, DataConfig(**{"name": "digits", **fields}))
    assert "\n" not in str(refusal.value)
    assert not list(kept.glob("*/meta.json"))


MISTAKES = {
    "num_classes=10": ("model", {"name": "mlp", "options": {"hidden": (), "num_classes": 11}}),
    "schedule": ("schedule", {"name": "cosine", "warmup": "40"}),
    "is no update at all": ("train", {"steps": "0ep"}),
    "data.batch_size to 898": ("data", {"name": "digits", "batch_size": 1000}),
    "lenet5 takes images": ("model", {"name": "lenet5", "options": {}}),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_a_mistake_elsewhere_is_told_before_features_are_computed(weights, monkeypatch, message):
    monkeypatch.setattr(encoder.Encoder, "computed", refuse)
    field, values = MISTAKES[message]
    config = dataclasses.replace(probe(weights), encoder=of(weights, stage="pre_logits"))
    setattr(config, field, type(getattr(config, field))(**values))
    with pytest.raises(ValueError, match=message):
        assemble(config)


# --- through the programs ---


def probe(weights: Path, **data) -> Config:
    """A linear classifier of a network's features."""
    return Config(
        model=ModelConfig(name="mlp", options={"hidden": ()}),
        data=DataConfig(name="digits", batch_size=32, **data),
        encoder=of(weights, stage="stage1"),
        optimizer=OptimizerConfig(name="adam", learning_rate=0.01),
        train=TrainConfig(steps="30", eval_every="0", log_every="10"),
        mesh=MeshConfig(data=1),
    )


def test_a_run_trains_on_features_and_is_evaluated_on_them(weights, tmp_path, monkeypatch):
    config = probe(weights)
    result = run(config, tmp_path / "run", {}, Silent(), time.time())
    assert result["eval"]["accuracy"] > 0.5
    monkeypatch.setattr(encoder.Encoder, "computed", refuse)
    numbers = {name: result["eval"][name] for name in ("loss", "accuracy")}
    assert evaluate_snapshot(tmp_path / "run")[1] == pytest.approx(numbers, rel=1e-6)  # on eight devices
    assembly = assemble(from_json(json.loads(json.dumps(to_json(config)))))
    assert plan.plan(assembly).parameters == 8 * 8 * 4 * 10 + 10
    recorded = record.read_json(tmp_path / "run" / "environment.json")["data"]
    assert recorded == assembly.fingerprints()
    assert set(recorded.values()).isdisjoint(s.info.fingerprint for s in map(_plain, ("train", "eval")))


def _plain(part):
    return open_source(DataConfig(name="digits"), part)


@pytest.mark.slow
def test_a_run_is_an_encoder_too(weights, tmp_path):
    """Its newest snapshot, by the name of its directory."""
    model = ModelConfig(name="resnet8", options=NARROW)
    trained = dataclasses.replace(probe(weights), encoder=EncoderConfig(), model=model)
    run(dataclasses.replace(trained, train=TrainConfig(steps="2")), tmp_path / "run", {}, Silent(), time.time())
    source = encoded(of(tmp_path / "run", storage=Storage.FLOAT32))
    from cs231n_jax.train import snapshots

    _, params, state = snapshots.load(tmp_path / "run")
    files.write(tmp_path / "run.npz", files.to_flat(params, state))
    plain = _plain("train")
    expected = directly(tmp_path / "run.npz", plain.arrays["image"][:9], plain.info.mean, plain.info.std)["stage2"]
    np.testing.assert_allclose(source[np.arange(9)]["image"], expected, rtol=1e-4, atol=1e-5)


def test_a_part_of_a_larger_model_is_an_encoder_without_what_lies_behind_its_stage(weights):
    """As the backbone of a captioner: the same features and fingerprint as of the whole network's own weights."""
    arrays = files.read(weights)
    reaching = {path.replace("/", "/eyes/", 1): x for path, x in arrays.items() if not path.startswith("params/head")}
    files.write(larger := weights.with_name("larger.npz"), {**reaching, "params/decoder/bias": np.ones(3)})
    found, whole = (encoded(of(path, part=part)) for path, part in ((larger, "eyes"), (weights, "")))
    np.testing.assert_array_equal(found[np.arange(9)]["image"], whole[np.arange(9)]["image"])
    with pytest.raises(ValueError, match="lack params/head/bias"):
        encoded(of(larger, part="eyes", stage="logits"))


def test_runs_behind_different_encoders_are_no_ensemble(weights, tmp_path):
    configs = [probe(weights), dataclasses.replace(probe(weights), encoder=of(weights, stage="stage2"))]
    with pytest.raises(ValueError, match=r"do not belong together \(encoder\.stage"):
        members._check_same([(tmp_path / str(i), config) for i, config in enumerate(configs)])


def test_a_config_without_an_encoder_is_what_it_was():
    old = to_json(Config())
    for name in ("encoder", "initial"):
        del old[name]
    assert to_json(from_json(old)) == to_json(Config())
    assert encoder.build(EncoderConfig(), DataConfig(name="digits", augment="flip")) is None


def test_pictures_are_found_whatever_holds_them():
    images, content = features.pictures(open_source(DataConfig(name="scenes:20"), "train"))
    assert images.shape == (20, 64, 64, 3)
    digits = _plain("train")
    assert features.pictures(digits)[1] == digits.info.fingerprint != content
