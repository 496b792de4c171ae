"""The attention captioner beside the same model in torch: a training step, and captions by beam search.

The model is that of Show, Attend and Tell with soft attention, on feature maps as they are (no network of images is
timed): attention by a layer of tanh units, the gate of what is read, the deep output, λ = 1; LSTM, Adam. Both have the
same parameters, and a test holds losses and gradients of one to those of the other.

"train step" is the step that `experiments.train` compiles: it also keeps the metrics and checks for numbers that are
not finite. Torch's has its fused Adam, and computes outside its loop whatever can be. Ours is compiled three times.

The beam searches take 64 images, ours in one compiled call, torch's one after the other; none of the tokens ends a
hypothesis, so both do the same work, and they must find the same captions. "keys once": torch computes once an image
what the places bring to the scores; "keys in every step": for each hypothesis in each step, as is often written. In a
round torch's loop describes two of the images; times are those of one.

Rounds of both sides alternate. Times are medians over rounds (of the mean over compilations); "ratio" is the median
over rounds of ours over torch's with its 95 % interval, which draws rounds and compilations; "times faster" is 1 over
that. Below 1 ours is faster. "MB held" are the temporaries of ours, from the compiler's own analysis.
"""

import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax import models
from cs231n_jax.data.vocabulary import SPECIALS, Listed
from cs231n_jax.decode import beam_search
from cs231n_jax.models import functional
from cs231n_jax.optim import OptimizerConfig
from cs231n_jax.tasks.captioning import Captioning
from cs231n_jax.train import sharding, state
from cs231n_jax.train.step import make_train_step
from cs231n_jax.typing import Array, Params
from experiments.benchmarks import rounds

TITLE = "the attention captioner beside torch (ms; ratio of ours with its 95 % interval)"
RATE, SPREAD, BEAM, BEGIN = 4e-4, 1.0, 5, 1
COPIES = 3  # of the step, compiled one after the other: compilation and place in memory alone make some percent
REST = 0.02  # seconds after torch: its threads spin for a while, on the cores that the next program wants
LOOPS = {"keys once": True, "keys in every step": False}

Program = Callable[[], object]


class Size(NamedTuple):
    """A captioner, its images and captions."""

    images: int  # N
    side: int  # of a feature map: L = side²
    features: int  # D
    hidden: int  # H, also the size of a token's vector and of the hidden layer of the scores
    tokens: int  # V
    steps: int  # T

    def __str__(self) -> str:
        return (
            f"N {self.images}, {self.side}×{self.side}×{self.features}, H = E = A = {self.hidden}, V {self.tokens}, "
            f"T {self.steps}"
        )


FULL, QUICK = Size(64, 14, 512, 512, 5000, 20), Size(3, 2, 6, 8, 12, 4)


def run(quick: bool) -> list[dict]:
    """The row of the step, then one row a loop of torch's.

    Args:
        quick: a tiny captioner and few rounds.

    Raises:
        ValueError: torch, the rival, is not installed.
    """
    if not find_spec("torch"):
        raise ValueError("benchmark captioning has no rival without torch: install the extra `parity`")
    size = QUICK if quick else FULL
    return [training(size, *((2, 1) if quick else (20, COPIES))), *decoding(size, 2 if quick else 10)]


def training(size: Size, count: int, copies: int) -> dict:
    """One update of each side.

    Args:
        size: of the model and its batch.
        count: rounds.
        copies: how often ours is compiled.
    """
    task, batch = captioning(size), drawn(size)
    made = [stepping(task, batch) for _ in range(copies)]
    programs: dict[str, Program] = {f"ours{i}": update for i, (update, _) in enumerate(made)}
    programs |= {"torch": torch_step(size, task.init(0, batch)[0], batch), "(rest)": lambda: time.sleep(REST)}
    timed = rounds.interleave(programs, count)
    ours = np.stack([timed[f"ours{i}"] for i in range(copies)])
    numbers = sum(leaf.size for leaf in jax.tree.leaves(task.shapes(batch)[0]))
    about = {"what": "train step", "size": str(size), "parameters": numbers}
    return about | compared(ours, timed["torch"]) | {"MB held": made[0][1]}


def decoding(size: Size, count: int) -> list[dict]:
    """Captions of all images, and of one after the other.

    Args:
        size: of the model and its images.
        count: rounds.
    """
    from experiments.benchmarks import plain_torch_captioner

    task, batch = captioning(size), drawn(size)
    params = jax.tree.map(lambda x: 4 * x, task.init(0, batch)[0])  # so that no two captions are as good
    maps, rival = batch["image"], torch_model(size, params)
    search = jax.jit(lambda params, maps: searched(task.model, params, maps, size.steps)).lower(params, maps).compile()
    found = np.asarray(search(params, maps))
    held = megabytes(search)
    places, _ = of_torch(batch)

    def loop(keys_once: bool) -> list[list[int]]:
        how: dict[str, Any] = {"beam": BEAM, "begin": BEGIN, "stop": -1, "keys_once": keys_once}
        return [plain_torch_captioner.beam_search(rival, places[i : i + 1], size.steps, **how) for i in range(2)]

    programs: dict[str, Program] = {"ours": lambda: jax.block_until_ready(search(params, maps))}
    for name, keys_once in LOOPS.items():
        if not np.array_equal(loop(keys_once), found[:2]):
            raise RuntimeError(f"the loop in torch, {name}, found other captions than ours")
        programs |= {name: lambda keys_once=keys_once: loop(keys_once), f"(rest) {name}": lambda: time.sleep(REST)}
    timed = rounds.interleave(programs, count)
    rows = []
    for name in LOOPS:
        row = {"what": f"beam {BEAM}, an image; {name}", "size": str(size)}
        rows.append(row | compared(timed["ours"] / size.images, timed[name] / 2) | {"MB held": held})
    return rows


