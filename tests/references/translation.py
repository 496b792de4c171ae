"""A translator of the made-up language that reads a sentence from left to right; it is given the tables of words."""

ENDINGS = {"present": ("at", "ant"), "past": ("avit", "avan"), "future": ("ur", "urun")}
TENSES = {"does": "present", "do": "present", "did": "past", "will": "future"}


class Reader:
    """One sentence, taken word by word; `tables` has nouns, verbs, adjectives, determiners, places, times."""

    def __init__(self, sentence, tables):
        self.words, self.tables = sentence.removesuffix(" .").split(" "), tables
        self.nouns = {form: (row, form == row[1]) for row in tables.NOUNS for form in row[:2]}
        self.verbs = {form: row for row in tables.VERBS for form in row[:3]}

    def taken(self, options):
        """The first of the options that the rest begins with, taken off it; or nothing."""
        for option in options:
            parts = option.split()
            if self.words[: len(parts)] == parts:
                del self.words[: len(parts)]
                return option
        return ""

    def verb(self, plural):
        helper = self.taken(("does not", "do not", "did not", "will not", "will")).split()
        form = self.words.pop(0)
        row = self.verbs[form]
        tense = TENSES[helper[0]] if helper else ("past" if form == row[2] else "present")
        return ("na " if "not" in helper else "") + row[3] + ENDINGS[tense][plural]

    def noun(self):
        determiner, adjectives = self.words.pop(0), []
        while self.words[0] in self.tables.ADJECTIVES:
            adjectives.append(self.tables.ADJECTIVES[self.words.pop(0)])
        row, plural = self.nouns[self.words.pop(0)]
        stems = [row[2], *adjectives, dict(self.tables.DETERMINERS[plural])[determiner]]
        told = " ".join(stem + row[3] + ("s" if plural else "") for stem in stems)
        if self.taken(("that",)):
            done = self.verb(plural)
            told = f"{self.noun()[0]} {done} ke {told}"
        return told, plural


def translate(sentence, tables):
    reader = Reader(sentence, tables)
    times = {f"{source} ,": target for rows in tables.TIMES.values() for source, target in rows}
    time = times.get(reader.taken(times), "")
    subject, plural = reader.noun()
    done = reader.verb(plural)
    thing, _ = reader.noun()
    places = dict(tables.PLACES)
    there = places.get(reader.taken(places), "")
    place = f"{reader.noun()[0]} {there}" if there else ""
    assert not reader.words, sentence
    return " ".join(filter(None, [subject, place, thing, done, time])) + " ."
