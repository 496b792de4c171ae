"""chrF of a corpus: the F-score of its character n-grams, by sacrebleu."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from cs231n_jax.metrics.bleu_score import References, as_lists


class Chrf(NamedTuple):
    """A score in 0 … 100 and how it was come by."""

    score: float
    signature: str  # such as "chrF2|nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.6.0"

    def __float__(self) -> float:
        return self.score


def chrf(hypotheses: Sequence[str], references: References, *, word_order: int = 0, lowercase: bool = False) -> Chrf:
    """chrF2 of a corpus (recall weighs β² = 4 times precision), over character n-grams of 1 … 6.

    Args:
        hypotheses: one sentence an example.
        references: the same number of entries: one sentence each, or several.
        word_order: word n-grams up to this order count too; 2 makes it chrF++.
        lowercase: compare without case.

    Raises:
        ValueError: as for `bleu`, or word_order is negative.
        ModuleNotFoundError: sacrebleu is not installed.

    Reference: Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation"; 2017 for chrF++.
    """
    several = as_lists(hypotheses, references)
    if word_order < 0:
        raise ValueError(f"word_order is {word_order}; give 0 for chrF or 2 for chrF++")
    try:
        from sacrebleu.metrics.chrf import CHRF
    except ImportError as error:
        message = f"chrF needs sacrebleu, which cannot be imported ({error}); pip install sacrebleu"
        raise ModuleNotFoundError(message) from error
    most = max(map(len, several))
    streams: Any = [[entry[k] if k < len(entry) else None for entry in several] for k in range(most)]
    metric = CHRF(word_order=word_order, lowercase=lowercase)
    score = metric.corpus_score(list(hypotheses), streams).score
    return Chrf(score, f"chrF{'+' * word_order}{metric.beta}|{metric.get_signature()}")
