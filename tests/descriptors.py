"""One row a model: a tiny input and options that make it cheap; every property is tested over all rows.

A registry name that has no row of its own family here fails `test_every_family_has_a_row`.
"""

from typing import Any, NamedTuple

import numpy as np

from cs231n_jax.models import registry


class ModelRow(NamedTuple):
    """A model small enough to differentiate in float64 in a second or two."""

    name: str
    options: dict[str, Any]  # also what the name fixes, such as the number of blocks
    input_shape: tuple[int, ...]  # with the batch axis
    note: str = ""
    slow: bool = False  # what computes or traces it is left out of the default run

    def __hash__(self) -> int:
        return hash((self.name, str(self.options)))

    def __str__(self) -> str:
        return "-".join(filter(None, (self.name, self.note)))

    @property
    def reads_tokens(self) -> bool:
        """Whether the input is [N, T] integers."""
        return registry.VARIANTS[self.name].dtype == "int32"

    @property
    def writes(self) -> bool:
        """Whether it scores the next token at each place of a text."""
        return not {"start", "target"}.isdisjoint(self.reads)

    @property
    def reads(self) -> tuple[str, ...]:
        """The arrays of a batch that the model is called on."""
        return registry.VARIANTS[self.name].module.reads

    def model(self, **options: Any) -> Any:
        """The narrow model of the row."""
        variant = registry.VARIANTS[self.name]
        return variant.module(**{**variant.options, **variant.defaults, "num_classes": 10, **self.options, **options})


_BOTTLENECK = {"blocks": (1, 2), "width": 4}
_SEEN = {"backbone": "lenet5", "stage": "stage1", "hidden": 5, "embedding": 4, "drop_rate": 0.2}
# Four of nine inception modules: every stage, two in one of them, both auxiliary heads.
INCEPTIONS = ("stage3_a", "stage4_a", "stage4_d", "stage5_a")

