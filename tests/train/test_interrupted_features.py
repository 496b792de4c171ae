"""Features that were interrupted while they were computed: what there is stays, and the next call goes on from it."""

import dataclasses
import fcntl
import json
import os
import runpy
import signal
import sys
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import models
from cs231n_jax.config import Config, TrainConfig, to_json
from cs231n_jax.data import DataConfig, cache, open_source
from cs231n_jax.interop import files
from cs231n_jax.models import ModelConfig, functional
from cs231n_jax.optim import OptimizerConfig
from cs231n_jax.train import encoder, generate_many
from cs231n_jax.train.encoder import BATCH, EncoderConfig, Storage
from cs231n_jax.train.loop import Silent
from cs231n_jax.train.run import run
from cs231n_jax.train.sharding import MeshConfig
from cs231n_jax.train.signals import Interrupted
from tests.programs import PROCESSES
from tests.rows import but_for

ROOT = Path(__file__).parents[2]
NARROW = {"width": 4}
DIGITS = DataConfig(name="digits")
AFTER = 3  # batches


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    """Where features are kept: a place of each test's own."""
    monkeypatch.setenv("CS231N_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "data"


@pytest.fixture
def eyes(tmp_path):
    variables = functional.init(models.create("resnet8", **NARROW), 0, jnp.zeros((1, 8, 8, 1)))
    files.write(tmp_path / "weights.npz", files.to_flat(*variables))
    where = {"weights": str(tmp_path / "weights.npz"), "stage": "stage1", "storage": Storage.FLOAT32}
    return EncoderConfig(model="resnet8", options=NARROW, **where)


def after(batches):
    """What says, when it was asked so many times, that it is time to stop."""
    asked = iter(range(batches + 1))
    return lambda: next(asked) == batches


def encoded(config, should_stop=encoder.never):
    source = encoder.build(config, DIGITS, should_stop)(open_source(DIGITS, "train"))
    return source[np.arange(len(source))]["image"]


def counted(monkeypatch):
    """The first image of each computation of features, as they come."""
    firsts, computed = [], encoder.Encoder.computed

    def noted(self, images, variables, normalisation, chosen, first=0):
        firsts.append(first)
        return computed(self, images, variables, normalisation, chosen, first)

    monkeypatch.setattr(encoder.Encoder, "computed", noted)
    return firsts


def test_the_next_call_goes_on_where_the_last_one_was_and_makes_the_same_bytes(eyes, kept, monkeypatch):
    firsts = counted(monkeypatch)
    for batches in (AFTER, 0, 2):
        with pytest.raises(Interrupted, match=r"with the features of \d+ of 898 images, which are kept"):
            encoded(eyes, after(batches))
        assert len(list(kept.glob("*.part-*"))) == 1
        assert not list(kept.glob("*/meta.json"))
    found = encoded(eyes)
    assert firsts == [0, AFTER * BATCH, AFTER * BATCH, (AFTER + 2) * BATCH]
    (entry,) = (path.parent for path in kept.glob("*/meta.json"))
    assert sorted(path.name for path in entry.iterdir()) == ["image.npy", "meta.json"]
    assert len(list(kept.glob("digits_resnet8*"))) == 2  # the entry and its lock
    monkeypatch.setenv("CS231N_JAX_CACHE", str(kept.parent.parent / "another"))
    assert encoded(eyes).tobytes() == found.tobytes()
    assert firsts[-1] == 0


DAMAGES = {
    "has other bytes": lambda part: overwritten(part / "image.npy", -1),
    "holds another array": lambda part: edited(part, count=2 * BATCH),
    "Expecting value": lambda part: (part / cache.MARK).write_text("no mark"),
    "No such file": lambda part: (part / "image.npy").unlink(),
    "cannot reshape|has other bytes|EOF|magic": lambda part: os.truncate(part / "image.npy", 4),
}


def overwritten(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def edited(part, **changes):
    content = json.loads((part / cache.MARK).read_text())
    (part / cache.MARK).write_text(json.dumps({**content, **changes}))


@pytest.mark.parametrize("message", but_for(["has other bytes", "Expecting value"], DAMAGES))
def test_what_is_not_as_it_was_left_is_made_again(eyes, kept, monkeypatch, capsys, message):
    firsts = counted(monkeypatch)
    with pytest.raises(Interrupted):
        encoded(eyes, after(AFTER))
    (part,) = kept.glob("*.part-*")
    DAMAGES[message](part)
    found = encoded(eyes)
    assert firsts == [0, 0]
    assert "is damaged" in capsys.readouterr().err
    assert encoded(eyes).tobytes() == found.tobytes()
    assert np.abs(found).max(axis=(1, 2, 3)).min() > 0  # no picture was left out


def test_what_waits_for_another_process_stops_too(eyes, kept, capsys):
    found = encoded(eyes)
    (meta,) = kept.glob("*/meta.json")
    meta.unlink()
    with meta.parent.with_name(f"{meta.parent.name}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Interrupted, match="while another process computes the same features"):
            encoded(eyes, lambda: True)
    assert "waiting for another process" in capsys.readouterr().err
    assert encoded(eyes).tobytes() == found.tobytes()


def test_what_would_fail_again_leaves_nothing(eyes, kept, monkeypatch):
    def refused(self, found):
        raise ValueError("these are no features")

    monkeypatch.setattr(encoder.Stage, "_kept", refused)
    monkeypatch.setattr(cache, "MARK_EVERY", 0.0)
    with pytest.raises(ValueError, match="these are no features"):
        encoded(eyes)
    assert not list(kept.glob("*.part-*"))


def _struck(number: int, cache_dir: str, words: list[str]) -> None:
    """Of a process: experiments.train, which is sent a signal when so many batches of features were written."""
    computed = encoder.Encoder.computed

    def fatal(self, *given):
        for batch, chunk in enumerate(computed(self, *given)):
            if batch == AFTER:
                os.kill(os.getpid(), number)
            yield chunk

    encoder.Encoder.computed = fatal
    cache.MARK_EVERY = 0.0
    os.environ["CS231N_JAX_CACHE"] = cache_dir
    os.chdir(ROOT)
    sys.argv = ["train", *words]
    runpy.run_module("experiments.train", run_name="__main__", alter_sys=True)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_run_that_is_struck_while_features_are_computed_is_continued(eyes, kept, tmp_path, monkeypatch, number, code):
    config = Config(
        model=ModelConfig(name="mlp", options={"hidden": ()}),
        data=dataclasses.replace(DIGITS, batch_size=32),
        encoder=eyes,
        optimizer=OptimizerConfig(name="adam", learning_rate=0.01),
        train=TrainConfig(steps="4", eval_every="0", log_every="2"),
        mesh=MeshConfig(data=1),
    )
    (tmp_path / "config.json").write_text(json.dumps(to_json(config)))
    words = [f"--config=experiments/configs/replay.py:{tmp_path}/config.json", f"--workdir={tmp_path}/run"]
    process = PROCESSES.Process(target=_struck, args=(number, str(kept.parent), words))
    process.start()
    process.join(120)
    assert process.exitcode == code
    firsts = counted(monkeypatch)
    struck = run(config, tmp_path / "run", {}, Silent(), time.time())
    assert firsts[0] == {signal.SIGTERM: AFTER + 1, signal.SIGKILL: AFTER}[number] * BATCH
    assert firsts[1:] == [0]  # the test split
    monkeypatch.setenv("CS231N_JAX_CACHE", str(tmp_path / "another"))
    calm = run(config, tmp_path / "calm", {}, Silent(), time.time())
    assert struck["eval"] == calm["eval"]
    lines = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("run", "calm")]
    assert lines[0] == lines[1]


def test_what_reads_a_run_stops_too(eyes, tmp_path):
    config = Config(
        model=ModelConfig(name="mlp", options={"hidden": ()}),
        data=dataclasses.replace(DIGITS, batch_size=32),
        encoder=eyes,
    )
    with pytest.raises(Interrupted, match="with the features of 32 of 898 images"):
        generate_many.assembled(config, "test", after(1))
