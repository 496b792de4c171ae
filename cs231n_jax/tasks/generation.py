"""What a task offers besides the contract of `base` so that `experiments.decode` can generate with it: one method.

class Translation:
    def generation(self) -> Generation: ...
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cs231n_jax.data import Source
from cs231n_jax.decode import Step
from cs231n_jax.metrics.bleu_score import References
from cs231n_jax.typing import Array, Batch, ModelState, Params, PyTree


class Start(NamedTuple):
    """Where decoding begins."""

    step: Step  # closes over the parameters, and over what stays the same, such as an encoder's outputs
    carry: PyTree  # before the prompt, leaves [N, ...]
    prompt: Array  # tokens, int32 [N, P] with P ≥ 1: the text to be continued, or a start token
    lengths: Array  # of the prompts, int32 [N], from 1 to P


class Inputs(NamedTuple):
    """N things to generate from, each once: sentences to be translated, pictures to be described."""

    take: Callable[[np.ndarray, int], dict[str, np.ndarray]]  # (which [n], length) -> arrays for `start`, so padded
    lengths: np.ndarray  # of each, int64 [N]: those of like lengths are put side by side
    prompts: Sequence[str]  # N of them, for `write`
    references: References = ()  # what people wrote: N, each one text or several


class Scored(NamedTuple):
    """A score of all generated texts together."""

    value: float
    signature: str  # how it was come by


class Generation(NamedTuple):
    """How a task generates: from text to arrays, the model, and back."""

    read: Callable[[str], dict[str, np.ndarray]]  # what --prompt says as a batch of one; ValueError: what is wrong
    start: Callable[[Params, ModelState, Batch], Start]  # called within jit, on a batch of N such rows
    write: Callable[[str, np.ndarray], str]  # (prompt, tokens int32 [S] without padding) -> what a person reads
    stop: int | None = None  # the token that ends a sequence
    inputs: Callable[[Source], Inputs] | None = None  # those of a split
    score: Callable[[Sequence[str], References], Mapping[str, Scored]] | None = None  # by name: texts and references


def of(task: Any) -> Generation:
    """How a task generates.

    Raises:
        ValueError: it does not.
    """
    if not hasattr(task, "generation"):
        raise ValueError(f"a run of the task {type(task).__name__} does not generate: give one of a language model")
    return task.generation()
