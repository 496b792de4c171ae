"""Translation: the mean cross-entropy of the next token of the target, the true ones before it given."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from cs231n_jax.data import Source
from cs231n_jax.data.sentences import Sentences
from cs231n_jax.data.vocabulary import BEGIN, END, UNKNOWN, Vocabulary
from cs231n_jax.metrics import bleu, chrf
from cs231n_jax.metrics.bleu_score import References
from cs231n_jax.models import functional
from cs231n_jax.tasks.generation import Generation, Inputs, Scored, Start
from cs231n_jax.tasks.tokens import Tokens
from cs231n_jax.typing import Array, Batch, ModelState, Params, PyTree


@dataclass(frozen=True, kw_only=True)
class Translation(Tokens):
    """Batches of pairs -> logits [N, T − 1, V] of the tokens that follow the first, the second, ... of the target.

    {"source", "target": int32 [N, T], "source_length", "target_length": int32 [N], optional "mask": [N]}

    loss = Σ counted·mask·(−log p(target_t | source, target_<t)) / Σ counted·mask: every token up to <eos> has the same
    weight, padding has none.

    Reference: Sutskever, Vinyals, Le 2014, equation 1; Bahdanau, Cho, Bengio 2015, section 2.
    """

    source: Vocabulary
    target: Vocabulary

    def fed(self, batch: Batch) -> tuple[Any, ...]:
        """Sources, targets but their last place, lengths of the sources."""
        return batch["source"], batch["target"][:, :-1], batch["source_length"]

    def labels(self, batch: Batch) -> tuple[Any, Any]:
        """The tokens that follow [N, T − 1], and which count."""
        targets = batch["target"][:, 1:]
        place, last = np.arange(targets.shape[1], dtype=np.int32)[None], batch["target_length"][:, None] - 1
        counted = (place < last).astype(np.float32)
        return targets, counted * batch["mask"][:, None] if "mask" in batch else counted

    def alignment(self, params: Params, batch: Batch) -> Array:
        """Where the decoder looked when it wrote each token but the first of the target: [N, T − 1, L].

        Raises:
            ValueError: the model has no attention.
        """
        if "alignment" not in self.model.stages:
            raise ValueError("this model has no attention: give a run of one that has")
        features, _ = functional.apply(self.model, self._narrowed(params), {}, *self.fed(batch), method="features")
        return features["alignment"]

    def generation(self) -> Generation:
        """A sentence is translated; <eos> ends it. BLEU-4 and chrF, without case where the target has none."""
        return Generation(
            read=self._read,
            start=self._start,
            write=lambda _, tokens: self.target.decode(tokens),
            stop=self.target.specials[END],
            inputs=_inputs,
            score=self._score,
        )

    def _score(self, texts: Sequence[str], references: References) -> dict[str, Scored]:
        found = {score.__name__: score(texts, references, lowercase=self.target.lowercase) for score in (bleu, chrf)}
        return {name: Scored(each.score, each.signature) for name, each in found.items()}

    def _read(self, sentence: str) -> dict[str, np.ndarray]:
        special = self.source.specials
        tokens = [*(self.source.encode(sentence) or [special[UNKNOWN]]), special[END]]
        return {"source": np.array([tokens], np.int32), "source_length": np.array([len(tokens)], np.int32)}

    def _start(self, params: Params, model_state: ModelState, batch: Batch) -> Start:
        params, given = self._narrowed(params), (batch["source"], batch["source_length"])
        (memory, carry), _ = functional.apply(self.model, params, model_state, *given, method="encode")

        def step(carry: PyTree, token: Array) -> tuple[Array, PyTree]:
            return functional.apply(self.model, params, model_state, carry, token, memory, method="step")[0]

        n = len(batch["source"])
        first = jnp.full((n, 1), self.target.specials[BEGIN], jnp.int32)
        return Start(step, carry, first, jnp.ones(n, jnp.int32))


def _inputs(source: Source) -> Inputs:
    """The sources of a split, and their translations as references."""
    if not isinstance(source, Sentences):
        raise ValueError(f"the texts of {source.info.name} {source.info.split} are not at hand: give a whole split")
    tokens, lengths, texts = source.arrays["source"], source.arrays["source_length"], source.texts

    def take(which: np.ndarray, length: int) -> dict[str, np.ndarray]:
        return {"source": tokens[which, :length], "source_length": lengths[which]}

    return Inputs(take, lengths.astype(np.int64), texts["source"], texts["target"])
