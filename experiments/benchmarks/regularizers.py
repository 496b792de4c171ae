"""What random pooling and augmentation cost: beside 2×2 max pooling, and as a share of a training step of ResNet-20.

Pooling: forward and backward in one program, float32, a pair of sequences drawn in it; nanoseconds an output element,
since fractional pooling leaves more of them (the ratio is √2). Shapes are those of the stages of a CIFAR network at a
batch of 128. Augmentation: crop and flip of 128 images of 32×32 bytes on the device, beside the train step of ResNet-20
on them; their ratio is the share. The programs of a row alternate in one process.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax.ops import augment, pool
from cs231n_jax.ops.fractional_pool import fractional_max_pool
from experiments.benchmarks import convolution, rounds

TITLE = "Random regularizers (fractional pooling: ns an output element; augmentation: ms; medians and their spread)"
SHAPES = ((128, 32, 32, 16), (128, 32, 32, 64), (128, 16, 16, 64), (128, 8, 8, 128))


def run(quick: bool) -> list[dict]:
    """Pooling of several shapes in its forms, and augmentation.

    Args:
        quick: one shape, a batch of 8, few rounds.

    Returns:
        one row a comparison: both medians with their quartiles, the ratio with its 95 % interval.
    """
    count, batch = (3, 8) if quick else (40, 128)
    shapes = [(batch, *shape[1:]) for shape in (SHAPES[-1:] if quick else SHAPES)]
    forms = ((False, "random"), (True, "random"), (True, "pseudorandom"))
    return [*(pooling(shape, *form, count) for shape in shapes for form in forms), augmentation(batch, min(count, 20))]


def pooling(shape: tuple[int, int, int, int], overlapping: bool, sequence: str, count: int) -> dict:
    """Fractional pooling by √2 beside 2×2 max pooling, both a number written."""
    x = jnp.asarray(np.random.default_rng(0).standard_normal(shape), jnp.float32)
    form = partial(fractional_max_pool, overlapping=overlapping, sequence=sequence)
    programs, sizes = {}, {}
    for name, function in {"fractional": lambda key, x: form(key, x), "max": lambda _, x: pool.max_pool(x, 2)}.items():
        programs[name], sizes[name] = _there_and_back(function, x)
    seconds = {name: 1e9 * s / sizes[name] for name, s in rounds.interleave(programs, count).items()}
    kind = f"{'overlapping' if overlapping else 'disjoint'}, {sequence}"
    return _row(f"{kind} {'×'.join(map(str, shape))}", seconds["fractional"], seconds["max"])


def augmentation(batch: int, count: int) -> dict:
    """Crop and flip beside a step of ResNet-20."""
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (batch, 32, 32, 3), np.uint8), random.integers(0, 10, batch)
    step = convolution.ours(images, labels.astype(np.int32), "resnet20").update
    images, key = jnp.asarray(images), jax.random.key(0)
    crop_flip = jax.jit(partial(augment.random_crop_flip, padding=4))
    programs = {"crop and flip": lambda: jax.block_until_ready(crop_flip(key, images)), "step": step}
    seconds = {name: 1e3 * s for name, s in rounds.interleave(programs, count).items()}
    return _row(f"crop and flip, beside a ResNet-20 step at {batch}", seconds["crop and flip"], seconds["step"])


def _row(name: str, own: np.ndarray, rival: np.ndarray) -> dict:
    row: dict[str, Any] = {"what": name}
    for side, values in {"own": own, "beside": rival}.items():
        low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
        row |= {side: round(float(median), 3), f"{side}, quartiles": f"{low:.3g} to {high:.3g}"}
    ratio, low, high = rounds.ratio(own, rival)
    return row | {"ratio": round(ratio, 3), "low": round(low, 3), "high": round(high, 3)}


def _there_and_back(function: Callable[[Any, Any], Any], x: Any) -> tuple[Callable[[], Any], int]:
    """A call of the function and of its derivative, and how many numbers the function returns."""
    key = jax.random.key(0)
    dy = jnp.ones_like(function(key, x))

    @jax.jit
    def both(key: Any, x: Any, dy: Any) -> Any:
        y, pull = jax.vjp(partial(function, key), x)
        return y, pull(dy)[0]

    return lambda: jax.block_until_ready(both(key, x, dy)), dy.size
