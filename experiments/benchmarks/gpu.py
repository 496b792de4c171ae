"""One GPU beside torch on the same GPU: training steps, a recurrent layer, an optimizer's update.

Made to be run where a GPU is lent for minutes: it needs neither grain nor tensorflow-datasets nor ml-collections, and
torch only for the rivals. Programs of a group alternate in one process. With --quick, or without a GPU, everything is
tiny: then the table shows that it works, and its numbers mean nothing.

Both sides' matrix products are in TF32 where they are float32, which is jax's and cuDNN's default on these cards.
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax import models, optim
from cs231n_jax.ops import cells, recurrent
from cs231n_jax.ops.cudnn_lstm import cudnn_lstm
from cs231n_jax.tasks.classification import Classification
from cs231n_jax.train import sharding, state
from cs231n_jax.train.feed import many_updates
from cs231n_jax.train.step import make_train_step
from experiments.benchmarks import optimizers, rounds

TITLE = "one GPU beside torch (ms a step; ratio to torch with its 95 % interval, below 1 is faster)"


class Sizes(NamedTuple):
    """How large everything is."""

    net: str  # of the ImageNet step
    batch: int
    pixels: int
    cifar: str  # the net of the CIFAR steps
    cifar_batch: int
    calls: int  # CIFAR updates in one compiled call
    hidden: int  # of the recurrent layer, and its batch and length
    length: int
    leaves: str  # whose parameters the optimizer updates
    rounds: int


FULL = Sizes("resnet50", 256, 224, "resnet20", 128, 100, 512, 64, "resnet50", 10)
TINY = Sizes("resnet8", 2, 32, "resnet8", 4, 3, 8, 4, "resnet8", 2)

COMPILED = {True: ".compile", False: " eager"}  # a tiny run does not wait for torch's compiler

Program = Callable[[], object]


def run(quick: bool) -> list[dict]:
    """All groups.

    Args:
        quick: tiny sizes; so is everything where there is no GPU.

    Returns:
        one row a program: the group, the milliseconds of a step (median), and the ratio to torch's program of the group
        with its interval where there is one.
    """
    gpu = jax.default_backend() == "gpu"
    sizes = FULL if gpu and not quick else TINY
    groups = {
        f"{sizes.net}, bfloat16, batch {sizes.batch}, {sizes.pixels}²": lambda: imagenet(sizes, gpu),
        f"{sizes.cifar}, float32, batch {sizes.cifar_batch}, 32²": lambda: cifar(sizes, gpu),
        f"LSTM {sizes.hidden}, batch {sizes.length}, {sizes.length} steps, forward and backward": lambda: lstm(
            sizes, gpu
        ),
        f"Adam, parameters of {sizes.leaves}": lambda: update(sizes, gpu),
    }
    return [row for group, make in groups.items() for row in compare(group, make(), sizes.rounds)]


def compare(group: str, programs: dict[str, tuple[Program, int]], count: int) -> list[dict]:
    """Interleaved rounds of a group's programs, each given as a call and the steps that it makes."""
    seconds = rounds.interleave({name: program for name, (program, _) in programs.items()}, count)
    each = {name: seconds[name] / steps for name, (_, steps) in programs.items()}
    rival = next((name for name in programs if name.startswith("torch")), "")
    rows = []
    for name, values in each.items():
        row: dict[str, Any] = {"group": group, "program": name, "ms a step": round(float(np.median(values)) * 1e3, 3)}
        if rival:
            middle, low, high = rounds.ratio(values, each[rival])
            row |= {"ratio": round(middle, 3), "low": round(low, 3), "high": round(high, 3)}
        rows.append(row)
    return rows


def imagenet(sizes: Sizes, gpu: bool) -> dict[str, tuple[Program, int]]:
    """One training step on a batch that stays on the device."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (sizes.batch, sizes.pixels, sizes.pixels, 3), np.uint8)
    labels = random.integers(0, 1000, sizes.batch).astype(np.int32)
    programs = {"cs231n_jax": (_ours(models.create(sizes.net, num_classes=1000), images, labels, "bfloat16"), 1)}
    if find_spec("torch"):
        net = sizes.net if gpu else "resnet20"  # of the tiny nets torch has none
        programs[f"torch{COMPILED[gpu]}, channels last, autocast"] = (_torch_step(net, images, labels, gpu, True), 1)
    return programs


def cifar(sizes: Sizes, gpu: bool) -> dict[str, tuple[Program, int]]:
    """Many steps: one call each, all in one compiled call from a data set on the device, and torch's."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (sizes.cifar_batch * 8, 32, 32, 3), np.uint8)
    labels = random.integers(0, 10, len(images)).astype(np.int32)
    one = slice(0, sizes.cifar_batch)
    single = _ours(models.create(sizes.cifar), images[one], labels[one], "float32")
    programs = {
        "cs231n_jax, a call a step": (_times(single, sizes.calls), sizes.calls),
        "cs231n_jax, data on the device": (_resident(images, labels, sizes), sizes.calls),
    }
    if find_spec("torch"):
        step = _torch_step("resnet20", images[one], labels[one], gpu, False)
        programs[f"torch{COMPILED[gpu]}, channels last"] = (_times(step, sizes.calls), sizes.calls)
    return programs