def compared(ours: np.ndarray, rival: np.ndarray) -> dict:
    """Both times and their ratio."""
    ratio, low, high = rounds.ratio(ours, rival)
    times = {"ours, ms": np.median(np.atleast_2d(ours).mean(0)), "torch, ms": np.median(rival)}
    shown = {name: 1e3 * float(value) for name, value in times.items()}
    return shown | {"ratio": ratio, "low": low, "high": high, "times faster": 1 / ratio}


def captioning(size: Size, dtype: str = "float32") -> Captioning:
    """The task, with words without meaning."""
    words = Listed((*SPECIALS, *(f"word{i}" for i in range(size.tokens - len(SPECIALS)))))
    wide = {"embedding": size.hidden, "hidden": size.hidden, "attended": size.hidden}
    model = models.create("attention_captioner", num_classes=size.tokens, **wide)
    shape = (size.side, size.side, size.features)
    about: dict[str, Any] = {"mean": (), "std": (), "shape": shape, "attention_spread": SPREAD}
    return Captioning(model=model, dtype=dtype, target=words, **about)


def drawn(size: Size, dtype: str = "float32") -> dict[str, Array]:
    """Feature maps, not negative as those of a network are, and captions of T tokens after the first."""
    random = np.random.default_rng(0)
    maps = np.maximum(random.standard_normal((size.images, size.side, size.side, size.features)), 0)
    tokens = random.integers(0, size.tokens, (size.images, size.steps + 1), np.int32)
    lengths = np.full(size.images, size.steps + 1, np.int32)
    return {"image": jnp.asarray(maps, dtype), "target": jnp.asarray(tokens), "target_length": jnp.asarray(lengths)}


def stepping(task: Captioning, batch: dict[str, Array]) -> tuple[Program, float]:
    """A function that makes one update of ours and waits for it, and the megabytes that it holds."""
    optimizer = OptimizerConfig(name="adam", learning_rate=RATE).build(lambda step: RATE)
    mesh = sharding.make_mesh(sharding.MeshConfig(data=1), len(batch["target"]))
    now = [state.create(task, optimizer, 0, batch, mesh)]
    step = jax.jit(make_train_step(task, optimizer, 0), donate_argnums=0).lower(now[0], batch).compile()

    def update() -> None:
        now[0] = jax.block_until_ready(step(now[0], batch))

    return update, megabytes(step)


def megabytes(program: Any) -> float:
    """Temporaries of a compiled program."""
    return round(program.memory_analysis().temp_size_in_bytes / 1e6, 1)


def searched(model: Any, params: Params, maps: Array, steps: int) -> Array:
    """The best captions [N, T] of feature maps [N, h, w, D]."""
    memory, carry = functional.apply(model, params, {}, maps, method="encode")[0]

    def step(carry: Any, token: Array) -> tuple[Array, Any]:
        return functional.apply(model, params, {}, carry, token, memory, method="step")[0]

    first = jnp.full((len(maps), 1), BEGIN, jnp.int32)
    return beam_search(step, carry, first, steps, beam=BEAM, stop=None).tokens[:, 0]


def torch_model(size: Size, params: Params) -> Any:
    """Torch's model with these parameters."""
    from experiments.benchmarks import plain_torch_captioner

    given = plain_torch_captioner.state_dict(params)
    rival = plain_torch_captioner.AttentionCaptioner(size.tokens, size.hidden, size.hidden, size.features, size.hidden)
    rival.to(given["head.weight"].dtype).load_state_dict(given)
    return rival


def torch_step(size: Size, params: Params, batch: dict[str, Array]) -> Program:
    """A function that makes one update of torch's from these parameters on, and waits for it."""
    from experiments.benchmarks import plain_torch_captioner

    step = plain_torch_captioner.make_step(torch_model(size, params), RATE, SPREAD)
    places, tokens = of_torch(batch)
    return lambda: step(places, tokens).item()


def of_torch(batch: dict[str, Array]) -> tuple[Any, Any]:
    """The places [N, L, D] and the tokens of a batch."""
    import torch

    return torch.tensor(np.asarray(batch["image"])).flatten(1, 2), torch.tensor(np.asarray(batch["target"])).long()
