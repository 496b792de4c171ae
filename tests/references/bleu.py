"""BLEU in exact fractions, written from the formula of Papineni et al. 2002, section 2; no smoothing."""

import math
from fractions import Fraction


def occurrences(gram, tokens):
    return sum(tokens[i : i + len(gram)] == gram for i in range(len(tokens) - len(gram) + 1))


def precision(hypotheses, references, order):
    """p_n as a fraction, or None where the hypotheses have no n-gram; hypotheses and references are lists of tokens."""
    clipped = total = 0
    for hypothesis, several in zip(hypotheses, references):
        grams = [hypothesis[i : i + order] for i in range(len(hypothesis) - order + 1)]
        total += len(grams)
        for gram in {tuple(gram) for gram in grams}:
            most = max(occurrences(list(gram), reference) for reference in several)
            clipped += min(occurrences(list(gram), hypothesis), most)
    return Fraction(clipped, total) if total else None


def bleu(hypotheses, references, order):
    """In 0 … 100."""
    precisions = [precision(hypotheses, references, n) for n in range(1, order + 1)]
    if not all(precisions):
        return 0.0
    c = sum(map(len, hypotheses))
    r = 0
    for hypothesis, several in zip(hypotheses, references):
        lengths = sorted(map(len, several))
        r += sorted(lengths, key=lambda length: abs(length - len(hypothesis)))[0]
    penalty = 1.0 if c > r else math.exp(1 - Fraction(r, c))
    return 100 * penalty * float(math.prod(precisions)) ** (1 / order)
