"""Translation: the mean cross-entropy of the next token of the target, the true ones before it given."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cs231n_jax.data import Source
from cs231n_jax.data.sentences import Sentences
from cs231n_jax.data.vocabulary import END, UNKNOWN, Vocabulary
from cs231n_jax.metrics import bleu, chrf
from cs231n_jax.metrics.bleu_score import References
from cs231n_jax.tasks.conditioned import Conditioned
from cs231n_jax.tasks.generation import Generation, Inputs, Scored
from cs231n_jax.typing import Batch


@dataclass(frozen=True, kw_only=True)
class Translation(Conditioned):
    """Batches of pairs -> logits [N, T − 1, V] of the tokens that follow the first, the second, ... of the target.

    {"source", "target": int32 [N, T], "source_length", "target_length": int32 [N], optional "mask": [N]}

    Reference: Sutskever, Vinyals, Le 2014, equation 1; Bahdanau, Cho, Bengio 2015, section 2.
    """

    source: Vocabulary

    def encoded(self, batch: Batch) -> tuple[Any, ...]:
        """Sources, and their lengths."""
        return batch["source"], batch["source_length"]

    def generation(self) -> Generation:
        """A sentence is translated; <eos> ends it. BLEU-4 and chrF, without case where the target has none."""
        return Generation(self._read, self.start, self.write, self.stop, _inputs, self._score)

    def _score(self, texts: Sequence[str], references: References) -> dict[str, Scored]:
        found = {score.__name__: score(texts, references, lowercase=self.target.lowercase) for score in (bleu, chrf)}
        return {name: Scored(each.score, each.signature) for name, each in found.items()}

    def _read(self, sentence: str) -> dict[str, np.ndarray]:
        special = self.source.specials
        tokens = [*(self.source.encode(sentence) or [special[UNKNOWN]]), special[END]]
        return {"source": np.array([tokens], np.int32), "source_length": np.array([len(tokens)], np.int32)}


def _inputs(source: Source) -> Inputs:
    """The sources of a split, and their translations as references."""
    if not isinstance(source, Sentences):
        raise ValueError(f"the texts of {source.info.name} {source.info.split} are not at hand: give a whole split")
    tokens, lengths, texts = source.arrays["source"], source.arrays["source_length"], source.texts

    def take(which: np.ndarray, length: int) -> dict[str, np.ndarray]:
        return {"source": tokens[which, :length], "source_length": lengths[which]}

    return Inputs(take, lengths.astype(np.int64), texts["source"], texts["target"])