def lstm(sizes: Sizes, gpu: bool) -> dict[str, tuple[Program, int]]:
    """Gradients of one layer's weights: our loop, cuDNN with our weights, cuDNN through torch."""
    n, t, h = sizes.length, sizes.length, sizes.hidden
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (n, t, h))
    drawn = [jax.random.normal(key, (h, 4 * h)) / h**0.5 for key in keys[1:]]
    weights = cells.Weights(*drawn, jnp.zeros(4 * h))
    programs: dict[str, tuple[Program, int]] = {
        "cs231n_jax, the loop": (_gradients(lambda w: recurrent.lstm(x, w)[0], weights), 1)
    }
    if gpu:
        programs["cs231n_jax, cuDNN"] = (_gradients(lambda w: cudnn_lstm(x, [w])[0], weights), 1)
    if find_spec("torch"):
        programs["torch LSTM"] = (_torch_lstm(n, t, h, gpu), 1)
    return programs


def _gradients(layer: Callable[[Any], Any], weights: Any) -> Program:
    compiled = jax.jit(jax.grad(lambda w: jnp.sum(layer(w) ** 2)))
    return lambda: jax.block_until_ready(compiled(weights))


def update(sizes: Sizes, gpu: bool) -> dict[str, tuple[Program, int]]:
    """Adam on donated parameters and state."""
    import optax

    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    shapes = models.functional.shapes(models.create(sizes.leaves), image)[0]
    programs: dict[str, tuple[Program, int]] = {}
    for name, optimizer in {"cs231n_jax": optim.adam(1e-3), "optax": optax.adam(1e-3)}.items():
        params, grads = optimizers.draw(shapes, 0, 0.05), optimizers.draw(shapes, 1, 0.01)
        programs[name] = (_updater(optimizer, params, grads), 1)
    if find_spec("torch"):
        programs["torch Adam, fused"] = (_torch_adam(shapes, gpu), 1)
    return programs


def _updater(optimizer: Any, params: Any, grads: Any) -> Program:
    def step(params: Any, slots: Any, grads: Any) -> tuple[Any, Any]:
        updates, slots = optimizer.update(grads, slots, params)
        return optim.apply_updates(params, updates), slots

    compiled = jax.jit(step, donate_argnums=(0, 1))
    held = [params, optimizer.init(params)]

    def once() -> None:
        held[:] = compiled(*held, grads)
        jax.block_until_ready(held)

    return once


def _task(model: Any, dtype: str) -> Classification:
    return Classification(model, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), dtype=dtype)


def _ours(model: Any, images: np.ndarray, labels: np.ndarray, dtype: str) -> Program:
    """The step of experiments.train on one batch; a call makes one update and waits for it."""
    task, optimizer = _task(model, dtype), optim.chain(optim.add_decayed_weights(1e-4), optim.momentum(0.1))
    batch = jax.device_put({"image": images, "label": labels})
    mesh = sharding.make_mesh(sharding.MeshConfig(data=1), len(labels))
    step = jax.jit(make_train_step(task, optimizer, 0), donate_argnums=0)
    held = [state.create(task, optimizer, 0, batch, mesh)]

    def once() -> None:
        held[0] = step(held[0], batch)
        jax.block_until_ready(held[0])

    return once


def _resident(images: np.ndarray, labels: np.ndarray, sizes: Sizes) -> Program:
    """The loop of train.steps_per_call: indices into a data set on the device, many updates in one call."""
    task, optimizer = _task(models.create(sizes.cifar), "float32"), optim.momentum(0.1)
    data = jax.device_put({"image": images, "label": labels})
    order = np.random.default_rng(0).integers(0, len(labels), (sizes.calls, sizes.cifar_batch), np.int32)
    batch = {name: x[: sizes.cifar_batch] for name, x in data.items()}
    mesh = sharding.make_mesh(sharding.MeshConfig(data=1), sizes.cifar_batch)
    step = make_train_step(task, optimizer, 0)

    def many(state: Any, data: Any, order: Any) -> Any:
        return many_updates(step, state, data, order, len(order), mesh)

    compiled = jax.jit(many, donate_argnums=0)
    held = [state.create(task, optimizer, 0, batch, mesh)]

    def once() -> None:
        held[0] = compiled(held[0], data, jnp.asarray(order))
        jax.block_until_ready(held[0])

    return once


def _times(program: Program, count: int) -> Program:
    def repeated() -> None:
        for _ in range(count):
            program()

    return repeated


def _torch_wait(gpu: bool) -> None:
    import torch

    if gpu:
        torch.cuda.synchronize()


def _torch_step(net: str, images: np.ndarray, labels: np.ndarray, gpu: bool, bfloat16: bool) -> Program:
    import torch

    from experiments.benchmarks import plain_torch

    device = "cuda" if gpu else "cpu"
    step = plain_torch.build(net, device, bfloat16, compiled=gpu)
    pixels = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float().div(255)
    pixels, target = pixels.to(memory_format=torch.channels_last), torch.from_numpy(labels).to(device).long()
    target = target if net != "resnet20" else target % 10

    def once() -> None:
        step(pixels, target)
        _torch_wait(gpu)

    return once


def _torch_lstm(n: int, t: int, h: int, gpu: bool) -> Program:
    import torch

    device = "cuda" if gpu else "cpu"
    layer = torch.nn.LSTM(h, h, batch_first=True).to(device)
    x = torch.randn(n, t, h, device=device)

    def once() -> None:
        layer.zero_grad()
        layer(x)[0].square().sum().backward()
        _torch_wait(gpu)

    return once


def _torch_adam(shapes: Any, gpu: bool) -> Program:
    import torch

    device = "cuda" if gpu else "cpu"
    params = [torch.nn.Parameter(0.05 * torch.randn(*s.shape, device=device)) for s in jax.tree.leaves(shapes)]
    for p in params:
        p.grad = 0.01 * torch.randn_like(p)
    optimizer = torch.optim.Adam(params, 1e-3, fused=True)

    def once() -> None:
        optimizer.step()
        _torch_wait(gpu)

    return once
