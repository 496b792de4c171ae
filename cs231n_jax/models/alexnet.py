"""AlexNet: as published in 2012, and in the one-column layout whose weights torchvision has."""

from functools import partial
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import flax.linen as nn

from cs231n_jax.models.base import Mode, Model, Variant, scaled
from cs231n_jax.models.layers import Conv, Dense, activate, dropout
from cs231n_jax.ops import init, pool
from cs231n_jax.ops.adaptive_pool import adaptive_avg_pool
from cs231n_jax.ops.lrn import local_response_norm
from cs231n_jax.typing import Array


class Layout(NamedTuple):
    """What the variants differ in; five entries are one for each convolution."""

    widths: tuple[int, ...]
    groups: tuple[int, ...]
    first_padding: int
    biases: tuple[float, ...]  # of convolutions and hidden layers; torch's own initialisation where empty
    lrn: bool
    dropout_first: bool  # before each hidden layer, not after


PAPER = Layout((96, 256, 384, 384, 256), (1, 2, 1, 2, 2), 0, (0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0), True, False)
LAYOUTS = {
    "torchvision": Layout((64, 192, 384, 256, 256), (1,) * 5, 2, (), False, True),
    "paper": PAPER,
    "ungrouped": PAPER._replace(groups=(1,) * 5),
}


class AlexNet(Model):
    """Images [N, 224, 224, 3] (published form: 227) -> logits [N, K].

    Five convolutions (11×11 with stride 4, 5×5, three of 3×3), 3×3 pooling with stride 2 after the first, second and
    fifth, two hidden layers of 4096.
    Reference: Krizhevsky, Sutskever, Hinton 2012, section 3 (variant "paper"; "ungrouped": on one device; validation
    error 40.7 % top-1 with ten crops); Krizhevsky 2014, "One weird trick" (variant "torchvision", the default).
    Deviation: images of another size are averaged to 6×6 before the hidden layers, as in torchvision.
    """

    variant: Literal["torchvision", "paper", "ungrouped"] = "torchvision"
    scale: float = 1.0  # of all widths
    hidden: int = 4096
    drop_rate: float = 0.5

    @property
    def stages(self) -> tuple[str, ...]:
        """stage1 … stage5 (a convolution and what follows it), fc1, fc2."""
        return ("stage1", "stage2", "stage3", "stage4", "stage5", "fc1", "fc2")

    def validate(self) -> None:
        """Groups take equal shares of the channels."""
        layout = LAYOUTS[self.variant]
        widths = [scaled(width, self.scale) for width in layout.widths]
        shared = [pair for pair, groups in zip(pairwise(widths), layout.groups[1:]) if groups > 1]
        if any(width % 2 for pair in shared for width in pair):
            raise ValueError(
                f"scale={self.scale} gives layers of {', '.join(map(str, widths))} channels, which variant "
                f"{self.variant!r} halves: choose another scale, such as 0.125"
            )

    @property
    def smallest(self) -> int:
        """An 11×11 window with stride 4 that leaves 15×15, which three poolings of 3×3 with stride 2 halve to 1×1."""
        return 67 - 2 * LAYOUTS[self.variant].first_padding

    @nn.compact
    def forward(self, x: Array, *, train: bool = False, noise: bool = False) -> dict[str, Array]:
        """stage1 … stage5, fc1, fc2, pre_logits, logits."""
        layout, features = LAYOUTS[self.variant], {}
        block = self.repeated(_Stage)
        for i, (kernel, padding) in enumerate(((11, layout.first_padding), (5, 2), (3, 1), (3, 1), (3, 1))):
            bias = layout.biases[i] if layout.biases else None
            lrn, width, groups = layout.lrn and i < 2, scaled(layout.widths[i], self.scale), layout.groups[i]
            layer = block(width, kernel, padding, groups, bias, lrn, pooled=i in (0, 1, 4), name=f"stage{i + 1}")
            x = features[f"stage{i + 1}"] = layer(x, self.mode(f"stage{i + 1}", train, noise))
        x = adaptive_avg_pool(x, 6).reshape((x.shape[0], -1))
        for i in (1, 2):
            mode = self.mode(f"fc{i}", train, noise)
            x = dropout(self, x, self.drop_rate, mode) if layout.dropout_first else x
            start = _start(x.shape[-1], layout.biases[4 + i] if layout.biases else None)
            features[f"fc{i}"] = activate(Dense(self.hidden, **start, name=f"fc{i}")(x), mode, f"fc{i}_prelu")
            x = features[f"fc{i}"] if layout.dropout_first else dropout(self, features[f"fc{i}"], self.drop_rate, mode)
        head = _start(x.shape[-1], 0.0 if layout.biases else None)
        return {**features, "pre_logits": x, "logits": Dense(self.num_classes, **head, name="head")(x)}


class _Stage(nn.Module):
    """Convolution, activation, then where asked response normalisation and pooling."""

    features: int
    kernel: int
    padding: int
    groups: int
    bias: float | None
    lrn: bool
    pooled: bool

    @nn.compact
    def __call__(self, x: Array, mode: Mode) -> Array:
        """[N, H, W, C] -> [N, H', W', features]."""
        first = self.kernel == 11
        start = _start(self.kernel**2 * x.shape[-1] // self.groups, self.bias)
        options = {"stride": 4 if first else 1, "padding": self.padding, "groups": self.groups, **start}
        x = activate(Conv(self.features, self.kernel, use_bias=True, **options, name="conv")(x), mode, "prelu")
        x = local_response_norm(x) if self.lrn else x
        return pool.max_pool(x, 3, stride=2) if self.pooled else x


def _start(fan_in: int, bias: float | None) -> dict[str, Any]:
    """Initialisers: N(0, 0.01²) and a constant bias as published, or torch's default where `bias` is None."""
    if bias is None:
        return dict.fromkeys(("init", "bias_init"), partial(init.torch_uniform, fan_in=fan_in))
    return {"init": partial(init.normal, std=0.01), "bias_init": partial(init.constant, value=bias)}


VARIANTS = {"alexnet": Variant(AlexNet, {}, (224, 224, 3), 61_100_840, {"num_classes": 1000})}
