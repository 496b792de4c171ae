"""What every model of this package looks like, and the row that names a variant of it."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from cs231n_jax.typing import Array


class Mode(NamedTuple):
    """How a part of a model runs: `train` and `noise` are off in inference."""

    train: bool  # normalise by batch statistics and update the running ones
    noise: bool  # draw the random regularizers
    activation: str = "relu"  # of `ops.activations`, or a name that a family adds
    ghost: int = 0  # examples that batch norm takes the statistics of together; 0: the whole batch


class Model(nn.Module):
    """A model is one compact method `forward` that returns its named intermediates, "logits" among them.

    `train` means batch statistics, `noise` the random regularizers; a stage named in `frozen` never gets either.
    The name of a parameter begins with that of its stage: "stage1_block2/conv1/kernel", "stem_norm/scale"; those of
    the last layer with "head", those of auxiliary logits with the logits' name. `remat` keeps only the inputs of
    blocks for the backward pass and computes the rest again. `activation` is what stands wherever the paper has its
    rectifier; "prelu" adds the slopes of each place to the parameters. `ghost_batch` is the number of examples that
    batch norm takes its statistics of in training; it divides the batch.
    """

    num_classes: int = 10
    frozen: tuple[str, ...] = ()
    remat: bool = False
    activation: str = "relu"
    ghost_batch: int = 0  # 0: the whole batch

    reads = ("image",)  # the arrays of a batch that the model is called on, in this order
    answers = MappingProxyType({"logits": "label"})  # which arrays of a batch its outputs are scored against

    @property
    def stages(self) -> tuple[str, ...]:
        """The parts that can be frozen, in the order of computation; each is a key of the features too."""
        raise NotImplementedError

    @property
    def auxiliary(self) -> dict[str, float]:
        """Names of further logits, present at least when `train`, with their weight in the training loss."""
        return {}

    @property
    def smallest(self) -> int:
        """The smallest height and width of an image that leave a pixel in the last maps."""
        return 1

    def validate(self) -> None:
        """Refuse options that do not fit each other; each of them alone has been checked by its annotation."""

    def forward(self, x: Array, *, train: bool = False, noise: bool = False) -> dict[str, Array]:
        """Named intermediates in the order of computation: "stem", "stage1", ..., "pre_logits", "logits"."""
        raise NotImplementedError

    def __call__(self, x: Array, *, train: bool = False, noise: bool = False) -> Array:
        """The logits alone."""
        self.check_input(x)
        return self.forward(x, train=train, noise=noise)["logits"]

    def features(self, x: Array, *, train: bool = False, noise: bool = False) -> dict[str, Array]:
        """All named intermediates; those not used cost nothing under jit."""
        self.check_input(x)
        return self.forward(x, train=train, noise=noise)

    def check_input(self, x: Array) -> None:
        """Refuse what is no batch of images, or too small ones; raises ValueError."""
        label = self.name or type(self).__name__
        if x.ndim != 4:
            raise ValueError(f"{label} takes images [N, H, W, C], got an array of shape {list(x.shape)}: reshape it")
        if 0 in x.shape:
            raise ValueError(
                f"{label} got images of shape {list(x.shape)}: give at least one, with a pixel and a channel"
            )
        height, width = x.shape[1:3]
        if min(height, width) < self.smallest:
            raise ValueError(
                f"{label} takes images of at least {self.smallest}×{self.smallest}, got {height}×{width}: enlarge or "
                "pad them, or take a model for smaller ones"
            )

    def mode(self, stage: str, train: bool, noise: bool) -> Mode:
        """How a stage runs: as asked, or for a frozen one always as in inference."""
        if stage in self.frozen:
            train = noise = False
        return Mode(train, noise, self.activation, self.ghost_batch)

    def repeated(self, kind: type[nn.Module]) -> Callable[..., Callable[..., Array]]:
        """`kind`, a module called as block(x, mode), in the form in which `forward` should build it many times."""
        if self.is_initializing():
            return _Repeated(self, kind)
        return nn.remat(kind, static_argnums=(2,)) if self.remat else kind


class _Repeated:
    """Builds the blocks of a model while it is initialised.

    Of equal blocks on inputs of equal shape only the first is traced; the others get copies of its specs, which is
    what makes the initialisation of a thousand layers take a fraction of a second.
    """

    def __init__(self, model: Model, kind: type[nn.Module]):
        self.model, self.kind = model, kind
        self.traced: dict[Any, tuple[Array, dict[str, Any]]] = {}

    def __call__(self, *args: Any, name: str, **kwargs: Any) -> Callable[..., Array]:
        def block(x: Array, mode: Mode, *rest: Any) -> Array:
            key = (args, tuple(sorted(kwargs.items())), x.shape, x.dtype)
            if key not in self.traced:
                module = self.kind(*args, name=name, **kwargs)
                self.traced[key] = module(x, mode, *rest), dict(module.variables)
                return self.traced[key][0]
            y, variables = self.traced[key]
            for collection, tree in variables.items():
                self.model.put_variable(collection, name, tree)
            return y

        return block


class Variant(NamedTuple):
    """A row of a family's table: a named model."""

    module: type[Model]
    options: dict[str, Any]  # what makes this row; all other options of the module stay free
    input_shape: tuple[int, ...]  # of one example, for counting parameters
    parameters: int  # published or recomputed count of trained parameters, with the default options
    defaults: Mapping[str, Any] = MappingProxyType({})  # of free options, where they are not the module's own
    dtype: str = "float32"  # of the input: int32 for tokens

    def example(self, n: int = 1) -> jax.ShapeDtypeStruct:
        """The shape of n examples, for abstract runs."""
        return jax.ShapeDtypeStruct((n, *self.input_shape), jnp.dtype(self.dtype))


def scaled(width: int, scale: float) -> int:
    """width·scale, rounded, at least 1."""
    return max(1, round(width * scale))


def stage_of(path: str) -> str:
    """The stage that a parameter belongs to, from its path: 'stage1_block2/conv1/kernel' -> 'stage1'."""
    return path.split("/", 1)[0].split("_", 1)[0]
