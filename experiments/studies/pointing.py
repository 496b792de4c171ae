"""Where a captioner with attention looks when it names a thing, on pictures whose things have known places."""

import dataclasses
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from cs231n_jax.config import Config
from cs231n_jax.data import DataConfig, embedded
from cs231n_jax.data.scene_language import NOWHERE
from cs231n_jax.data.scenes import COLOURS, SHAPES, SIDE, SIZES
from cs231n_jax.data.text_config import TextConfig
from cs231n_jax.data.vocabulary import BEGIN
from cs231n_jax.metrics import Pointing, pointing
from cs231n_jax.metrics.pointing_score import covered
from cs231n_jax.tasks import generation
from cs231n_jax.train import evaluate, generate_many, snapshots
from cs231n_jax.train.assemble import Assembly, assemble
from experiments.configs import scenes as recipe
from experiments.studies import Result, seeds
from experiments.studies.drawing import canvas, save

ALL, OWN, GIVEN = "all", "its own", "given"
WORDS = {"size": tuple(SIZES), "colour": tuple(COLOURS), "shape": SHAPES}
SHOWN = 3  # captions in the figure


class Setting(NamedTuple):
    """What is trained, and how often."""

    config: Config
    seeds: int = 3


class Said(NamedTuple):
    """A sentence about a picture; for each word the number of the thing that it names, or −1."""

    scene: embedded.Captioned
    words: Sequence[str]
    things: Sequence[int]


class Looked(NamedTuple):
    """Sentences, and where each of their words looked."""

    said: list[Said]
    alpha: np.ndarray  # float [sentences, T, L]


def study(workdir: Path, quick: bool) -> Result:
    """Does attention look at the thing that the word names? A captioner of made-up scenes, against the known places.

    The config `scenes:attention` is trained with three seeds on 10,000 captions of 2,000 pictures of coloured shapes.
    On 400 other pictures it is looked, for each word that names a thing by its size, colour or shape, where the
    attention of that word, α_t over 8×8 places, is largest: a hit is a place that the box of the thing overlaps. Chance
    is the mean share of the places that the box overlaps; "any thing" is what a place of one of the picture's things
    would hit, thing and place drawn evenly, so what looking at things in whatever order gives. The sentences are

    "its own": the likeliest word at each step, one sentence a picture; things that it names and that are not there are
    left out, and their share of all that it names is told below;
    "given": the 2,000 captions of the pictures, fed word by word. α_t is a function of the state before the word in
    front of it was read, so it cannot know here which of three to six things is meant before two words have named it.

    "± seeds" is the standard error of the mean over the seeds. The time below is that of the call that printed this
    page, which does not train again what an earlier call finished.

    Reference: Xu et al. 2015, "Show, Attend and Tell", section 5.4, shows such maps and measures nothing; the score:
    Zhang et al. 2016, "Top-down Neural Attention by Excitation Backprop", section 4.1.
    """
    setting = chosen(quick)
    found = [_found(setting, seed, workdir) for seed in range(setting.seeds)]
    rows = []
    for which in (OWN, GIVEN):
        each = [(scored(looked[which]), any_thing(looked[which])) for looked, _ in found]
        for kind in (ALL, *WORDS):
            if some := [(hits[kind], anywhere[kind]) for hits, anywhere in each if kind in hits]:
                rows.append(_row(which, kind, *map(list, zip(*some))))
    absent = float(np.mean([share for _, share in found]))
    numbers = {f"{row['sentences']}, {row['words']}: hits (%)": row["hits (%)"] for row in rows}
    numbers |= {f"{row['sentences']}, {row['words']}: times chance": row["times chance"] for row in rows}
    numbers |= {f"{row['sentences']}, {row['words']}: any thing (%)": row["any thing (%)"] for row in rows}
    numbers["things named that are not there (%)"] = 100 * absent
    return Result(_figure(workdir, found[0][0][OWN]), numbers, _sentence(rows, absent), rows)


def chosen(quick: bool) -> Setting:
    """What the study trains."""
    return Setting(_short(), seeds=1) if quick else Setting(recipe.get_config("attention"))


