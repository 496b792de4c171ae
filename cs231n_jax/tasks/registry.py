"""From a config to a task: one row a task, one row a loss."""

import difflib
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from cs231n_jax.data import DataConfig, Info
from cs231n_jax.data.vocabulary import Listed
from cs231n_jax.models import ModelConfig, create
from cs231n_jax.ops import losses
from cs231n_jax.tasks import augmentations
from cs231n_jax.tasks.base import Loss, Task, TaskConfig
from cs231n_jax.tasks.captioning import Captioning
from cs231n_jax.tasks.classification import Classification, LossFunction
from cs231n_jax.tasks.language_modelling import LanguageModelling
from cs231n_jax.tasks.translation import Translation


def build(task: TaskConfig, model: ModelConfig, data: DataConfig, info: Info) -> Task:
    """The task that the configs describe, on data described by `info`.

    Raises:
        ValueError: unknown task; the model or the task reads something else than the data has; the number of classes
            is not that of the data; or the task has no such option.
    """
    if task.name not in TASKS:
        near = difflib.get_close_matches(task.name, TASKS, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ValueError(f"unknown task {task.name!r}{hint}; tasks: {', '.join(TASKS)}")
    kind = TASKS[task.name]
    network = create(model.name, **model.options)
    for what, reads in ((f"task {task.name}", kind.reads), (f"model {model.name}", network.reads)):
        if missing := [name for name in reads if name not in info.shapes]:
            fitting = ", ".join(name for name, other in TASKS.items() if info.shapes.keys() >= set(other.reads))
            raise ValueError(
                f"{what} reads {missing[0]}s, and {info.name} has {', '.join(info.shapes)}: set task.name={fitting} "
                "and a model for it, or take other data"
            )
    classes = model.options.get("num_classes")
    if classes != info.num_classes:
        raise ValueError(
            f"model {model.name} has {classes} classes, {info.name} has {info.num_classes}: "
            f"set --config.model.options.num_classes={info.num_classes}"
        )
    words = info.vocabularies.get("token")
    if words and model.options.get("vocabulary", words.size) != words.size:
        raise ValueError(
            f"model {model.name} knows {model.options['vocabulary']} tokens, {info.name} has {words.size}: "
            f"set --config.model.options.vocabulary={words.size}"
        )
    return kind.build(task, model, data, info)


def _classification(task: TaskConfig, model: ModelConfig, data: DataConfig, info: Info) -> Task:
    if task.attention_spread:
        raise ValueError(f"task.attention_spread={task.attention_spread} is for task.name=captioning: set it to 0")
    mean, std = data.statistics(info) if info.mean else ((), ())
    network = create(model.name, **model.options)
    return Classification(
        model=network,
        mean=mean,
        std=std,
        augment=augmentations.build(data, mean, network.reads[0]),
        label_smoothing=task.label_smoothing,
        dtype=model.dtype.value,
        scored_by=_LOSSES[task.loss](task),
        l1=task.l1,
        l2=task.l2,
        open_answers={"image", "token"} <= info.shapes.keys(),
    )


def _language_modelling(task: TaskConfig, model: ModelConfig, data: DataConfig, info: Info) -> Task:
    _refuse_unread(task, data, attention=False)
    network = create(model.name, **model.options)
    return LanguageModelling(network, task.label_smoothing, model.dtype.value, Listed(info.classes))


def _translation(task: TaskConfig, model: ModelConfig, data: DataConfig, info: Info) -> Task:
    _refuse_unread(task, data, attention=False)
    words, size = info.vocabularies, model.options.get("source_size")
    if size != words["source"].size:
        raise ValueError(
            f"model {model.name} reads {size} tokens, {info.name} has {words['source'].size} in its sources: "
            f"set --config.model.options.source_size={words['source'].size}"
        )
    network = create(model.name, **model.options)
    shared = (network, task.label_smoothing, model.dtype.value)
    return Translation(*shared, source=words["source"], target=words["target"])


def _captioning(task: TaskConfig, model: ModelConfig, data: DataConfig, info: Info) -> Task:
    network = create(model.name, **model.options)
    _refuse_unread(task, data, attention="alignment" in network.stages)
    mean, std = data.statistics(info) if info.mean else ((), ())
    shared = (network, task.label_smoothing, model.dtype.value)
    return Captioning(
        *shared,
        target=info.vocabularies["target"],
        mean=mean,
        std=std,
        shape=info.shapes["image"],
        attention_spread=task.attention_spread,
    )


def _refuse_unread(task: TaskConfig, data: DataConfig, attention: bool) -> None:
    """Refuse what tasks over tokens do not read; `attention`: whether the model is asked where it looks."""
    ignored = {"task.loss": task.loss is not Loss.SOFTMAX, "task.l1": task.l1, "task.l2": task.l2}
    ignored |= {
        "data.augment": data.augment != "none",
        "task.attention_spread": task.attention_spread and not attention,
    }
    if wrong := [name for name, given in ignored.items() if given]:
        raise ValueError(f"task {task.name} does not read {', '.join(wrong)}: leave it at its default")


_LOSSES: dict[Loss, Callable[[TaskConfig], LossFunction]] = {
    Loss.SOFTMAX: lambda task: losses.softmax_cross_entropy,
    Loss.SVM: lambda task: partial(losses.multiclass_hinge, margin=task.margin),
    Loss.SQUARED_SVM: lambda task: partial(losses.multiclass_hinge, margin=task.margin, squared=True),
}


class _Kind(NamedTuple):
    """A row of the table."""

    reads: tuple[str, ...]  # the arrays of a batch that there must be
    build: Callable[[TaskConfig, ModelConfig, DataConfig, Info], Task]


TASKS = {
    "classification": _Kind(("label",), _classification),
    "language_modelling": _Kind(("start",), _language_modelling),
    "translation": _Kind(("source",), _translation),
    "captioning": _Kind(("image", "target"), _captioning),
}
