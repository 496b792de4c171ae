"""ROUGE-L of captions: the longest common subsequence of a caption and its references."""

from collections.abc import Sequence

from cs231n_jax.data.tokenization import tokenizer
from cs231n_jax.metrics.bleu_score import References, as_lists
from cs231n_jax.metrics.example_scores import ExampleScores

BETA = 1.2  # how much more recall weighs than precision


def rouge(
    hypotheses: Sequence[str], references: References, *, tokenize: str = "13a", lowercase: bool = False
) -> ExampleScores:
    """ROUGE-L as captions are scored with it, a mean over the examples, in 0 … 100.

        P = max_r LCS(h, r) / |h|,   R = max_r LCS(h, r) / |r|,   F = (1 + β²) P R / (R + β² P),   β = 1.2

    h is the caption and r goes over its references, as tokens; the two maxima may be those of different references.

    Args:
        hypotheses: one sentence an example; one without tokens scores 0.
        references: the same number of entries: one sentence each, or several.
        tokenize: "13a", "char" or "none" (see `tokenization`).
        lowercase: compare without case.

    Raises:
        ValueError: as for `bleu`.

    Reference: Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries", section 3.1, for one reference;
    Chen et al. 2015, "Microsoft COCO Captions: Data Collection and Evaluation Server", section 4.2, for several.
    *Deviation*: the server's tokenizer is the Penn Treebank's and takes punctuation out; the signature names ours.
    """
    cut = tokenizer(tokenize, lowercase)
    each = [_score(cut(h), [cut(r) for r in refs]) for h, refs in zip(hypotheses, as_lists(hypotheses, references))]
    case = "lc" if lowercase else "mixed"
    return ExampleScores.of(each, f"ROUGE-L|beta:{BETA}|case:{case}|tok:{tokenize}")


def _score(hypothesis: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    common = [longest_common_subsequence(hypothesis, reference) for reference in references]
    if not any(common):
        return 0.0
    precision = max(common) / len(hypothesis)
    recall = max(length / len(reference) for length, reference in zip(common, references) if reference)
    return 100 * (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def longest_common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest sequence of tokens that are in both in this order, gaps allowed; O(|a|·|b|)."""
    row = [0] * (len(b) + 1)
    for token in a:
        before = row
        row = [0]
        for j, other in enumerate(b):
            row.append(before[j] + 1 if token == other else max(before[j + 1], row[j]))
    return row[-1]