MODELS = (
    ModelRow("mlp", {"hidden": (7, 5), "activation": "tanh"}, (3, 4, 4, 1)),
    ModelRow("lenet5", {"activation": "tanh"}, (3, 28, 28, 1)),
    ModelRow("lenet5", {"variant": "1998", "padding": 2}, (3, 28, 28, 1), "1998", slow=True),
    ModelRow("alexnet", {"scale": 0.125, "hidden": 12}, (3, 67, 67, 3), slow=True),
    ModelRow("alexnet", {"scale": 0.125, "hidden": 12, "variant": "paper"}, (3, 67, 67, 3), "paper", slow=True),
    ModelRow("vgg11", {"width": 4, "hidden": 16}, (3, 32, 32, 3), slow=True),
    ModelRow("vgg13_bn_cifar", {"width": 4}, (3, 32, 32, 3), slow=True),
    ModelRow("nin_cifar", {"scale": 0.1}, (3, 16, 16, 3), slow=True),
    ModelRow("nin_imagenet", {"scale": 0.1}, (3, 75, 75, 3), slow=True),
    ModelRow("googlenet", {"modules": INCEPTIONS, "scale": 0.125}, (3, 48, 48, 3), slow=True),
    ModelRow(
        "googlenet",
        {"modules": INCEPTIONS, "scale": 0.2, "norm": "lrn", "kernel5": 5},
        (3, 48, 48, 3),
        "lrn",
        slow=True,
    ),
    ModelRow("googlenet_cifar", {"modules": INCEPTIONS, "scale": 0.125}, (3, 16, 16, 3), slow=True),
    ModelRow("resnet8", {"width": 4}, (4, 8, 8, 3)),
    ModelRow("plain20", {"blocks": (1, 1), "width": 4}, (4, 8, 8, 3), slow=True),
    ModelRow("resnet14", {"width": 4, "shortcut": "B"}, (4, 9, 9, 3), slow=True),
    ModelRow("resnet50", _BOTTLENECK, (4, 33, 33, 3), slow=True),
    ModelRow("wide_resnet50_2", {**_BOTTLENECK, "version": "v1"}, (4, 33, 33, 3), "v1", slow=True),
    ModelRow("stochastic_resnet110", {"blocks": (1, 1, 1), "width": 4}, (4, 8, 8, 3)),
    ModelRow("preresnet110", {"blocks": 1, "width": 4, "depth_drop_rate": 0.4}, (4, 8, 8, 3), slow=True),
    ModelRow("preresnet164", {"blocks": 1, "width": 4}, (4, 8, 8, 3), slow=True),
    ModelRow("wrn28_10", {"blocks": 1, "width": 2, "widen": 2, "drop_rate": 0.3}, (4, 8, 8, 3)),
    ModelRow("densenet121", {"blocks": (1, 2), "growth": 4, "stem_width": 6}, (4, 32, 32, 3), slow=True),
    ModelRow("densenet40_12", {"blocks": (1, 2), "growth": 4, "stem_width": 6, "drop_rate": 0.2}, (4, 8, 8, 3)),
    ModelRow("fractalnet20", {"widths": (4, 6), "drop_rates": (0.0, 0.1)}, (4, 8, 8, 3), slow=True),
    ModelRow("squeezenet", {"scale": 0.1}, (3, 35, 35, 3), slow=True),
    ModelRow("squeezenet1_0", {"scale": 0.1, "head_padding": 1}, (3, 35, 35, 3), slow=True),
    ModelRow("convnet", {"widths": (4, 6), "hidden": 8, "batch_norm": False, "drop_rate": 0.3}, (3, 8, 8, 3)),
    ModelRow(
        "convnet",
        {"widths": (4, 6), "hidden": 8, "residual": True, "depth_drop_rate": 0.4, "pooling": "fractional"},
        (4, 9, 9, 3),
        "fractional",
        slow=True,
    ),
    ModelRow("fmp_digits", {"width": 4}, (3, 8, 8, 1), slow=True),
    ModelRow("char_lm", {"hidden": 5, "layers": 2, "embedding": 4, "drop_rate": 0.2}, (3, 6)),
    ModelRow("char_gru", {"hidden": 5}, (3, 6), slow=True),
    ModelRow("sentiment", {"vocabulary": 10, "hidden": 5, "layers": 2, "embedding": 4, "drop_rate": 0.2}, (3, 6)),
    ModelRow("lrcn", {"widths": (4, 6), "fc": 5, "hidden": 4, "drop_rate": 0.2, "num_classes": 10}, (3, 4, 8, 8, 1)),
    ModelRow("lrcn", {"widths": (4,), "fc": 5, "hidden": 4, "clip": "last"}, (3, 4, 4, 4, 1), "last", slow=True),
    ModelRow("seq2seq_lstm", {"hidden": 6, "embedding": 4, "source_size": 10, "drop_rate": 0.2}, (3, 6), slow=True),
    ModelRow("seq2seq_lstm_general", {"hidden": 6, "embedding": 4, "source_size": 10}, (3, 6), slow=True),
    ModelRow("seq2seq_gru_additive", {"hidden": 6, "embedding": 4, "source_size": 10, "drop_rate": 0.2}, (3, 6)),
    ModelRow("captioner_lstm", {**_SEEN, "backbone": "convnet", "stage": "stage2"}, (3, 8, 8, 3)),
    ModelRow("attention_captioner", {**_SEEN, "attended": 3}, (3, 16, 16, 3), slow=True),
    ModelRow("vqa_product", {**_SEEN, "vocabulary": 10}, (3, 16, 16, 3), slow=True),
    ModelRow("vqa_stacked2", {**_SEEN, "vocabulary": 10, "attended": 3}, (3, 16, 16, 3), slow=True),
)


def images(row: ModelRow, dtype: Any = np.float32, seed: int = 0) -> np.ndarray:
    """Standard normal images for a row, or tokens."""
    if row.reads_tokens:
        return np.random.default_rng(seed).integers(0, 10, row.input_shape, np.int32)
    return np.random.default_rng(seed).standard_normal(row.input_shape).astype(dtype)
