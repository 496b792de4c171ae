"""BLEU and chrF of a small corpus, by sacrebleu: writes text_metrics.json beside this file.

python -m tests.golden.make_text_metrics        # needs sacrebleu
"""

import itertools
import json
import random
from pathlib import Path

FILE = Path(__file__).with_name("text_metrics.json")
SENTENCES = (
    "The tower, built in 1902-1905, is 31.5 metres high.",
    'She said: "R&amp;D costs $1,200 (or less)!" &lt;end&gt;',
    "Two dogs run across the wet grass -- one of them carries a stick .",
    "Der Mann öffnet die Tür; draußen schneit es.",
    "a",
    "",
    "It's half-past 7, isn't it? Yes/no, e.g. [maybe]...",
    "Наука и жизнь 东京 2020年",
    "the the the the the the the",
    "<skipped>A re-\nstart after\nall",
    "A child in a red coat is playing in front of the house.",
    "Several people are waiting for the train on a sunny platform.",
)
SMOOTHING = (("none", None), ("exp", None), ("floor", None), ("floor", 0.01), ("add-k", None), ("add-k", 0.5))
BLEU_CASES = tuple(
    {"tokenize": tokenize, "lowercase": lowercase, "smoothing": smoothing, "smoothing_value": value}
    for tokenize, lowercase, (smoothing, value) in itertools.product(("13a", "char", "none"), (False, True), SMOOTHING)
)
CHRF_CASES = tuple({"word_order": w, "lowercase": lower} for w, lower in itertools.product((0, 2), (False, True)))


def damaged(sentence: str, seed: int) -> str:
    """The sentence with words dropped, doubled, swapped or in another case."""
    chance, words = random.Random(seed), []
    for word in sentence.split(" "):
        words += chance.choice([[word]] * 4 + [[], [word, word], [word.upper()], ["so"]])
    if chance.random() < 0.3:
        words.reverse()
    return " ".join(words)


def corpora() -> dict[str, tuple[list[str], list[list[str]]]]:
    """By name: hypotheses and, for each, its references."""
    everything = list(SENTENCES)
    hypotheses = [damaged(sentence, i) for i, sentence in enumerate(everything)]
    three = [[s, damaged(s, 1000 + i), damaged(s, 2000 + i)] for i, s in enumerate(everything)]
    return {
        "one": (hypotheses, [[sentence] for sentence in everything]),
        "three": (hypotheses, three),
        "some": (hypotheses, [refs[: 1 + i % 3] for i, refs in enumerate(three)]),
        "short": (["a cat", "so"], [["a cat sat"], ["so it is"]]),  # no 3-gram at all
        "low": (["a b c d e", "x y"], [["b a d f e"], ["y x z"]]),  # matches of the first order only
        "nothing": (["a b c d e"], [["v w x y z"]]),
        "empty": ([""], [["a b c"]]),
    }


def streams(references: list[list[str]]) -> list[list[str | None]]:
    """As sacrebleu takes them: the first reference of every sentence, the second, …"""
    return [list(column) for column in itertools.zip_longest(*references)]


def make() -> dict[str, dict[str, list]]:
    """By corpus, for the cases in their order: BLEU-1 … BLEU-4, and chrF."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    def bleu(hypotheses, references, case):
        cut = {"tokenize": case["tokenize"], "lowercase": case["lowercase"]}
        smooth = {"smooth_method": case["smoothing"], "smooth_value": case["smoothing_value"]}
        metrics = [BLEU(**cut, **smooth, max_ngram_order=order, force=True) for order in (1, 2, 3, 4)]
        return [metric.corpus_score(hypotheses, streams(references)).score for metric in metrics]

    def chrf(hypotheses, references, case):
        return CHRF(**case).corpus_score(hypotheses, streams(references)).score

    return {
        name: {"bleu": [bleu(*pair, case) for case in BLEU_CASES], "chrf": [chrf(*pair, case) for case in CHRF_CASES]}
        for name, pair in corpora().items()
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(make(), indent=1) + "\n")
