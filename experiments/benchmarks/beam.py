"""Beam search over a batch beside a loop over sentences, beam 5.

Both search the same 64 sources with the same untrained translator and end with the same hypotheses. "batch" is one
compiled call for all of them. "loop" is what is often written: for each sentence a Python loop over its steps, each a
call of the same compiled step for the sentence's five hypotheses, with the ranking in numpy between the calls. No
hypothesis ends before the last step (no token is the stop token), so both do the same work. Rounds of both alternate;
in a round the loop translates four of the sentences. Times are those of one sentence, the medians over rounds; "ratio"
is the median over rounds of batch over loop, with its 95 % interval, and "times faster" is 1 over that; "in processor
time" is the same of rounds of their own in the time of all threads, to which other programs do not add, but in which
the batch gains nothing by its second thread. "products" are the matrix products of the decoder's steps alone, of all
hypotheses of the batch; "at most" is how many times faster than the loop a search with these products could be.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax import models
from cs231n_jax.decode import beam_search
from cs231n_jax.models import functional
from cs231n_jax.typing import Array, Params
from experiments.benchmarks import rounds

TITLE = "beam search over a batch beside a loop over sentences (ms a sentence, and the ratio with its 95 % interval)"
BEAM, SENTENCES, BEGIN = 5, 64, 1


class Size(NamedTuple):
    """A translator, its sources and what is written."""

    name: str
    model: str
    tokens: int  # in either vocabulary
    hidden: int
    embedding: int
    source: int  # tokens of a source
    steps: int


SIZES = (
    Size("translation_grammar", "seq2seq_lstm_additive", 176, 128, 64, 15, 15),
    Size("multi30k", "seq2seq_lstm_general", 4000, 256, 256, 18, 18),
)
QUICK = Size("quick", "seq2seq_gru_dot", 12, 8, 4, 5, 4)


def run(quick: bool) -> list[dict]:
    """One row a size.

    Args:
        quick: a tiny translator and few rounds.
    """
    return [row(QUICK, 2, 2)] if quick else [row(size, 10, 4) for size in SIZES]


def row(size: Size, count: int, loop: int) -> dict:
    """Both ways of one size.

    Args:
        size: what is searched with.
        count: rounds.
        loop: sentences that the loop translates in a round.
    """
    options = {"num_classes": size.tokens, "source_size": size.tokens}
    model = models.create(size.model, hidden=size.hidden, embedding=size.embedding, **options)
    sources = np.random.default_rng(0).integers(0, size.tokens, (SENTENCES, size.source), np.int32)
    params = jax.tree.map(lambda x: 4 * x, functional.init(model, 0, jnp.asarray(sources))[0])
    whole, alone = batched(model, size.steps), Loop(model, size.steps)
    found = np.asarray(whole(params, sources))
    for i in range(loop):
        if not np.array_equal(alone(params, sources[i : i + 1]), found[i]):
            raise RuntimeError(f"the loop found another translation of sentence {i} than the batch")
    programs: dict[str, Callable[[], object]] = {
        "batch": lambda: jax.block_until_ready(whole(params, sources)),
        "loop": lambda: [alone(params, sources[i : i + 1]) for i in range(loop)],
        "products": products(params, size.steps),
    }
    sentences = {"batch": SENTENCES, "loop": loop, "products": SENTENCES}
    each, processor = (
        {name: values / sentences[name] for name, values in rounds.interleave(programs, count, clock).items()}
        for clock in (time.perf_counter, time.process_time)
    )
    ratio, low, high = rounds.ratio(each["batch"], each["loop"])
    shown = {f"{name}, ms": 1e3 * float(np.median(values)) for name, values in each.items()}
    about = f"{size.name}: {size.tokens} tokens, H {size.hidden}, {size.source} read, {size.steps} written"
    faster = {"ratio": ratio, "low": low, "high": high, "times faster": 1 / ratio}
    faster["in processor time"] = 1 / rounds.ratio(processor["batch"], processor["loop"])[0]
    faster["at most"] = 1 / rounds.ratio(each["products"], each["loop"])[0]
    return {"translator": size.model, "size": about, **shown, **faster}


def batched(model: Any, steps: int) -> Callable[[Params, np.ndarray], Array]:
    """The compiled function (params, sources [N, L]) -> the best tokens [N, S]."""

    def search(params: Params, sources: Array) -> Array:
        memory, carry = functional.apply(model, params, {}, sources, method="encode")[0]

        def step(carry: Any, token: Array) -> tuple[Array, Any]:
            return functional.apply(model, params, {}, carry, token, memory, method="step")[0]

        first = jnp.full((len(sources), 1), BEGIN, jnp.int32)
        return beam_search(step, carry, first, steps, beam=BEAM, stop=None).tokens[:, 0]

    return jax.jit(search)


def products(params: Params, steps: int) -> Callable[[], object]:
    """The products of the decoder's weights with what they read, of all hypotheses, step after step."""
    parts = {name: part for name, part in params.items() if not name.startswith(("encoder", "alignment"))}
    named = jax.tree_util.tree_leaves_with_path(parts)
    weights = [leaf for path, leaf in named if leaf.ndim == 2 and "embedding" not in jax.tree_util.keystr(path)]

    rows = [jnp.ones((SENTENCES * BEAM, len(weight))) for weight in weights]

    def program(weights: list[Array], rows: list[Array]) -> Array:
        def step(one: Array, _: None) -> tuple[Array, None]:
            written = [(x * one) @ weight for x, weight in zip(rows, weights)]
            return jnp.minimum(1, 1 + sum(jnp.max(jnp.abs(y)) for y in written)), None  # 1, known after the step alone

        return jax.lax.scan(step, jnp.ones(()), None, length=steps)[0]

    compiled = jax.jit(program).lower(weights, rows).compile()
    return lambda: jax.block_until_ready(compiled(weights, rows))


class Loop:
    """A search for one sentence in Python: (params, sources [1, L]) -> the best tokens [S]."""

    def __init__(self, model: Any, steps: int):
        self._steps = steps
        self._encode = jax.jit(lambda params, x: functional.apply(model, params, {}, x, method="encode")[0])
        self._step = jax.jit(self._stepped(model))

    @staticmethod
    def _stepped(model: Any) -> Callable:
        def step(params: Params, carry: Any, token: Array, memory: Any) -> tuple[Array, Any]:
            logits, carry = functional.apply(model, params, {}, carry, token, memory, method="step")[0]
            return jax.nn.log_softmax(logits), carry

        return step

    def __call__(self, params: Params, source: np.ndarray) -> np.ndarray:
        """Five hypotheses, step by step."""
        memory, carry = self._encode(params, source)
        carry = jax.tree.map(lambda x: np.repeat(np.asarray(x), BEAM, 0), carry)
        tokens, totals = np.zeros((BEAM, 0), np.int32), np.array([0.0] + [-np.inf] * (BEAM - 1), np.float32)
        last = np.full(BEAM, BEGIN, np.int32)
        for _ in range(self._steps):
            gained, carry = self._step(params, carry, last, memory)
            ranked = (totals[:, None] + np.asarray(gained)).reshape(-1)
            best = np.argpartition(-ranked, BEAM - 1)[:BEAM]
            best = best[np.argsort(-ranked[best])]
            parent, last = np.divmod(best, gained.shape[1])
            last, totals = last.astype(np.int32), ranked[best]
            tokens = np.concatenate([tokens[parent], last[:, None]], 1)
            carry = jax.tree.map(lambda x: np.asarray(x)[parent], carry)  # noqa: B023
        return tokens[0]
