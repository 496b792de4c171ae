"""The page of described pictures that decode writes: its numbers, its pictures, and what a real browser makes of it."""

import dataclasses
import json
import re
import shutil
import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from cs231n_jax import models
from cs231n_jax.config import Config, to_json
from cs231n_jax.data import DataConfig, open_source
from cs231n_jax.interop import files
from cs231n_jax.models import ModelConfig, functional
from cs231n_jax.report.descriptions import Alternative, Described, Look, page
from cs231n_jax.tasks.base import TaskConfig
from cs231n_jax.train import generate_many, record, snapshots
from cs231n_jax.train.assemble import assemble
from cs231n_jax.train.description_page import Page, of_files, of_split
from cs231n_jax.train.encoder import EncoderConfig
from cs231n_jax.train.generate_many import Settings
from cs231n_jax.train.sharding import MeshConfig
from cs231n_jax.train.signals import Interrupted
from tests.pages import read, unpacked
from tests.programs import run

SETTINGS = Settings(beam=3, length=6, batch_size=2)
SEEN = {"backbone": "lenet5", "stage": "stage2"}
PLACES = (13, 13)
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def untrained(path, name="attention_captioner", options=SEEN, encoder=None) -> Path:
    """A run directory of a captioner that has learned nothing, but is sure of itself."""
    config = Config(
        task=TaskConfig(name="captioning"),
        model=ModelConfig(name=name, options={"hidden": 6, "embedding": 4, "num_classes": 25, **options}),
        data=DataConfig(name="scenes:20", batch_size=20),
        encoder=encoder or EncoderConfig(),
        mesh=MeshConfig(data=1),
    )
    path.mkdir()
    record.write_json(path / "config.json", to_json(config))
    assembly = assemble(config)
    params, state = assembly.task.init(0, assembly.batch_shapes)
    params = jax.tree.map(lambda x: 3 * np.asarray(x), params)
    params["head"]["bias"][assembly.task.target.specials["<eos>"]] -= 2  # it says something
    snapshots.save_weights(path, 1, params, jax.device_get(state), {})
    return path


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return untrained(tmp_path_factory.mktemp("page") / "scenes")


@pytest.fixture(scope="module")
def written(workdir):
    path = workdir.parent / "new" / "page.html"
    assert of_split(workdir, "test", SETTINGS, Page(path, 3)) == path
    assert [other.name for other in path.parent.iterdir()] == ["page.html"]
    return path


@pytest.fixture(scope="module")
def source():
    return open_source(DataConfig(name="scenes:20"), "eval")


def test_the_page_shows_what_the_search_found(workdir, written, source):
    title, shown = read(written.read_text(encoding="utf-8"))
    assert title == "Captions of scenes"
    assert "Snapshot 1, the first 3 of 4 images of scenes:20 test, beam 3" in written.read_text(encoding="utf-8")
    texts = generate_many.generate_split(workdir, "test", SETTINGS).texts
    owners = np.unique(source.owner)[:3]
    assert [one.name for one in shown] == [f"image {number}" for number in owners]
    assert [one.caption for one in shown] == [text or "(nothing)" for text in texts[:3]]
    for one, owner in zip(shown, owners):
        np.testing.assert_array_equal(unpacked(one.picture), source.images[owner])
        assert one.references == [text for text, o in zip(source.texts["target"], source.owner) if o == owner]
        assert len(one.alternatives) == SETTINGS.beam
        assert one.alternatives[0][2].removesuffix(" … (cut)") == one.caption
        ended = [not text.endswith("(cut)") for *_, text in one.alternatives]
        assert ended == sorted(ended, reverse=True)
        for kind in (True, False):
            scores = [float(score) for (score, *_), end in zip(one.alternatives, ended) if end is kind]
            assert scores == sorted(scores, reverse=True)


