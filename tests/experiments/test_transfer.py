"""The study of transfer: what its data are, how it judges, and that a part of it goes on where it was."""

import json
from functools import partial
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image

from cs231n_jax.data import open_source
from cs231n_jax.interop import files
from cs231n_jax.models import create, functional
from cs231n_jax.train import probes, record
from experiments.studies import transfer, transfer_data, transfer_page
from experiments.studies.transfer_data import LITTLE, MUCH, QUICK, SHAPES
from tests.programs import ROOT, run

RED = "is there a red shape?"


@pytest.mark.parametrize(
    ("question", "answer", "found"),
    [
        ("what color is the circle?", "teal", {"circle", "teal"}),
        ("what shape is in the image?", "circle", {"circle"}),
        ("is there a black shape in the image?", "no", set()),
        ("is there a black shape in the image?", "yes", {"black"}),
        ("is no triangle present?", "no", {"triangle"}),
        ("is there not a red shape?", "yes", set()),
        ("does the image not contain a gray shape?", "no", {"gray"}),
    ],
)
def test_questions_tell_what_is_in_a_picture(question, answer, found):
    assert transfer_data.there(question, answer) == found


def test_a_picture_is_labelled_by_colour_and_shape_where_both_are_told():
    asked = SimpleNamespace(
        images=np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1),
        owner=np.array([0, 1, 2, 2]),
        texts={
            "token": ("what color is the circle?", RED, "what shape is present?", RED),
            "label": ("blue", "yes", "triangle", "yes"),
        },
        info=SimpleNamespace(classes=("yes", "no", *SHAPES, "red", "blue")),
    )
    (images, labels), classes = transfer_data.shape_and_colour(asked)
    assert images.ravel().tolist() == [0, 2]
    assert [classes[label] for label in labels] == ["blue circle", "red triangle"]
    assert len(classes) == 6


def test_a_subset_has_so_many_of_each_class_and_is_another_for_another_seed():
    labels = np.repeat(np.arange(3), [9, 4, 30])
    one, same, other = (transfer_data.subset(labels, 7, seed) for seed in (0, 0, 1))
    assert np.bincount(labels[one]).tolist() == [7, 4, 7]
    assert len(set(one)) == 18
    np.testing.assert_array_equal(one, same)
    assert set(one) != set(other)


def test_files_hold_little_and_much_of_the_same_tests(tmp_path):
    target = QUICK["digits"]
    little, much = (transfer_data.prepared(target, amount, [3], tmp_path)[3] for amount in (LITTLE, MUCH))
    sources = {part: [open_source(data, part) for data in (little, much)] for part in ("train", "eval")}
    assert [len(source) for source in sources["train"]] == [50, 120]
    assert [len(source) for source in sources["eval"]] == [100, 100]
    assert sources["train"][0].info.shapes["image"] == (8, 8, 3)
    np.testing.assert_array_equal(*(source.arrays["image"] for source in sources["eval"]))


def own_file(path, shade=0):
    images, labels = np.arange(20 * 16, dtype=np.uint8).reshape(20, 4, 4) + np.uint8(shade), np.arange(20) % 2
    np.savez(path, x_train=images, y_train=labels, x_test=images[:3], y_test=labels[:3])
    return transfer_data.own(str(path), similar=False)


def test_a_file_of_ones_own_is_a_target_known_by_its_content(tmp_path):
    target = own_file(tmp_path / "own.npz")
    assert target.was == "4×4 pixels grey, repeated in three channels, as they are"
    before = transfer_data.prepared(target, LITTLE, [0], tmp_path / "data")[0]
    source = open_source(before, "train")
    assert source.info.shapes["image"] == (4, 4, 3)
    assert np.bincount(source.arrays["label"]).tolist() == [10, 10]
    changed = transfer_data.prepared(own_file(tmp_path / "own.npz", shade=9), LITTLE, [0], tmp_path / "data")[0]
    assert changed.name != before.name
    now = open_source(changed, "train").arrays["image"]
    np.testing.assert_array_equal(now, source.arrays["image"] + np.uint8(9))
    larger = transfer_data.sized(target, 16)
    assert (larger.was, larger.mark, larger.data.image_size) == (f"{target.was}; here 16×16", f"{target.mark}_16px", 16)


def folder(root, *classes):
    for name in classes:
        (root / name).mkdir(parents=True)
        for i in range(5):
            Image.fromarray(np.full((20 + i, 30), 40 * i, np.uint8)).save(root / name / f"{i}.png")
    return root


def test_a_folder_of_ones_own_tells_the_size_before_it_is_made_to_fit(tmp_path):
    target = transfer_data.own(f"{folder(tmp_path / 'photos', 'cat', 'dog')}/", similar=False)
    assert (
        target.was == "20×30 to 24×30 pixels grey, repeated in three channels, cropped to squares and resized to 32×32"
    )