def captioner(setting: Setting, seed: int, workdir: Path) -> Path:
    """The run of one seed, trained unless an earlier call did; other studies look at pictures with its eyes."""
    return seeds.trained(dataclasses.replace(setting.config, seed=seed), workdir / "pointing" / f"seed{seed}")


def _short() -> Config:
    config = recipe.get_config("attention")
    config.data = DataConfig(name="scenes:24", batch_size=24, text=TextConfig(buckets="16"))
    config.model.options |= {"hidden": 8, "attended": 4, "embedding": 4, "backbone": "lenet5", "stage": "stage2"}
    config.schedule.warmup, config.train.steps = "0", "1ep"
    return config


def given(config: Config) -> list[Said]:
    """The captions of the evaluation split, in its order."""
    scenes = embedded.captioned(config.data, "eval")
    return [Said(scene, caption.text.split(), caption.things) for scene in scenes for caption in scene.captions]


def things_of(words: Sequence[str], scene: embedded.Captioned) -> tuple[tuple[int, ...], int]:
    """For each word the thing that it names, and how many things are named that are not there.

    A thing is named by a colour and a shape behind it, which no two things of a scene share, perhaps with a size.
    """
    found, absent = [NOWHERE] * len(words), 0
    kinds = {(thing.colour, thing.shape): number for number, thing in enumerate(scene.made.things)}
    for place, pair in enumerate(pairwise(words)):
        if pair[0] not in COLOURS or pair[1] not in SHAPES:
            continue
        absent += pair not in kinds
        first = place - 1 if place and words[place - 1] in SIZES else place
        found[first : place + 2] = [kinds.get(pair, NOWHERE)] * (place + 2 - first)
    return tuple(found), absent


def scored(looked: Looked) -> dict[str, Pointing]:
    """Of all words that name a thing, and of those of each kind that there are."""
    side, found = int(np.sqrt(looked.alpha.shape[2])), {}
    for kind, named in _named(looked).items():
        boxes = np.array([looked.said[number].scene.made.things[thing].box for number, _, thing in named])
        numbers, places, _ = (list(column) for column in zip(*named))
        found[kind] = pointing(looked.alpha[numbers, places], boxes, (side, side), (SIDE, SIDE))
    return found


def any_thing(looked: Looked) -> dict[str, float]:
    """By kind of word, the share of hits in 0 … 1 if a thing of the picture, and then a place of it, were drawn."""
    side, found = int(np.sqrt(looked.alpha.shape[2])), {}
    for kind, named in _named(looked).items():
        hits = []
        for number, _, thing in named:
            boxes = np.array([each.box for each in looked.said[number].scene.made.things])
            places = covered(boxes, (side, side), (SIDE, SIDE))
            hits.append(((places & places[thing]).sum(1) / places.sum(1)).mean())
        found[kind] = float(np.mean(hits))
    return found


def _named(looked: Looked) -> dict[str, list[tuple[int, int, int]]]:
    """By kind, of each word that names a thing the numbers of its sentence, its place in it and the thing."""
    every = [
        (word, (number, place, thing))
        for number, sentence in enumerate(looked.said)
        for place, (word, thing) in enumerate(zip(sentence.words, sentence.things))
        if thing != NOWHERE
    ]
    by_kind = {kind: [each for word, each in every if kind == ALL or word in WORDS[kind]] for kind in (ALL, *WORDS)}
    return {kind: some for kind, some in by_kind.items() if some}


def _found(setting: Setting, seed: int, workdir: Path) -> tuple[dict[str, Looked], float]:
    """Of one trained model where it looks, and the share of the things that it names that are not there."""
    config = dataclasses.replace(setting.config, seed=seed)
    assembly: Assembly = assemble(config)
    task: Any = assembly.task
    _, params, model_state = snapshots.load(captioner(setting, seed, workdir))
    weights = jax.device_put(params), jax.device_put(model_state)
    looks = jax.jit(lambda batch: task.alignment(*weights, batch))

    def looked(batch: Any, number: int) -> Any:
        del number
        return looks(batch).swapaxes(0, 1), batch["mask"]

    alpha = evaluate.outputs(assembly, looked).swapaxes(0, 1)
    own, absent = _own(assembly, weights, looks, config)
    return {OWN: own, GIVEN: Looked(given(config), alpha)}, absent


