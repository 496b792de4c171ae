"""What a person sees of a page of descriptions, read back from its HTML."""

import base64
import dataclasses
import io
from html.parser import HTMLParser

import numpy as np
from PIL import Image


@dataclasses.dataclass
class Shown:
    """One picture of a page, all text without its markup."""

    name: str = ""
    picture: str = ""  # a data: URI
    caption: str = ""
    words: list[str] = dataclasses.field(default_factory=list)
    maps: list[tuple[str, str]] = dataclasses.field(default_factory=list)  # a data: URI, and what is told of it
    alternatives: list[tuple[str, ...]] = dataclasses.field(default_factory=list)
    references: list[str] = dataclasses.field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.title, self.shown, self.open, self.text = "", [], [], ""

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag in ("meta", "img"):
            if tag == "img" and given.get("class") == "picture":
                self.shown[-1].picture = given["src"]
            elif tag == "img":
                self.shown[-1].maps.append((given["src"], given["alt"]))
            return
        if tag == "article":
            self.shown.append(Shown())
        if tag == "tr":
            self.row = []
        if tag != "i":
            self.text = ""
        self.open.append((tag, given.get("class", "")))

    def handle_data(self, data):
        self.text += data

    def handle_endtag(self, tag):
        opened, kind = self.open.pop()
        assert opened == tag, f"</{tag}> closes <{opened}>"
        inside = [kind for _, kind in self.open]
        match tag:
            case "title":
                self.title = self.text
            case "h2":
                self.shown[-1].name = self.text
            case "p" if kind == "caption":
                self.shown[-1].caption = self.text
            case "figcaption":
                self.shown[-1].words.append(self.text)
            case "td":
                self.row.append(self.text)
            case "tr" if self.row:
                self.shown[-1].alternatives.append(tuple(self.row))
            case "li" if "references" in inside:
                self.shown[-1].references.append(self.text)


def read(text: str) -> tuple[str, list[Shown]]:
    """The title of a page, and its pictures."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader.title, reader.shown


def unpacked(uri: str) -> np.ndarray:
    """The pixels of a PNG in a data: URI."""
    head, _, body = uri.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body, validate=True))))