def test_images_of_one_class_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"of .*photos/ are of one class, 'cat', and a classifier needs two: add"):
        transfer_data.own(f"{folder(tmp_path / 'photos', 'cat')}/", similar=False)


def test_it_is_told_whose_mean_and_deviation_normalise():
    assert "as the weights know theirs" not in transfer_page.images(QUICK, "dataset")
    assert "normalised by each target's own mean and deviation, not by" in transfer_page.images(QUICK, "dataset")
    assert transfer_page.images(QUICK, "imagenet").startswith(
        "Images, normalised by the numbers of imagenet: digits: 8×8"
    )


def cell(**ways):
    """Findings of the seeds, from percents by way."""
    return [dict(zip(ways, [{"accuracy": x / 100} for x in row])) for row in zip(*ways.values())]


def test_the_advised_way_is_beside_the_best_of_the_others():
    of = transfer_page.verdict
    ahead = of("a", {"a": np.array([50, 54.0]), "b": np.array([49, 51.0])})
    assert (ahead.winner, ahead.behind, ahead.error) == ("a", -2, pytest.approx(1))
    far = of("a", {"a": np.array([50, 50.0]), "b": np.array([52.0, 53])})
    assert (far.winner, far.behind, far.error) == ("b", 2.5, pytest.approx(0.5))
    assert of("b", {"a": np.array([50.0]), "b": np.array([50.0])}).winner == "b"  # of equals the advised one


@pytest.mark.parametrize(
    ("others", "said"),
    [
        (([45, 46, 45], [40, 41, 40]), "confirmed"),
        (([49, 50, 46], [40, 41, 40]), "not decided"),  # 1.7 ± 1.2 points ahead, of three seeds 4.30 errors count
        (([52, 51, 54], [40, 41, 40]), "not decided"),  # 2.3 ± 0.9 points behind: more than two errors
        (([55, 56, 55], [40, 41, 40]), "refuted"),
        (([54, 60, 54], [53, 53, 53]), "refuted"),  # by the second best; the best is not for certain ahead
        (([50, 50, 50], [40, 41, 40]), "not decided"),  # equal
    ],
)
def test_an_advice_is_confirmed_or_refuted_where_the_interval_says_so(others, said):
    values = {"a": np.full(3, 50.0), "b": np.array(others[0], float), "c": np.array(others[1], float)}
    assert transfer_page.judged("a", values) == said


@pytest.mark.parametrize(("other", "said"), [(49, "seen"), (50, "not seen"), (51, "not seen")])
def test_of_one_seed_it_is_said_that_it_is_one(other, said):
    values = {"a": np.array([50.0]), "b": np.array([float(other)]), "c": np.array([10.0])}
    assert transfer_page.judged("a", values) == f"{said} in the one seed"


def test_each_cell_of_the_table_has_a_sentence():
    targets = {name: QUICK["digits"]._replace(similar=name == "a") for name in "abc"}
    found = {
        ("a", LITTLE): cell(probe_top=[50, 52], scratch=[10, 12]),
        ("b", MUCH): cell(finetune_many=[50, 50], scratch=[60, 61]),
        ("c", MUCH): cell(finetune_many=[70, 71], scratch=[60, 61]),
        ("a", MUCH): cell(finetune_few=[50], scratch=[60]),
    }
    one, seed, two = transfer_page.sentences(targets, found)
    assert "on the top layer” is confirmed by a (a: probe_top is best, 40.00 ± 0.00 points ahead of the next)" in one
    assert "few layers” is not seen in the one seed by a (a: scratch is best, finetune_few is 10" in seed
    assert "of layers” is refuted by b and confirmed by c (b: scratch is best, finetune_many is 10.50" in two
    rows = transfer_page.rows(targets, found)
    assert [row[""] for row in rows[:2]] == ["advised, best", ""]
    assert (rows[0]["accuracy (%)"], rows[0]["±"], rows[-1]["±"]) == (51, 1, "")


def test_stages_give_as_many_numbers_as_the_page_tells():
    model, image = create("resnet20"), jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    found = jax.eval_shape(partial(probes._pooled, model.stages), functional.outputs(model, image, method="features"))
    widths = {stage: x.shape[1] for stage, x in found.items()}
    assert widths == {"stem": 256, "stage1": 256, "stage2": 128, "stage3": 256, "pre_logits": 64}
    assert "a stage gives 256 numbers (stage2 128), the top 64" in " ".join(str(transfer.study.__doc__).split())


