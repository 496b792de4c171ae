"""One to one: the lecture's vanilla network, fully connected layers with a nonlinearity between them."""

import flax.linen as nn

from cs231n_jax.models.base import Model, Variant
from cs231n_jax.models.layers import Dense, dropout
from cs231n_jax.models.random_layers import Mask, hidden
from cs231n_jax.ops import dropconnect
from cs231n_jax.typing import Array


class Mlp(Model):
    """Images or vectors [N, ...] -> logits [N, K] through fully connected hidden layers.

    The lecture's two-layer net is hidden=(100,). He initialisation, zero biases.
    Reference: cs231n notes, "Neural Networks Part 1"; DropConnect: Wan et al. 2013.
    """

    hidden: tuple[int, ...] = (100,)
    drop_rate: float = 0.0  # dropout after each hidden layer
    drop_connect_rate: float = 0.0  # of the connections into each hidden layer
    drop_connect_mask: Mask = "example"

    @property
    def stages(self) -> tuple[str, ...]:
        """hidden1, hidden2, ..."""
        return tuple(f"hidden{i + 1}" for i in range(len(self.hidden)))

    def check_input(self, x: Array) -> None:
        """Refuse a batch without examples or numbers; anything else is flattened."""
        if x.ndim < 2 or 0 in x.shape:
            label = self.name or type(self).__name__
            raise ValueError(f"{label} takes [N, ...] with N ≥ 1 and a number in each example, got {list(x.shape)}")

    def validate(self) -> None:
        """Refuse a rate that masks cannot have."""
        super().validate()
        dropconnect.keep_rate(self.drop_connect_rate)

    @nn.compact
    def forward(self, x: Array, *, train: bool = False, noise: bool = False) -> dict[str, Array]:
        """hidden1, hidden2, ..., pre_logits, logits."""
        x = x.reshape((x.shape[0], -1))
        features = {}
        for stage, width in zip(self.stages, self.hidden):
            mode = self.mode(stage, train, noise)
            rates = {"drop_rate": self.drop_connect_rate, "mask": self.drop_connect_mask}
            x = features[stage] = hidden(x, width, mode, stage, **rates)
            x = dropout(self, x, self.drop_rate, mode)
        return {**features, "pre_logits": x, "logits": Dense(self.num_classes, name="head")(x)}


VARIANTS = {"mlp": Variant(Mlp, {}, (8, 8, 1), 64 * 100 + 100 + 100 * 10 + 10)}
