"""Questions about made-up pictures: what attention answers beyond a product, a half of the pair, and a constant."""

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from cs231n_jax.config import Config
from cs231n_jax.data import open_source
from cs231n_jax.data.scene_language import TYPES
from cs231n_jax.metrics import scores
from cs231n_jax.train import evaluate, snapshots
from cs231n_jax.train.assemble import assemble
from experiments.configs import scene_questions as recipe
from experiments.studies import Result, pointing, seeds
from experiments.studies.drawing import canvas, save

PRIOR = "prior"
MODELS = {  # by row, the argument of the config
    "image only": "image",
    "question only": "question",
    "question × image": "product",
    "attention": "stacked",
    "attention, twice": "stacked2",
}
# A row and the one that it has to beat.
STEPS = (
    ("question only", PRIOR),
    ("question × image", "question only"),
    ("attention", "question × image"),
    ("attention, twice", "question × image"),
)


class Setting(NamedTuple):
    """What is trained, and how often."""

    eyes: pointing.Setting  # a captioner, whose CNN all look through
    config: Any = recipe.get_config  # by kind of model
    seeds: int = 3


def study(workdir: Path, quick: bool) -> Result:
    """Does attention answer more than a product, and that more than the question alone? Made-up scenes, five types.

    The config `scene_questions` is trained with three seeds on 10,000 questions about 2,000 pictures of coloured
    shapes, and judged by 2,000 questions about 400 others. No arrangement of shapes is in both. They are seen through
    the small CNN, now frozen, of a captioner that learned from 10,000 captions of the same 2,000 pictures
    (`scenes:attention`, seed 0, which the study `pointing` trains too): 8×8 places of 64 numbers. Rows:

    "prior": the most frequent answer of training, whatever is asked;
    "image only", "question only": the mean of all places, as a vector of length one, or an LSTM over the question;
    "question × image": both, joined by an element-wise product (LSTM Q + norm I);
    "attention", "attention, twice": stacked attention over the places, with one hop and with two.

    All have the same two hidden layers before the answer, and all but the prior are trained by the same updates. The
    number of epochs, the rate and the widths were chosen roughly, once for all rows, on other pictures.

    "± seeds" is the standard error of the mean over the seeds. A margin is the difference of two rows question by
    question, right answers averaged over the seeds, with the standard error of the mean over the questions.

    The time below is that of the call that printed this page, which does not train again what an earlier call finished.

    Reference: Yang et al. 2016, "Stacked Attention Networks for Image Question Answering"; Antol et al. 2015, "VQA:
    Visual Question Answering", section 4 and table 2 (the baselines).
    """
    setting = Setting(pointing.chosen(quick), _short, seeds=1) if quick else Setting(pointing.chosen(quick))
    eyes = str(pointing.captioner(setting.eyes, 0, workdir))
    source: Any = open_source(setting.config("stacked").data, "eval")
    right = {PRIOR: _prior(setting.config("stacked"), source)}
    for row, kind in MODELS.items():
        right[row] = np.stack([_found(setting, kind, seed, workdir, eyes) for seed in range(setting.seeds)])
    kinds = np.array(source.types)
    rows = [_row(name, each, kinds) for name, each in right.items()]
    margins = {(ours, theirs): _margin(right[ours], right[theirs]) for ours, theirs in STEPS}
    numbers = {f"{row['model']}: {key}": row[key] for row in rows for key in ("all (%)", *map(_column, TYPES))}
    numbers |= {f"{ours} beyond {theirs} (points)": gain for (ours, theirs), (gain, _) in margins.items()}
    return Result(_figure(workdir, setting, rows), numbers, _sentence(rows, margins), rows)


def _short(kind: str) -> Config:
    config = recipe.get_config(kind)
    config.data.name, config.data.batch_size = "scene_questions:24", 24
    config.model.options |= {"hidden": 8, "attended": 4, "embedding": 4, "num_classes": 16}
    if kind != "question":
        config.encoder.model, config.encoder.stage = "lenet5", "stage2"
    config.schedule.warmup, config.train.steps = "0", "1ep"
    return config


def _prior(config: Config, source: Any) -> np.ndarray:
    """Which questions the most frequent answer of training is right on: float64 [1, N]."""
    training: Any = open_source(config.data, "train")
    (answer, _), *_ = Counter(training.texts["label"]).most_common(1)
    return np.array([[given == answer for given in source.texts["label"]]], float)


def _found(setting: Setting, kind: str, seed: int, workdir: Path, eyes: str) -> np.ndarray:
    """Which questions one trained network is right on, float64 [N]; `eyes`: the run directory of a captioner."""
    config = dataclasses.replace(setting.config(kind), seed=seed)
    config.encoder.weights = eyes if config.encoder.model else ""
    assembly = assemble(config)
    _, params, model_state = snapshots.load(seeds.trained(config, workdir / "vqa" / f"{kind}_seed{seed}"))
    weights = jax.device_put(params), jax.device_put(model_state)
    run = jax.jit(lambda batch: assembly.task.predict(*weights, batch))
    logits = evaluate.outputs(assembly, lambda batch, number: (run(batch), batch["mask"]))
    source: Any = assembly.eval_source
    return (logits.argmax(-1) == source.arrays["label"]).astype(float)


def _column(kind: str) -> str:
    return f"{kind} (%)"


def _row(model: str, right: np.ndarray, kinds: np.ndarray) -> dict[str, Any]:
    """`right`: of each seed and question, float64 [S, N]; `kinds`: the type of each question [N]."""
    by_type = {_column(kind): 100 * float(right[:, kinds == kind].mean()) for kind in TYPES}
    each = right.mean(1)
    return {
        "model": model,
        "all (%)": 100 * float(each.mean()),
        "± seeds": 100 * seeds.error(each) if len(each) > 1 else "",
        **by_type,
    }


def _margin(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """In points, and its standard error."""
    gain, error = scores.paired_difference(ours.mean(0), theirs.mean(0))
    return 100 * gain, 100 * error


def _figure(workdir: Path, setting: Setting, rows: list[dict[str, Any]]) -> Path:
    figure, (axis,) = canvas(1, 1, width=9)
    columns = ["all (%)", *map(_column, TYPES)]
    for i, row in enumerate(rows):
        places = np.arange(len(columns)) + 0.13 * (i - (len(rows) - 1) / 2)
        axis.bar(places, [row[column] for column in columns], 0.12, label=row["model"])
    axis.set_xticks(range(len(columns)), [column.removesuffix(" (%)") for column in columns])
    name = setting.config("stacked").data.name
    axis.set(ylabel="answers right (%)", ylim=(0, 100), title=f"{name}, test, {setting.seeds} seeds")
    axis.legend(fontsize="small", ncols=3)
    return save(figure, workdir / "vqa.png")


def _sentence(rows: list[dict[str, Any]], margins: dict[tuple[str, str], tuple[float, float]]) -> str:
    told = ", ".join(f"{row['model']} {row['all (%)']:.1f} %" for row in rows)
    steps = "; ".join(f"{ours} beyond {theirs} {seeds.told(*found, 1)}" for (ours, theirs), found in margins.items())
    certain = all(gain > 2 * error for gain, error in margins.values())
    return (
        f"Right are {told}. In points, {steps}: each is {'beyond' if certain else 'not for certain beyond'} its rival."
    )


STUDIES = {"vqa": study}
