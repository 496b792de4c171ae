"""The accuracy of answers to questions about images, where several people have answered."""

import re
from collections.abc import Sequence
from typing import NamedTuple

_NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
_WORDS = {"none": "0", **{word: str(number) for number, word in enumerate(_NUMBERS)}}
_ARTICLES = {"a", "an", "the"}
_BETWEEN_DIGITS = re.compile(r"(?<=\d),(?=\d)")
_POINT = re.compile(r"\.(?!\d)")
_PUNCTUATION = re.compile(r"[;/\[\]\"{}()=+\\_\-<>@`,?!']")


class VqaAccuracy(NamedTuple):
    """Shares of right answers in 0 … 1, over all questions and over those of each type."""

    score: float
    by_type: dict[str, float]
    counts: dict[str, int]  # of questions, by type
    unknown: int  # questions none of whose answers could have been given
    signature: str

    def __float__(self) -> float:
        return self.score


def vqa(
    answers: Sequence[str],
    people: Sequence[str | Sequence[str]],
    types: Sequence[str] = (),
    known: Sequence[str] = (),
) -> VqaAccuracy:
    """Consensus accuracy over questions.

        accuracy(a) = mean over the people i of min(1, #{j ≠ i: answer_j = a} / 3)

    With one answer a question it is 1 where they agree and 0 elsewhere. Answers are compared as `normalized`.

    Args:
        answers: one a question, as the model gave it.
        people: for each question the answers of people: one, or several.
        types: of the questions, such as "count"; empty for one type "all".
        known: the answers that the model can give; with them `unknown` counts the questions it has to miss, which stay
            in all the shares. Empty: not counted.

    Raises:
        ValueError: the numbers of answers, people's answers and types differ, there are none, or a question has none.

    Reference: Antol et al. 2015, "VQA: Visual Question Answering", section 3, with the mean over subsets of nine of
    ten people of its evaluation code. *Deviation*: with fewer than four answers, where no three others can agree, the
    share of the people who gave the answer; contractions are compared without their apostrophe.
    """
    if len(answers) != len(people) or (types and len(types) != len(answers)) or not answers:
        raise ValueError(
            f"there are {len(answers)} answers, {len(people)} entries of people's answers and {len(types)} types: give "
            "one of each for every question, and at least one question"
        )
    several = [[normalized(a) for a in ([entry] if isinstance(entry, str) else entry)] for entry in people]
    if (bare := next((i for i, entry in enumerate(several) if not entry), -1)) >= 0:
        raise ValueError(f"question {bare} has no answer of anybody; give it one or leave it out")
    scores = [_agreement(normalized(given), theirs) for given, theirs in zip(answers, several)]
    by_type: dict[str, list[float]] = {}
    for kind, score in zip(types or ("all",) * len(scores), scores):
        by_type.setdefault(kind, []).append(score)
    possible = {normalized(answer) for answer in known}
    unknown = sum(not possible.intersection(theirs) for theirs in several) if known else 0
    numbers = sorted({len(entry) for entry in several})
    people_each = str(numbers[0]) if len(numbers) == 1 else "var"
    return VqaAccuracy(
        score=sum(scores) / len(scores),
        by_type={kind: sum(some) / len(some) for kind, some in sorted(by_type.items())},
        counts={kind: len(some) for kind, some in sorted(by_type.items())},
        unknown=unknown,
        signature=f"VQA accuracy|answers:{people_each}|normalized",
    )


def normalized(answer: str) -> str:
    """An answer as it is compared: lower case, without articles and punctuation, numbers up to ten as digits.

    Points and commas within numbers stay points and nothing ("1,000" is "1000", "2.5" is "2.5"); hyphens and slashes
    part words.

    Reference: the evaluation code of Antol et al. 2015.
    """
    text = _BETWEEN_DIGITS.sub("", answer.lower().replace("\n", " ").replace("\t", " "))
    text = _POINT.sub("", text.replace("'", ""))
    words = (_WORDS.get(word, word) for word in _PUNCTUATION.sub(" ", text).split())
    return " ".join(word for word in words if word not in _ARTICLES)


def _agreement(answer: str, people: Sequence[str]) -> float:
    same = people.count(answer)
    if len(people) < 4:
        return same / len(people)
    left = min(1.0, max(same - 1, 0) / 3), min(1.0, same / 3)  # without one who agrees, without one who does not
    return (same * left[0] + (len(people) - same) * left[1]) / len(people)
