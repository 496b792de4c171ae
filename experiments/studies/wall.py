"""One recurrent unit whose loss is a wall, and gradient descent on it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax import optim
from cs231n_jax.typing import Array

LEFT, RIGHT, LOW, HIGH = 3.4, 6.0, -3.0, -1.0  # weights and biases of the surface
BEGIN = (5.2, -2.0)
FOUND = 1e-3  # a loss below that is the minimum


class Surface(NamedTuple):
    """The surface and descents on it."""

    losses: np.ndarray  # [points, points]: bias by weight
    norms: np.ndarray  # [points²]: of the gradient
    paths: dict[str, np.ndarray]  # by way of clipping: [updates + 1, 2], weight and bias, from BEGIN
    found: dict[str, float]  # by way of clipping: share of the surface from where descent finds the minimum


def unit_loss(point: Array) -> Array:
    """(σ(x_50) − 0.7)², x_t = w·σ(x_{t−1}) + b from x_0 = 0.5, for point = (w, b)."""
    w, b = point
    last, _ = jax.lax.scan(lambda x, _: (w * jax.nn.sigmoid(x) + b, None), jnp.full_like(w, 0.5), length=50)
    return (jax.nn.sigmoid(last) - 0.7) ** 2


def descend(step: optim.GradientTransformation, points: np.ndarray, updates: int) -> tuple[np.ndarray, np.ndarray]:
    """The way [updates + 1, N, 2] of gradient descent from each of N points, and the losses at its end [N]."""

    def update(state: Any, _: None) -> Any:
        point, slots = state
        moved, slots = step.update(jax.grad(unit_loss)(point), slots, point)
        return (point + moved, slots), point

    def path(point: Array) -> tuple[Array, Array]:
        (last, _), before = jax.lax.scan(update, (point, step.init(point)), length=updates)
        return jnp.concatenate((before, last[None])), unit_loss(last)

    return jax.device_get(jax.jit(jax.vmap(path, out_axes=(1, 0)))(points))


def measure(ways: Mapping[str, optim.GradientTransformation], points: int, updates: int) -> Surface:
    """The surface at `points`² weights and biases, and descents from BEGIN and from a grid an eighth as fine.

    Args:
        ways: optimizers by name.
        points: along each side.
        updates: of each descent.
    """

    def grid(count: int) -> np.ndarray:
        axes = np.linspace(LEFT, RIGHT, count), np.linspace(LOW, HIGH, count)
        return np.stack(np.meshgrid(*axes), -1).reshape(-1, 2)

    paths, found = {}, {}
    with jax.enable_x64(True):  # what a cliff does to the next step hangs on digits
        losses, slopes = jax.device_get(jax.jit(jax.vmap(jax.value_and_grad(unit_loss)))(grid(points)))
        for name, step in ways.items():
            path, last = descend(step, np.concatenate((np.asarray([BEGIN]), grid(points // 8))), updates)
            paths[name], found[name] = path[:, 0], float((last[1:] < FOUND).mean())
    return Surface(losses.reshape(points, points), np.linalg.norm(slopes, axis=-1), paths, found)