def _own(assembly: Assembly, weights: Any, looks: Any, config: Config) -> tuple[Looked, float]:
    task: Any = assembly.task
    how, length = generation.of(task), assembly.eval_source.info.shapes["target"][0] - 1
    settings = generate_many.Settings(beam=1, length=length)
    scenes, program = embedded.captioned(config.data, "eval"), generate_many.search(how, settings)
    inputs: Any = how.inputs(assembly.eval_source) if how.inputs else None
    said, alphas, absent, named = [], [], 0, 0
    for which, _, batch in generate_many.batches(inputs, (), settings.batch_size):
        tokens, _, _ = jax.device_get(program(weights, batch))
        begin = np.full((len(tokens), 1), task.target.specials[BEGIN], np.int32)
        alphas.append(np.asarray(looks({**batch, "target": np.concatenate([begin, tokens], 1)}))[: len(which)])
        for number, row in zip(which, tokens):
            words = task.target.decode(row).split()
            things, missing = things_of(words, scenes[number])
            said.append(Said(scenes[number], words, things))
            absent += missing
            named += sum(pair[0] in COLOURS and pair[1] in SHAPES for pair in pairwise(words))
    return Looked(said, np.concatenate(alphas)), absent / max(named, 1)


def _row(which: str, kind: str, found: list[Pointing], anywhere: list[float]) -> dict[str, Any]:
    """`anywhere`: of each seed what `any_thing` says."""
    hits = np.array([each.score for each in found])
    chance = float(np.mean([each.chance for each in found]))
    return {
        "sentences": which,
        "words": kind,
        "number": sum(each.words for each in found) // len(found),
        "hits (%)": 100 * float(hits.mean()),
        "± seeds": 100 * seeds.error(hits) if len(hits) > 1 else "",
        "chance (%)": 100 * chance,
        "times chance": float(hits.mean()) / chance,
        "any thing (%)": 100 * float(np.mean(anywhere)),
    }


def _sentence(rows: list[dict[str, Any]], absent: float) -> str:
    told = []
    for row in (row for row in rows if row["words"] == ALL):
        spread = f" ± {row['± seeds']:.1f}" if row["± seeds"] != "" else ""
        told.append(
            f"of the words of {row['sentences']} sentences that name a thing {row['hits (%)']:.1f}{spread} % are hits, "
            f"{row['times chance']:.1f} times chance, where any thing of the picture would be one in "
            f"{row['any thing (%)']:.1f} %"
        )
    hits = "; ".join(told)
    return f"O{hits[1:]}. Of the things in its own sentences {100 * absent:.1f} % are not there."


def _figure(workdir: Path, looked: Looked) -> Path:
    """A row a sentence: each word's attention over the picture, and the box of what it names."""
    shown = looked.said[:SHOWN]
    longest = max(1, *(len(sentence.words) for sentence in shown))
    figure, axes = canvas(len(shown), longest, 1.2, 1.4)
    side = int(np.sqrt(looked.alpha.shape[2]))
    for axis in axes:
        axis.set_axis_off()
    for row, sentence in enumerate(shown):
        for place, (word, thing) in enumerate(zip(sentence.words, sentence.things)):
            axis, alpha = axes[row * longest + place], looked.alpha[row, place].reshape(side, side)
            axis.imshow(sentence.scene.image)
            axis.imshow(alpha, cmap="gray", alpha=0.65, extent=(0, SIDE, SIDE, 0), vmin=0)
            axis.set_title(word, fontsize=7)
            if thing != NOWHERE:
                top, left, bottom, right = sentence.scene.made.things[thing].box
                axis.plot([left, right, right, left, left], [top, top, bottom, bottom, top], color="red", linewidth=1)
    return save(figure, workdir / "pointing.png")


STUDIES = {"pointing": study}
