"""What every model of this package looks like, and the row that names a variant of it."""

from typing import Any, ClassVar, NamedTuple

import flax.linen as nn

from cs231n_jax.typing import Array


class Model(nn.Module):
    """A model is one compact method `forward` that returns its named intermediates, "logits" among them.

    `train` means batch statistics, `noise` the random regularizers; a stage named in `frozen` never gets either.
    `auxiliary` maps names of further logits, present when `train`, to their weight in the training loss.
    """

    auxiliary: ClassVar[dict[str, float]] = {}

    def forward(self, x: Array, *, train: bool = False, noise: bool = False) -> dict[str, Array]:
        """Named intermediates in the order of computation: "stem", "stage1", ..., "pre_logits", "logits"."""
        raise NotImplementedError

    def __call__(self, x: Array, *, train: bool = False, noise: bool = False) -> Array:
        """The logits alone."""
        return self.forward(x, train=train, noise=noise)["logits"]

    def features(self, x: Array, *, train: bool = False, noise: bool = False) -> dict[str, Array]:
        """All named intermediates; those not used cost nothing under jit."""
        return self.forward(x, train=train, noise=noise)


class Variant(NamedTuple):
    """A row of a family's table: a named model."""

    module: type[nn.Module]
    options: dict[str, Any]  # what makes this row; all other options of the module stay free
    input_shape: tuple[int, ...]  # of one example, for counting parameters
    parameters: int  # published or recomputed count of trained parameters, with the default options