def test_each_word_has_the_map_of_its_attention(workdir, written, source):
    _, shown = read(written.read_text(encoding="utf-8"))
    task, variables = assemble(record.stored_config(workdir)).task, snapshots.load(workdir)[1:]
    words, first = task.target, np.unique(source.owner, return_index=True)[1]
    texts = [one.caption.replace("(nothing)", "") for one in shown]
    rows = [[words.specials["<bos>"], *words.encode(text)] for text in texts]
    target = np.array([row + [0] * (SETTINGS.length + 1 - len(row)) for row in rows], np.int32)
    batch = {"image": source[first[:3]]["image"], "target": target}
    alphas = np.asarray(jax.jit(task.alignment)(*variables, batch))
    assert sum(map(len, texts)) > 0
    for one, text, alpha in zip(shown, texts, alphas):
        assert one.words == text.split()
        assert len(one.maps) == len(one.words)
        opacity = np.reshape([unpacked(uri)[..., 1] for uri, _ in one.maps], (-1, *PLACES))
        wanted = 255 * 0.7 * (1 - alpha / alpha.max(1, keepdims=True)).reshape(-1, *PLACES)
        # half a step of 256, and float32: this batch is not cut as the page's
        np.testing.assert_allclose(opacity, wanted[: len(opacity)], atol=0.51)


def test_files_of_a_users_own_and_models_without_attention(tmp_path, source):
    path = untrained(tmp_path / "blind", "captioner_rnn")
    for number in (0, 1):
        Image.fromarray(source.images[number]).save(tmp_path / f"{number}.png")
    names = [str(tmp_path / f"{number}.png") for number in (0, 1, 7)]  # the last is not there, and not asked for
    _, shown = read(of_files(path, names, SETTINGS, Page(tmp_path / "a.html", 2)).read_text(encoding="utf-8"))
    assert [one.name for one in shown] == names[:2]
    for number, one in enumerate(shown):
        np.testing.assert_array_equal(unpacked(one.picture), source.images[number])
        assert (one.words, one.maps, one.references) == ([], [], [])
    with pytest.raises(ValueError, match="there is nothing to describe: give at least one file"):
        of_files(path, [], SETTINGS, Page(tmp_path / "b.html"))


@pytest.mark.slow
def test_a_run_on_features_shows_the_pictures_that_they_are_of(tmp_path, source, monkeypatch):
    monkeypatch.setenv("CS231N_JAX_CACHE", str(tmp_path / "cache"))
    variables = functional.init(models.create("resnet8", width=4), 0, jnp.zeros((1, 64, 64, 3)))
    files.write(tmp_path / "weights.npz", files.to_flat(*variables))
    weights = str(tmp_path / "weights.npz")
    encoder = EncoderConfig(model="resnet8", options={"width": 4}, weights=weights, stage="stage3")
    path = untrained(tmp_path / "run", options={}, encoder=encoder)
    _, shown = read(of_split(path, "test", SETTINGS, Page(tmp_path / "a.html")).read_text(encoding="utf-8"))
    assert len(shown) == len(source.images) == 4
    for one, image in zip(shown, source.images):
        np.testing.assert_array_equal(unpacked(one.picture), image)
        assert {unpacked(uri).shape for uri, _ in one.maps} == {(16, 16, 2)}


def test_what_no_page_can_be_made_of_is_named_and_what_is_there_stays(workdir, written, tmp_path):
    with pytest.raises(ValueError, match="is a folder: name the page, for example"):
        of_split(workdir, "test", SETTINGS, Page(tmp_path))
    with pytest.raises(ValueError, match="a page of 0 images shows nothing: give at least 1"):
        of_split(workdir, "test", SETTINGS, Page(tmp_path / "a.html", 0))
    before = written.read_bytes()
    with pytest.raises(Interrupted, match=r"interrupted before .*page\.html was written"):
        of_split(workdir, "test", SETTINGS, Page(written), should_stop=lambda: True)
    assert written.read_bytes() == before
    config = record.stored_config(workdir)
    other = tmp_path / "other"
    other.mkdir()
    task, model = TaskConfig(), ModelConfig(name="mlp", options={"num_classes": 10})
    digits = dataclasses.replace(config, task=task, model=model, data=DataConfig(name="digits"))
    record.write_json(other / "config.json", to_json(digits))
    with pytest.raises(ValueError, match=r"a run of the task classification does not describe pictures.*captioning"):
        of_split(other, "test", SETTINGS, Page(tmp_path / "a.html"))
    assert not (tmp_path / "a.html").exists()


