"""The rival as its users write it: CIFAR ResNet-20 in plain flax.linen layers with an optax step."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

PADDING = ((1, 1), (1, 1))


class Block(nn.Module):
    """Basic block with an option-A shortcut."""

    features: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Convolution, batch norm, ReLU, convolution, batch norm, sum, ReLU."""
        residual = x
        x = nn.Conv(self.features, (3, 3), self.stride, PADDING, use_bias=False)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=False, momentum=0.9)(x))
        x = nn.Conv(self.features, (3, 3), padding=PADDING, use_bias=False)(x)
        x = nn.BatchNorm(use_running_average=False, momentum=0.9)(x)
        if self.stride != 1 or residual.shape[-1] != self.features:
            half = (self.features - residual.shape[-1]) // 2
            residual = jnp.pad(residual[:, :: self.stride, :: self.stride], ((0, 0),) * 3 + ((half, half),))
        return nn.relu(x + residual)


class ResNet20(nn.Module):
    """Stem, three stages of three blocks, head."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[N, 32, 32, 3] -> [N, 10]."""
        x = nn.Conv(16, (3, 3), padding=PADDING, use_bias=False)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=False, momentum=0.9)(x))
        for stage in range(3):
            for block in range(3):
                x = Block(16 << stage, 2 if stage and not block else 1)(x)
        return nn.Dense(10)(x.mean((1, 2)))


def build(
    images: jax.Array, model: nn.Module | None = None
) -> tuple[Any, Callable[[Any, jax.Array, jax.Array], tuple[Any, jax.Array]]]:
    """(state, step): state = (variables, optimizer state); step(state, images, labels) -> (state, loss), to be jitted.

    SGD with momentum 0.9, rate 0.1, and L2 1e-4, batch norm by batch statistics. Without a model: ResNet-20.
    """
    model = model or ResNet20()
    optimizer = optax.chain(optax.add_decayed_weights(1e-4), optax.sgd(0.1, 0.9))
    variables = jax.jit(model.init)(jax.random.key(0), images)
    return (variables, optimizer.init(variables["params"])), make_step(model, optimizer)


def make_step(
    model: nn.Module, optimizer: optax.GradientTransformation
) -> Callable[[Any, jax.Array, jax.Array], tuple[Any, jax.Array]]:
    """The update (state, images, labels) -> (state, loss)."""

    def step(state: Any, images: jax.Array, labels: jax.Array) -> tuple[Any, jax.Array]:
        variables, opt_state = state

        def loss(params: Any) -> tuple[jax.Array, Any]:
            logits, updated = model.apply({**variables, "params": params}, images, mutable=["batch_stats"])
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), updated

        (value, updated), grads = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        updates, opt_state = optimizer.update(grads, opt_state, variables["params"])
        params = optax.apply_updates(variables["params"], updates)
        return ({"params": params, **updated}, opt_state), value

    return step


if __name__ == "__main__":
    import time

    pixels, classes = jnp.ones((128, 32, 32, 3)), jnp.zeros(128, jnp.int32)
    start, update = build(pixels)
    jax.block_until_ready(jax.jit(update, donate_argnums=0)(start, pixels, classes))
    print(time.time())
