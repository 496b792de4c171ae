"""What a made-up review says, worked out from its text alone: a value whose sign is the label."""

STRENGTH = {"slightly": 1, "somewhat": 1, "very": 3, "really": 3, "absolutely": 3}
NEGATIONS = {"not", "never", "hardly"}


def clause(words, good, bad):
    """the ASPECT was [NEGATION] [DEGREE] ADJECTIVE"""
    assert (words[0], words[2]) == ("the", "was"), words
    rest = words[3:]
    value = 1 if rest[-1] in good else -1
    assert rest[-1] in good or rest[-1] in bad, words
    value *= next((STRENGTH[word] for word in rest if word in STRENGTH), 2)
    return -value if rest[0] in NEGATIONS else value


def sentence(text, good, bad):
    if "had called it" in text or not text.startswith(("the ", "although ")) or " was " not in text:
        return 0
    if text.startswith("although "):
        return clause(text.split(" , ")[1].split(), good, bad)
    for link, which in ((" but ", 1), (" even though ", 0)):
        if link in text:
            return clause(text.split(link)[which].split(), good, bad)
    return sum(clause(part.split(), good, bad) for part in text.split(" and "))


def value(text, good, bad):
    return sum(sentence(part, good, bad) for part in text.removesuffix(" .").split(" . "))
