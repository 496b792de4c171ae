"""CIDEr-D, ROUGE-L and answers' accuracy by their reference code: writes caption_metrics.json beside this file.

pip install --no-deps pycocoevalcap salesforce-lavis
python -m tests.golden.make_caption_metrics
"""

import json
import random
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

from tests.golden.make_text_metrics import damaged

FILE = Path(__file__).with_name("caption_metrics.json")
CAPTIONS = (
    "a dog runs across the wet grass",
    "two children play in front of a red house",
    "a man on a bicycle waits at the light",
    "a small boat lies on the beach",
    "the the the the",
    "a",
    "a dog plays on the beach in front of two children",
    "nobody is there",
)
ANSWERS = (
    "Yes.", "the red one", "a dog", "2,000", "2.5", ".5", "two", "none", "red/white", "t-shirt", "dont know",
    "don't know", "Ten dogs!", "on the left ", "left\tside", "1.", "no",
)  # fmt: skip


def corpora() -> dict[str, tuple[list[str], list[list[str]]]]:
    """By name: hypotheses and, for each, its references; every sentence has a token."""

    def variants(i: int, caption: str, count: int) -> list[str]:
        return [damaged(caption, 100 * i + k) or caption for k in range(count)]

    hypotheses = [variants(50 + i, caption, 1)[0] for i, caption in enumerate(CAPTIONS)]
    five = [[caption, *variants(i, caption, 4)] for i, caption in enumerate(CAPTIONS)]
    return {
        "five": (hypotheses, five),
        "one": (hypotheses, [refs[:1] for refs in five]),
        "some": (hypotheses, [refs[: 1 + i % 5] for i, refs in enumerate(five)]),
        "alone": (hypotheses[:1], five[:1]),
    }


def questions() -> list[tuple[str, list[str]]]:
    """An answer and those of ten people to each question."""
    chance = random.Random(0)
    return [(given, [chance.choice([given, given, "yes", "no"]) for _ in range(10)]) for given in ("yes", "no", "dog")]


def make() -> dict:
    """The stored values."""
    from pycocoevalcap.cider.cider_scorer import CiderScorer
    from pycocoevalcap.rouge.rouge import Rouge

    made: dict = {}
    for name, (hypotheses, references) in corpora().items():
        scorer = CiderScorer()
        for hypothesis, refs in zip(hypotheses, references):
            scorer += (hypothesis, refs)
        ciders = [float(value) for value in scorer.compute_score()[1]]
        rouges = [100 * float(Rouge().calc_score([h], refs)) for h, refs in zip(hypotheses, references)]
        made[name] = {"cider": ciders, "rouge": rouges}
    judge = _judge()
    made["normalized"] = [judge.processDigitArticle(judge.processPunctuation(answer.strip())) for answer in ANSWERS]
    made["vqa"] = []
    for given, people in questions():
        agreeing = [sum(people[j] == given for j in range(10) if j != i) for i in range(10)]
        made["vqa"].append(sum(min(1, count / 3) for count in agreeing) / 10)
    return made


def _judge():
    """The evaluation class, without what its package imports besides."""
    package = find_spec("lavis")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("pip install --no-deps salesforce-lavis")
    path = Path(package.origin).parent / "common" / "vqa_tools" / "vqa_eval.py"
    spec = spec_from_file_location("vqa_eval", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.VQAEval()


if __name__ == "__main__":
    FILE.write_text(json.dumps(make(), indent=1, ensure_ascii=False) + "\n")