@pytest.mark.slow
def test_decode_writes_it_beside_the_texts(workdir, written, tmp_path):
    path = tmp_path / "b.html"
    words = (f"--workdir={workdir}", "--split=test", "--beam=3", "--length=6", "--batch=2")
    done = run("decode", *words, f"--page={path}", "--page_images=3")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"# {path}\n" in done.stdout
    assert "bleu-4" in done.stdout
    names = [[one.words for one in read(file.read_text(encoding="utf-8"))[1]] for file in (path, written)]
    assert names[0] == names[1]


# --- in a browser ---

needs_browser = pytest.mark.skipif(BROWSER is None, reason="there is no chromium to open the page in")
SEES = """
<script>
const broken = [];
addEventListener("error", event => broken.push(String(event.message)), true);
addEventListener("securitypolicyviolation", event => broken.push(event.blockedURI));
addEventListener("load", () => {
  const pictures = [...document.images], maps = [...document.querySelectorAll(".look img")];
  const box = node => { const r = node.getBoundingClientRect(); return [r.x, r.y, r.width, r.height].map(Math.round); };
  const asked = performance.getEntriesByType("resource").map(one => one.name).filter(name => !name.startsWith("data:"));
  console.error("heard");
  document.body.innerText = JSON.stringify({
    broken, asked, pictures: pictures.length, shown: pictures.filter(one => one.complete && one.naturalWidth).length,
    over: maps.filter(one => box(one)[2] > 50 && String(box(one)) == String(box(one.parentNode))
      && getComputedStyle(one.parentNode).backgroundImage.startsWith('url("data:image/png')).length,
  });
});
</script>
"""


def opened(path, profile, *words):
    """(standard output, lines that the page's console was told) of a headless browser that opened a file."""
    quiet = ("first-run", "default-browser-check", "sandbox")
    off = ("background-networking", "component-update", "gpu", "quic", "sync")
    command = [BROWSER, "--headless", *(f"--no-{name}" for name in quiet), *(f"--disable-{name}" for name in off)]
    logged = ("--enable-logging=stderr", "--v=0", f"--user-data-dir={profile}")
    done = subprocess.run([*command, *logged, *words, path.as_uri()], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@needs_browser
def test_a_browser_shows_all_pictures_and_asks_for_nothing(written, tmp_path):
    text = written.read_text(encoding="utf-8")
    _, shown = read(text)
    maps = sum(len(one.maps) for one in shown)
    assert maps > 0
    allowed = text.replace("default-src 'none';", "default-src 'none'; script-src 'unsafe-inline';")
    copy = tmp_path / "copy.html"
    copy.write_text(allowed.replace("<main>", f"{SEES}<main>"), encoding="utf-8")
    dumped, heard = opened(copy, tmp_path / "profile", "--dump-dom")
    found = json.loads(re.search(r"<body>(.*)</body>", dumped, re.S)[1])
    assert found == {"broken": [], "asked": [], "pictures": 3 + maps, "shown": 3 + maps, "over": maps}
    assert len(heard) == 1, "only what the test itself says"
    assert '"heard"' in heard[0]


@needs_browser
def test_a_browser_lays_the_map_over_the_picture_and_has_no_complaint(tmp_path):
    """A red picture, and a word that looked at its upper left quarter: elsewhere it is dark red, as nothing else is."""
    red = np.zeros((64, 64, 3), np.uint8) + np.uint8([255, 0, 0])
    weights = np.zeros((16, 16)) + np.pad(np.ones((8, 8)), (0, 8))
    alternatives, looks = (Alternative("all red", -1.0, -1.0, True),), [Look("red", weights)]
    path, picture = tmp_path / "page.html", tmp_path / "screen.png"
    path.write_text(page("Red", "", [Described("image", red, alternatives, (), looks)]), encoding="utf-8")
    _, heard = opened(path, tmp_path / "profile", f"--screenshot={picture}", "--window-size=800,900")
    assert heard == []
    screen = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    dark = (abs(screen - [77, 0, 0]) <= 2).all(-1)
    rows, columns = np.nonzero(dark)
    top, left, bottom, right = rows.min(), columns.min(), rows.max(), columns.max()
    side = right - left + 1
    assert abs(bottom - top + 1 - side) <= 1
    assert side > 50
    quarter = screen[top : top + side // 2 - 8, left : left + side // 2 - 8]
    assert (abs(quarter - [255, 0, 0]) <= 2).all()
    assert dark[top + side // 2 + 8 : bottom, left:right].all()
    assert dark[top:bottom, left + side // 2 + 8 : right].all()