@pytest.mark.slow
def test_weights_of_grey_images_get_grey_ones_and_a_rate_of_ones_own_is_kept(tmp_path):
    options, image = {"hidden": (8, 6)}, jax.ShapeDtypeStruct((1, 8, 8, 1), np.float32)
    weights = tmp_path / "grey.npz"
    files.write(weights, files.to_flat(*functional.init(create("mlp", **options), 7, image)))
    origin = transfer.Origin("mlp", options, str(weights), "", "dataset")
    told = []
    ways = (transfer.Transfer.PROBE_STAGES, transfer.Transfer.FINETUNE_FEW)
    setting = transfer.Setting(origin, QUICK, (LITTLE,), ways, seeds=1, updates={LITTLE: 2}, rate=0.03)
    (found,) = transfer.measured(setting, tmp_path / "work", told.append)["digits", LITTLE]
    assert list(found) == [way.value for way in ways]
    trained = record.stored_config(tmp_path / "work" / "digits_little" / "seed0_finetune_few")
    assert (trained.optimizer.learning_rate, trained.data.channels) == (0.03, 1)
    with pytest.raises(ValueError, match="found with another setting"):
        transfer.measured(setting._replace(rate=0.0), tmp_path / "work", told.append)
    with pytest.raises(ValueError, match=r"few=99 stages .* has 2 \(hidden1, hidden2\): give 1 to 2"):
        transfer.measured(setting._replace(few=99), tmp_path / "new", told.append)
    assert not (tmp_path / "new").exists()  # before anything is prepared
    assert {"images", "tests", *transfer.TIMES} <= set(found["probe_stages"])  # which are those of both kinds of probes
    assert "repeated in three channels, but in one channel, grey, as the weights know images" in told[0]


def test_of_equal_stages_the_last_is_chosen():
    assert transfer.best_stage({"stem": 0.5, "stage1": 0.7, "stage2": 0.7, "pre_logits": 0.6}) == "stage2"


@pytest.mark.slow
def test_the_study_goes_on_where_it_was_and_one_cell_is_a_part_of_it(tmp_path):
    result = transfer.study(tmp_path, quick=True)
    assert result.figure.read_bytes().startswith(b"\x89PNG")
    assert [row["way"] for row in result.rows] == [way.value for way in transfer.Transfer]
    kept = sorted((tmp_path / "transfer" / "digits_little").glob("seed*.json"))
    assert len(kept) == 4  # both probes are one
    content = json.loads(kept[0].read_text())
    content["ways"]["finetune_few"]["accuracy"] = 0.875  # as nothing else would give
    kept[0].write_text(json.dumps(content))
    again = transfer.study(tmp_path, quick=True)
    assert again.rows[2]["accuracy (%)"] == 87.5 != result.rows[2]["accuracy (%)"]
    a_run_of_it_is_an_origin(tmp_path / "transfer" / "digits_little" / "seed0_finetune_few", tmp_path / "next")
    weights = tmp_path / "transfer" / "drawn.npz"
    files.write(weights, {path: x + 1 for path, x in files.read(weights).items()})
    with pytest.raises(ValueError, match=r"drawn.npz does not hold the weights that .*digits_little was begun with"):
        transfer.study(tmp_path, quick=True)
    (tmp_path / "transfer" / "digits_little" / "weights.json").unlink()
    with pytest.raises(ValueError, match=r"has findings \(seed0_finetune_few\.json\) and no weights\.json, which says"):
        transfer.study(tmp_path, quick=True)


def test_the_kept_findings_say_of_which_weights_they_are():
    cells = sorted((ROOT / "experiments" / "pinned" / "transfer").iterdir())
    assert [cell.name for cell in cells] == sorted(
        f"{name}_{much}" for name in transfer.TARGETS for much in (LITTLE, MUCH)
    )
    digests = {json.loads((cell / "weights.json").read_text())["initial"] for cell in cells}
    assert len(digests) == 1
    assert all(len(digest) == 64 for digest in digests)


def a_run_of_it_is_an_origin(run, workdir):
    origin = transfer.of_run(run)
    assert (origin.model, origin.names, origin.normalize) == ("mlp", "", "dataset")
    assert (tuple(origin.options["hidden"]), origin.options["num_classes"]) == ((8, 6), 10)
    assert "frozen" not in origin.options
    setting = transfer.Setting(origin, QUICK, (LITTLE,), (transfer.Transfer.PROBE_STAGES,), seeds=1)
    (found,) = transfer.measured(setting, workdir, lambda text: None)["digits", LITTLE]
    assert list(found["probe_stages"]["curve"]) == ["hidden1", "hidden2", "pre_logits"]


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        (["--target=minst"], "--target names 'minst'; give of cifar100, mnist, easy_vqa, digits", 2),
        (["--target=HERE/a/own.npz,HERE/b/own.npz"], "b/own.npz has two of one name: rename one, or give it alone", 2),
        (["--target=HERE/c"], "HERE/c/ are of one class, 'cat', and a classifier needs two", 1),  # a folder, no slash
        (["--target=digits", "--weights=HERE/a", "--model=mlp"], "--model is given with --weights=", 2),
    ],
)
def test_the_program_refuses_in_a_sentence(words, message, code, tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        own_file(tmp_path / name / "own.npz")
    folder(tmp_path / "c", "cat")
    done = run("transfer", *(word.replace("HERE", str(tmp_path)) for word in words), f"--workdir={tmp_path}")
    assert done.returncode == code
    assert message.replace("HERE", str(tmp_path)) in done.stderr
