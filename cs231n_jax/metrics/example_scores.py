"""A score of texts that is a mean of scores of its examples."""

from collections.abc import Sequence
from typing import NamedTuple


class ExampleScores(NamedTuple):
    """The mean, the scores of the examples, and how they were come by."""

    score: float
    each: tuple[float, ...]  # by example
    signature: str  # such as "ROUGE-L|beta:1.2|case:mixed|tok:13a"

    def __float__(self) -> float:
        return self.score

    @classmethod
    def of(cls, each: Sequence[float], signature: str) -> "ExampleScores":
        """From the scores of at least one example."""
        return cls(sum(each) / len(each), tuple(each), signature)
