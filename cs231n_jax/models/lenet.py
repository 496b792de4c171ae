"""LeNet-5 in its modern form: two 5×5 convolutions with 2×2 pooling, three fully connected layers."""

import flax.linen as nn

from cs231n_jax.models.base import Model, Variant
from cs231n_jax.models.layers import Conv, Dense
from cs231n_jax.ops import activations, pool
from cs231n_jax.typing import Array


class LeNet5(Model):
    """Images [N, 32, 32, C] -> logits [N, K]; 28×28 images take padding=2.

    conv 5×5×6, pool, conv 5×5×16, pool, 120, 84, K.
    Reference: LeCun, Bottou, Bengio, Haffner 1998, "Gradient-Based Learning Applied to Document Recognition", II.B.
    Deviation: C3 is fully connected to S2, subsampling is plain max pooling, the output layer is affine (the paper:
    a partial table, trained subsampling, radial basis functions).
    """

    num_classes: int = 10
    padding: int = 0
    activation: str = "relu"

    @nn.compact
    def forward(self, x: Array, *, train: bool = False, noise: bool = False) -> dict[str, Array]:
        """stage1, stage2 (after pooling), pre_logits, logits."""
        del train, noise
        if min(x.shape[1:3]) + 2 * self.padding < 16:
            raise ValueError(
                f"lenet5 needs images of at least 16×16 after padding, got {x.shape[1]}×{x.shape[2]} with "
                f"padding={self.padding}: pass 28×28 or 32×32 images"
            )
        activate = activations.get(self.activation)
        stage1 = Conv(6, 5, padding=self.padding, use_bias=True, name="conv1")(x)
        stage1 = pool.max_pool(activate(stage1), 2)
        stage2 = Conv(16, 5, use_bias=True, name="conv2")(stage1)
        stage2 = pool.max_pool(activate(stage2), 2)
        x = stage2.reshape((stage2.shape[0], -1))
        x = activate(Dense(120, name="fc1")(x))
        x = activate(Dense(84, name="fc2")(x))
        logits = Dense(self.num_classes, name="head")(x)
        return {"stage1": stage1, "stage2": stage2, "pre_logits": x, "logits": logits}


VARIANTS = {"lenet5": Variant(LeNet5, {}, (32, 32, 1), 61_706)}
