"""CIDEr-D of captions: how much a caption shares of what its references agree on and others do not say."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cs231n_jax.data.tokenization import tokenizer
from cs231n_jax.metrics.bleu_score import References, as_lists
from cs231n_jax.metrics.example_scores import ExampleScores

ORDERS = (1, 2, 3, 4)
SIGMA = 6.0  # tokens
Gram = tuple[str, ...]


class _Weighed(NamedTuple):
    """A sentence as a vector an order."""

    grams: tuple[dict[Gram, float], ...]  # by order, tf·idf
    norms: tuple[float, ...]
    length: int  # pairs of tokens


def cider(
    hypotheses: Sequence[str], references: References, *, tokenize: str = "13a", lowercase: bool = False
) -> ExampleScores:
    """CIDEr-D, a mean over the examples, from 0 to 10; papers print ten or a hundred times it.

        g_n(s) = the counts of the n-grams of s, each times ln(I / max(1, images with it in a reference))
        s_n(h, r) = min(g_n(h), g_n(r))·g_n(r) / (‖g_n(h)‖ ‖g_n(r)‖)
        CIDEr-D(h) = 10 · 1/4 Σ_n 1/|R| Σ_{r∈R} s_n(h, r) e^{−(l_h − l_r)² / 2σ²}

    I is the number of examples given: scores of different sets cannot be compared, and one example alone scores 0.

    Args:
        hypotheses: one sentence an example.
        references: the same number of entries: one sentence each, or several.
        tokenize: "13a", "char" or "none" (see `tokenization`).
        lowercase: compare without case.

    Raises:
        ValueError: as for `bleu`.

    Reference: Vedantam, Zitnick and Parikh 2015, "CIDEr: Consensus-based Image Description Evaluation", sections 4
    and 6, with σ = 6. As in the code of its authors l counts the pairs of tokens, one less than the tokens.
    *Deviation*: theirs cuts with the Penn Treebank's tokenizer; the signature names ours.
    """
    several = as_lists(hypotheses, references)
    cut = tokenizer(tokenize, lowercase)
    sets = [[cut(reference) for reference in refs] for refs in several]
    found = Counter(gram for refs in sets for gram in {gram for ref in refs for gram in _counts(ref)})
    rarity = {gram: math.log(len(sets) / count) for gram, count in found.items()}
    unseen = math.log(len(sets))
    each = []
    for hypothesis, refs in zip(hypotheses, sets):
        ours = _weigh(cut(hypothesis), rarity, unseen)
        each.append(10 * sum(_similarity(ours, _weigh(ref, rarity, unseen)) for ref in refs) / len(refs))
    case = "lc" if lowercase else "mixed"
    signature = f"CIDEr-D|sigma:{SIGMA:g}|images:{len(sets)}|case:{case}|tok:{tokenize}"
    return ExampleScores.of(each, signature)


def _counts(tokens: Sequence[str]) -> Counter[Gram]:
    return Counter(gram for order in ORDERS for gram in zip(*(tokens[start:] for start in range(order))))


def _weigh(tokens: Sequence[str], rarity: Mapping[Gram, float], unseen: float) -> _Weighed:
    grams: tuple[dict[Gram, float], ...] = tuple({} for _ in ORDERS)
    for gram, count in _counts(tokens).items():
        grams[len(gram) - 1][gram] = count * rarity.get(gram, unseen)
    norms = tuple(math.sqrt(sum(value**2 for value in vector.values())) for vector in grams)
    return _Weighed(grams, norms, max(len(tokens) - 1, 0))


def _similarity(a: _Weighed, b: _Weighed) -> float:
    """Of a caption and one reference, in 0 … 1, the mean over the orders."""
    total = 0.0
    for ours, theirs, norm, other in zip(a.grams, b.grams, a.norms, b.norms):
        if norm and other:
            shared = sum(min(ours[gram], theirs[gram]) * theirs[gram] for gram in ours.keys() & theirs.keys())
            total += shared / (norm * other)
    return total / len(ORDERS) * math.exp(-((a.length - b.length) ** 2) / (2 * SIGMA**2))
