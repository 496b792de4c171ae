"""The carry: what of the model state belongs to the examples of a batch, and goes from one batch to the next.

It is the collection "carry" of `model_state`, each leaf [N, ...] with a row for each example of the training batch, as
a recurrent network leaves it at the end of a window for the next. So it lies over the devices as the batch does
(`sharding`), is cut with the batch into micro-batches (`accumulate`), and is part of snapshots; what evaluates or
averages them leaves it out. Where an update is dropped the carry stays too: it is then that of a window earlier, which
is stale but finite, where the new one need not be.
"""

from cs231n_jax.typing import ModelState

NAME = "carry"


def without(model_state: ModelState) -> ModelState:
    """The state for anything but going on with training."""
    return {name: tree for name, tree in model_state.items() if name != NAME}
