"""Answers to all questions of a split, and the page of where each hop looked."""

import json
import shutil

import jax
import numpy as np
import pytest

from cs231n_jax.config import Config, to_json
from cs231n_jax.data import DataConfig, open_source
from cs231n_jax.data.text_config import TextConfig
from cs231n_jax.models import ModelConfig
from cs231n_jax.train import generate_many, record, snapshots
from cs231n_jax.train.answers import SHOWN, answer_split
from cs231n_jax.train.assemble import assemble
from cs231n_jax.train.description_page import Page
from cs231n_jax.train.sharding import MeshConfig
from cs231n_jax.train.signals import Interrupted
from tests.pages import read, unpacked
from tests.programs import run

SIZES = {"hidden": 6, "embedding": 4, "attended": 3, "vocabulary": 43, "num_classes": 16}
PLACES = (13, 13)
DATA = DataConfig(name="scene_questions:20", batch_size=20, text=TextConfig(longest=8))


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A run that has learned nothing, but is sure of itself."""
    path = tmp_path_factory.mktemp("answers") / "asked"
    path.mkdir()
    config = Config(
        model=ModelConfig(name="vqa_stacked2", options={**SIZES, "backbone": "lenet5", "stage": "stage2"}),
        data=DATA,
        mesh=MeshConfig(data=1),
    )
    record.write_json(path / "config.json", to_json(config))
    assembly = assemble(config)
    params, state = assembly.task.init(0, assembly.batch_shapes)
    snapshots.save_weights(path, 1, jax.tree.map(lambda x: 20 * np.asarray(x), params), jax.device_get(state), {})
    return path


@pytest.fixture(scope="module")
def answered(workdir):
    where = Page(workdir.parent / "new" / "page.html", 7)
    return answer_split(workdir, "test", where), where.path


@pytest.fixture(scope="module")
def source():
    return open_source(DATA, "eval")


@pytest.fixture(scope="module")
def features(workdir, source):
    """Of all questions, found without what is tested."""
    task, variables = assemble(record.stored_config(workdir)).task, snapshots.load(workdir)[1:]
    return jax.device_get(jax.jit(task.features)(*variables, source[np.arange(len(source))]))


def test_each_question_gets_the_likeliest_answer_and_each_type_its_share(answered, source, features):
    found, _ = answered
    wanted = [source.info.classes[k] for k in features["logits"].argmax(-1)]
    assert found.texts == wanted
    right = np.array([text == label for text, label in zip(wanted, source.texts["label"])])
    kinds = np.array(source.types)
    assert found.accuracy.by_type == {kind: right[kinds == kind].mean() for kind in sorted(set(kinds))}
    assert found.accuracy.score == pytest.approx(right.mean())
    assert found.prior.score == np.mean([label == source.info.classes[0] for label in source.texts["label"]])
    assert found.noticed == {"questions of more than 8 tokens cut": 4}
    kept = json.loads(found.path.read_text())
    assert (kept["accuracy"], kept["prior"]) == (found.accuracy._asdict(), found.prior._asdict())
    assert (kept["snapshot"], kept["split"], kept["noticed"]) == (1, "test", found.noticed)
    assert found.accuracy.unknown == sum(label not in source.info.classes for label in source.texts["label"])


def test_the_page_shows_questions_their_likeliest_answers_and_the_map_of_each_hop(answered, source, features):
    title, shown = read(answered[1].read_text(encoding="utf-8"))
    assert title == "Answers of asked"
    assert "Where each hop looked" in answered[1].read_text(encoding="utf-8")
    assert len(shown) == 7
    chances = np.exp(np.asarray(jax.nn.log_softmax(features["logits"])))
    for i, one in enumerate(shown):
        assert one.name == f"image {source.owner[i]}: {source.texts['token'][i]}"
        assert (one.caption, one.references) == (answered[0].texts[i], [source.texts["label"][i]])
        np.testing.assert_array_equal(unpacked(one.picture), source.images[source.owner[i]])
        best = np.sort(chances[i])[::-1][:SHOWN]
        assert [float(score) for score, *_ in one.alternatives] == pytest.approx(best, abs=6e-4)
        assert one.words == ["hop 1", "hop 2"]
        for k, (uri, _) in enumerate(one.maps, 1):
            weights = features[f"attention{k}"][i].reshape(PLACES)
            np.testing.assert_allclose(unpacked(uri)[..., 1], 255 * 0.7 * (1 - weights / weights.max()), atol=0.51)


def test_where_several_people_answered_their_agreement_counts(workdir, answered, tmp_path, monkeypatch):
    """Two thirds of them give the label here, so that a right answer is right by two thirds."""
    shutil.copytree(workdir, tmp_path / "run")
    assembled = generate_many.assembled

    def asked(*given):
        assembly = assembled(*given)
        assembly.eval_source.people = tuple((text, "else", text) for text in assembly.eval_source.texts["label"])
        return assembly

    monkeypatch.setattr(generate_many, "assembled", asked)
    found = answer_split(tmp_path / "run", "test", Page(tmp_path / "page.html", 1))
    assert found.texts == answered[0].texts
    assert found.accuracy.score == pytest.approx(2 / 3 * answered[0].accuracy.score)
    assert found.accuracy.signature == "VQA accuracy|answers:3|normalized"
    _, (shown,) = read((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert shown.references[1] == "else"


def test_what_is_interrupted_or_asked_for_in_vain_writes_nothing(workdir, tmp_path):
    with pytest.raises(Interrupted):
        answer_split(workdir, "test", Page(tmp_path / "a.html"), should_stop=lambda: True)
    with pytest.raises(ValueError, match="is a folder: name the page"):
        answer_split(workdir, "test", Page(tmp_path))
    record.write_json(tmp_path / "config.json", to_json(Config()))
    with pytest.raises(ValueError, match="resnet20 reads no questions about pictures"):
        answer_split(tmp_path, "test")
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.slow
def test_decode_prints_the_shares_and_writes_the_page(workdir, answered, tmp_path):
    done = run("decode", f"--workdir={workdir}", "--split=test", f"--page={tmp_path / 'b.html'}", "--page_images=7")
    assert (done.returncode, done.stderr) == (0, "")
    assert "VQA accuracy|answers:1|normalized" in done.stdout
    assert "# 4 questions of more than 8 tokens cut" in done.stdout
    assert f"# {answered[0].path}" in done.stdout
    assert all(f"{100 * share:.2f}" in done.stdout for share in answered[0].accuracy.by_type.values())
    assert (tmp_path / "b.html").read_text(encoding="utf-8") == answered[1].read_text(encoding="utf-8")
    done = run("decode", f"--workdir={workdir}", "--split=test", "--beam=3")
    assert (done.returncode, "--beam is for runs that write, and this one answers" in done.stderr) == (2, True)
