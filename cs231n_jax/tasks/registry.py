"""From a config to a task: one row a task, one row a loss."""

import difflib
from collections.abc import Callable
from functools import partial

from cs231n_jax.data import DataConfig, Info
from cs231n_jax.models import ModelConfig, create
from cs231n_jax.ops import losses
from cs231n_jax.tasks import augmentations
from cs231n_jax.tasks.base import Loss, Task, TaskConfig
from cs231n_jax.tasks.classification import Classification, LossFunction


def build(task: TaskConfig, model: ModelConfig, data: DataConfig, info: Info) -> Task:
    """The task that the configs describe, on data described by `info`.

    Raises:
        ValueError: unknown task; or the model's number of classes is not that of the data.
    """
    if task.name not in TASKS:
        near = difflib.get_close_matches(task.name, TASKS, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ValueError(f"unknown task {task.name!r}{hint}; tasks: {', '.join(TASKS)}")
    return TASKS[task.name](task, model, data, info)


def _classification(task: TaskConfig, model: ModelConfig, data: DataConfig, info: Info) -> Task:
    classes = model.options.get("num_classes")
    if classes != info.num_classes:
        raise ValueError(
            f"model {model.name} has {classes} classes, {info.name} has {info.num_classes}: "
            f"set --config.model.options.num_classes={info.num_classes}"
        )
    mean, std = data.statistics(info)
    return Classification(
        model=create(model.name, **model.options),
        mean=mean,
        std=std,
        augment=augmentations.build(data, mean),
        label_smoothing=task.label_smoothing,
        dtype=model.dtype.value,
        scored_by=_LOSSES[task.loss](task),
        l1=task.l1,
        l2=task.l2,
    )


_LOSSES: dict[Loss, Callable[[TaskConfig], LossFunction]] = {
    Loss.SOFTMAX: lambda task: losses.softmax_cross_entropy,
    Loss.SVM: lambda task: partial(losses.multiclass_hinge, margin=task.margin),
    Loss.SQUARED_SVM: lambda task: partial(losses.multiclass_hinge, margin=task.margin, squared=True),
}

TASKS: dict[str, Callable[[TaskConfig, ModelConfig, DataConfig, Info], Task]] = {"classification": _classification}
