"""BLEU of a corpus of translations or captions: how many of its n-grams are in the references."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from cs231n_jax.data.tokenization import tokenizer

References = Sequence[str | Sequence[str]]  # by sentence: one reference, or several
SMOOTHING = {"none": 0.0, "floor": 0.1, "add-k": 1.0, "exp": 0.0}  # and the value used where none is given


class Counts(NamedTuple):
    """What BLEU needs to know of some sentences; counts of more sentences are merged by +."""

    matched: tuple[int, ...]  # by order n: n-grams of the hypotheses that are in a reference, clipped
    total: tuple[int, ...]  # by order n: n-grams of the hypotheses
    hypothesis_tokens: int
    reference_tokens: int  # of the reference nearest in length

    def __add__(self, other: "Counts") -> "Counts":  # type: ignore[override]
        """The counts over both sets of sentences."""
        return Counts(
            tuple(a + b for a, b in zip(self.matched, other.matched, strict=True)),
            tuple(a + b for a, b in zip(self.total, other.total, strict=True)),
            self.hypothesis_tokens + other.hypothesis_tokens,
            self.reference_tokens + other.reference_tokens,
        )


class Bleu(NamedTuple):
    """A score and how it was come by. All but the lengths and the penalty are in 0 … 100."""

    score: float  # BLEU-N of the highest order counted
    scores: tuple[float, ...]  # BLEU-1 … BLEU-N
    precisions: tuple[float, ...]  # by order, smoothed
    brevity_penalty: float  # in 0 … 1
    hypothesis_tokens: int
    reference_tokens: int
    signature: str  # such as "BLEU-4|refs:1|case:mixed|tok:13a|smooth:exp"

    def __float__(self) -> float:
        return self.score


def bleu(
    hypotheses: Sequence[str],
    references: References,
    *,
    tokenize: str = "13a",
    lowercase: bool = False,
    smoothing: str = "exp",
    smoothing_value: float | None = None,
    max_order: int = 4,
) -> Bleu:
    """BLEU of a corpus, equal to sacrebleu's.

        BLEU-N = BP · exp(1/N · Σ_{n=1}^N ln p_n),   p_n = Σ_sentences matched_n / Σ_sentences total_n
        BP = 1 where c ≥ r, else exp(1 − r / c)

    matched_n counts each n-gram of a hypothesis at most as often as the reference that has it most often; c are the
    tokens of the hypotheses, r those of the references, of several the one nearest in length (the shorter of two).

    Args:
        hypotheses: one sentence an example.
        references: the same number of entries: one sentence each, or several (any number ≥ 1).
        tokenize: "13a", "char" or "none" (see `tokenization`).
        lowercase: compare without case.
        smoothing: what is done where matched_n = 0, Chen and Cherry's methods. "none": the score is 0; "floor" (1):
            matched_n becomes `smoothing_value`; "add-k" (2): `smoothing_value` is added to matched_n and total_n of
            every order but the first; "exp" (3): the k-th such order gets 1 / 2^k matches.
        smoothing_value: 0.1 for floor and 1 for add-k by default.
        max_order: N.

    Returns:
        The score with everything needed to tell what it is. 0 where no token matches, whatever the smoothing.

    Raises:
        ValueError: numbers of hypotheses and references differ, one has no reference, there are none, or an option
            is not one of those above.

    Reference: Papineni, Roukos, Ward and Zhu 2002, "BLEU: a Method for Automatic Evaluation of Machine Translation",
    section 2; Chen and Cherry 2014, "A Systematic Comparison of Smoothing Techniques for Sentence-Level BLEU",
    section 3; Post 2018, "A Call for Clarity in Reporting BLEU Scores" (tokenization 13a and the signature).
    *Deviation*: Papineni et al. clip and penalise as here but do not smooth; smoothing="none" is theirs.
    """
    several = as_lists(hypotheses, references)
    cut = tokenizer(tokenize, lowercase)
    counted = [counts(cut(h), [cut(r) for r in refs], max_order) for h, refs in zip(hypotheses, several)]
    total = sum(counted[1:], counted[0])
    scores, precisions, penalty = score(total, smoothing, smoothing_value)
    numbers = sorted({len(refs) for refs in several})
    refs = str(numbers[0]) if len(numbers) == 1 else "var"
    value = SMOOTHING[smoothing] if smoothing_value is None else smoothing_value
    smooth = f"{smoothing}[{value:g}]" if value else smoothing
    case = "lc" if lowercase else "mixed"
    signature = f"BLEU-{max_order}|refs:{refs}|case:{case}|tok:{tokenize}|smooth:{smooth}"
    return Bleu(scores[-1], scores, precisions, penalty, total.hypothesis_tokens, total.reference_tokens, signature)


def counts(hypothesis: Sequence[str], references: Sequence[Sequence[str]], max_order: int = 4) -> Counts:
    """The counts of one sentence, given as tokens.

    Raises:
        ValueError: there is no reference, or no order.
    """
    if not references or max_order < 1:
        raise ValueError(f"BLEU needs references and an order from 1 on, got {len(references)} and {max_order}")
    matched, total = [], []
    for order in range(1, max_order + 1):
        ours = Counter(_ngrams(hypothesis, order))
        allowed: Counter[tuple[str, ...]] = Counter()
        for reference in references:
            allowed |= Counter(_ngrams(reference, order))
        matched.append(sum(min(count, allowed[gram]) for gram, count in ours.items()))
        total.append(sum(ours.values()))
    length = len(hypothesis)
    nearest = min((len(reference) for reference in references), key=lambda r: (abs(r - length), r))
    return Counts(tuple(matched), tuple(total), length, nearest)


def score(
    found: Counts, smoothing: str = "none", smoothing_value: float | None = None
) -> tuple[tuple[float, ...], tuple[float, ...], float]:
    """(BLEU-1 … BLEU-N, p_1 … p_N, BP) of counts, the first two in 0 … 100; the arguments are those of `bleu`."""
    if smoothing not in SMOOTHING:
        raise ValueError(f"there is no smoothing {smoothing!r}; choose from {', '.join(SMOOTHING)}")
    value = SMOOTHING[smoothing] if smoothing_value is None else smoothing_value
    if not 0 <= value < math.inf:
        raise ValueError(f"smoothing_value is {value}; it must be finite and at least 0")
    ours, theirs = found.hypothesis_tokens, found.reference_tokens
    penalty = 1.0 if ours >= theirs else math.exp(1 - theirs / ours) if ours else 0.0
    if not any(found.matched):
        zeros = (0.0,) * len(found.matched)
        return zeros, zeros, penalty
    precisions = tuple(100 * p for p in _SMOOTHED[smoothing](found, value))
    logs = [math.log(p) if p > 0 else -math.inf for p in precisions]
    scores = tuple(penalty * math.exp(sum(logs[:n]) / n) for n in range(1, len(logs) + 1))
    return scores, precisions, penalty


def as_lists(hypotheses: Sequence[str], references: References) -> list[list[str]]:
    """References as one list of sentences an example, checked against the hypotheses; raises ValueError."""
    if isinstance(hypotheses, str) or isinstance(references, str):
        raise ValueError("hypotheses and references must be lists with an entry a sentence, got one string")
    if len(hypotheses) != len(references) or not hypotheses:
        raise ValueError(
            f"there are {len(hypotheses)} hypotheses and {len(references)} entries of references; "
            "give one entry of references (a sentence or a list of them) for each hypothesis, and at least one"
        )
    several = [[entry] if isinstance(entry, str) else list(entry) for entry in references]
    if (bare := next((i for i, entry in enumerate(several) if not entry), -1)) >= 0:
        raise ValueError(f"hypothesis {bare} has no reference; give it one or leave it out")
    return several


def _ngrams(tokens: Sequence[str], order: int) -> Iterable[tuple[str, ...]]:
    return zip(*(tokens[start:] for start in range(order)))


def _floored(found: Counts, value: float) -> list[float]:
    return [(m or value) / t if t else 0.0 for m, t in zip(found.matched, found.total)]


def _added(found: Counts, value: float) -> list[float]:
    added = [0.0] + [value] * (len(found.matched) - 1)
    return [(m + k) / (t + k) if t + k else 0.0 for m, t, k in zip(found.matched, found.total, added)]


def _halved(found: Counts, value: float) -> list[float]:
    del value
    misses, precisions = 0, []
    for matched, total in zip(found.matched, found.total):
        misses += total > 0 and matched == 0
        precisions.append((matched or 2.0**-misses) / total if total else 0.0)
    return precisions


_SMOOTHED: dict[str, Callable[[Counts, float], list[float]]] = {
    "none": _floored,  # with a floor of 0
    "floor": _floored,
    "add-k": _added,
    "exp": _halved,
}
