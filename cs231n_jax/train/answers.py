"""What a model answers to the questions of a split: how often it is right, and a page of where each hop looked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from cs231n_jax import metrics, models
from cs231n_jax.config import Config
from cs231n_jax.data import open_source
from cs231n_jax.metrics import VqaAccuracy
from cs231n_jax.models import backbones
from cs231n_jax.report.descriptions import ANSWERS, Alternative, Described, Look, page
from cs231n_jax.train import evaluate, generate, generate_many, record, snapshots
from cs231n_jax.train.assemble import Assembly
from cs231n_jax.train.description_page import Page
from cs231n_jax.train.signals import Interrupted

SHOWN = 5  # answers to a question on a page


class Answered(NamedTuple):
    """What was answered."""

    texts: list[str]  # in the order of the questions
    accuracy: VqaAccuracy
    prior: VqaAccuracy  # of the most frequent answer of training, to whatever is asked
    step: int  # of the snapshot
    noticed: dict[str, int]  # in the split, such as {"empty questions": 1}
    path: Path  # a JSON file with all of this but the texts


def is_asked(config: Config) -> bool:
    """Whether the model of a run reads questions about pictures."""
    return {"image", "token"} <= set(models.create(config.model.name, **config.model.options).reads)


def answer_split(
    workdir: Path,
    split: str,
    where: Page | None = None,
    step: str = "latest",
    average: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    warn: Callable[[str], None] | None = None,
) -> Answered:
    """The likeliest answer to each question of a split, and how often that is right, by type; a file in `samples/`.

    Args:
        workdir: the run directory.
        split: of the run's data, such as "test".
        where: a page to write of the first questions; None for none.
        step: a step, or "latest" for the newest whole snapshot.
        average: with the moving average of the parameters.
        should_stop: looked at before each batch, and while features are computed.
        warn: told of each damaged snapshot that was passed.

    Raises:
        ValueError: the run answers no questions, or there is no such split or no such page.
        FileNotFoundError: there is no run or no such snapshot.
        DamagedSnapshotError: the snapshot asked for is damaged.
        Interrupted: `should_stop` said so; nothing is written.
    """
    config = record.stored_config(workdir)
    if not is_asked(config):
        raise ValueError(f"{config.model.name} reads no questions about pictures: give a run of a model that does")
    if where is not None:
        where.validate()
    assembly = generate_many.assembled(config, split, should_stop)
    source: Any = assembly.eval_source
    task: Any = assembly.task
    found = snapshots.resolve(workdir, step, warn)
    weights = jax.device_put(generate.weights(workdir, found, average))
    features = jax.jit(lambda batch: task.features(*weights, batch))
    logits = evaluate.outputs(assembly, lambda batch, _: (features(batch)["logits"], batch["mask"]), should_stop)
    log_probs = np.asarray(jax.nn.log_softmax(logits))
    texts = [source.info.classes[best] for best in log_probs.argmax(-1)]
    accuracy, prior = (
        metrics.vqa(given, source.people or source.texts["label"], source.types, source.info.classes)
        for given in (texts, [source.info.classes[0]] * len(texts))
    )
    if where is not None:
        if should_stop():
            raise Interrupted(f"interrupted before {where.path} was written")
        shown = _shown(assembly, features, log_probs[: where.images])
        right = f"{100 * accuracy.score:.1f} % of all {len(texts)} are right"
        about = f"Snapshot {found}, the first {len(shown)} questions of {config.data.name} {split}; {right}."
        where.path.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(where.path, page(f"Answers of {workdir.resolve().name}", about, shown, ANSWERS))
    marks = {"snapshot": found, "sha256": snapshots.digest(workdir, found), "split": split, "average": average}
    path = workdir / "samples" / f"step_{found:08d}_answers_{split}{'_average' if average else ''}.json"
    path.parent.mkdir(exist_ok=True)
    shares = {"accuracy": accuracy._asdict(), "prior": prior._asdict()}
    record.write_json(path, {**marks, **shares, "noticed": dict(source.noticed)})
    return Answered(texts, accuracy, prior, found, dict(source.noticed), path)


def _shown(assembly: Assembly, features: Callable[[Any], Any], log_probs: np.ndarray) -> list[Described]:
    """The first questions, as many as there are log-probabilities of their answers [n, K]."""
    source: Any = assembly.eval_source
    task: Any = assembly.task
    first = np.arange(len(log_probs))
    plain: Any = open_source(assembly.config.data, "eval") if assembly.config.encoder.model else source
    batch = source[first]
    grid = backbones.grid(task.model.backbone, task.model.stage, batch["image"].shape)
    hops = {name: np.asarray(x) for name, x in features(batch).items() if name.startswith("attention")}
    described = []
    for i, row in zip(first, log_probs):
        best = np.argsort(-row, kind="stable")[:SHOWN]
        found = [Alternative(source.info.classes[k], float(np.exp(row[k])), float(row[k]), True) for k in best]
        looks = [Look(f"hop {k}", weights[i].reshape(grid)) for k, weights in enumerate(hops.values(), 1)]
        name = f"image {source.owner[i]}: {source.texts['token'][i]}"
        image = plain.images[plain.owner[i]]
        told = source.people[i] if source.people else (source.texts["label"][i],)
        described.append(Described(name, image, found, told, looks))
    return described
