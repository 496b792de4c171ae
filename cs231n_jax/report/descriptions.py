"""A page of pictures, described or asked about: one HTML file that holds all it shows, without scripts or network."""

import base64
import html
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

DARKEST = 0.7  # opacity of the shade over a place that a word did not look at


class Alternative(NamedTuple):
    """A text that a search found."""

    text: str
    score: float  # what alternatives are ranked by
    log_prob: float  # nats
    ended: bool  # False: it was cut at the most tokens allowed


class Look(NamedTuple):
    """Where a model looked when it wrote a word, or in a hop on its way to an answer."""

    word: str  # or the hop
    weights: np.ndarray  # float [h, w], at least 0, some above


class Described(NamedTuple):
    """A picture and what was written about it."""

    name: str
    image: np.ndarray  # uint8 [H, W] or [H, W, C], C of 1, 3 or 4
    alternatives: Sequence[Alternative]  # at least one; the first is the caption, or the answer
    references: Sequence[str] = ()  # what people wrote
    looks: Sequence[Look] = ()  # one a word of the caption or a hop, of a model with attention


class Headings(NamedTuple):
    """What the parts of a page are called."""

    looks: str = "Where each word looked"
    alternatives: str = "What the search found"
    score: str = "score"
    references: str = "What people wrote"
    said: str = "described as"  # between the name of a picture and what was said of it, for who cannot see it


CAPTIONS = Headings()
ANSWERS = Headings("Where each hop looked", "The likeliest answers", "probability", "The answer given", "answered")


def page(title: str, about: str, described: Sequence[Described], headings: Headings = CAPTIONS) -> str:
    """The HTML: for each picture its caption, where each word looked, the alternatives and the references.

    A map is laid over the picture as a shade, at its own resolution h×w, which browsers scale up smoothly: clear where
    the word looked most, dark where it did not look, opacity DARKEST·(1 − α/max α). All text is escaped.

    Args:
        title: of the page.
        about: a paragraph in front of the pictures.
        described: the pictures, in their order.
        headings: for captions, or for answers.
    """
    backgrounds = "".join(_background(number, one) for number, one in enumerate(described, 1) if one.looks)
    articles = "\n".join(_article(number, one, headings) for number, one in enumerate(described, 1))
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n{_NOTHING_ELSE}\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}{backgrounds}</style>\n</head>\n"
        f"<body>\n<main>\n<h1>{html.escape(title)}</h1>\n<p>{html.escape(about)}</p>\n{articles}\n</main>\n"
        "</body>\n</html>\n"
    )


def shade(weights: np.ndarray) -> np.ndarray:
    """Black with the opacity of each place, DARKEST·(1 − α/max α): [h, w] -> uint8 [h, w, 2], grey and alpha."""
    opacity = np.round(255 * DARKEST * (1 - weights / weights.max())).astype(np.uint8)
    return np.stack([np.zeros_like(opacity), opacity], -1)


# A browser holds the page to what it is meant to be: pictures and rules of its own, nothing from elsewhere.
_NOTHING_ELSE = (
    '<meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
)

_STYLE = """
body { font: 1rem/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 0 auto; max-width: 70rem;
  padding: 1rem; }
article { border-top: 1px solid #999; padding: 1rem 0; }
h2 { font-size: 1rem; font-weight: normal; margin: 0; }
h3 { font-size: 1rem; margin: 1rem 0 .25rem; }
.picture { width: 14rem; max-width: 100%; display: block; }
.caption { font-size: 1.25rem; margin: .5rem 0; }
.looks { display: flex; flex-wrap: wrap; gap: .75rem; list-style: none; margin: 0; padding: 0; }
.looks figure { margin: 0; width: 7rem; }
.looks figcaption { text-align: center; overflow-wrap: anywhere; }
.look { background-size: 100% 100%; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.look img { display: block; width: 100%; height: 100%; }
table { border-collapse: collapse; margin-top: 1rem; }
caption { text-align: left; font-weight: bold; }
th, td { padding: .1rem 1rem .1rem 0; text-align: left; vertical-align: top; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
"""


def _background(number: int, one: Described) -> str:
    """The rule that puts a picture under all of its maps: its bytes stand in the page once for them."""
    height, width = one.image.shape[:2]
    return f"#picture{number} .look {{ background-image: url({_png(one.image)}); aspect-ratio: {width} / {height}; }}\n"


def _article(number: int, one: Described, headings: Headings) -> str:
    name, caption = html.escape(one.name), _said(one.alternatives[0].text)
    alt = html.escape(f"{one.name}, {headings.said}: {one.alternatives[0].text}")
    parts = [
        f'<article id="picture{number}">\n<h2>{name}</h2>',
        f'<img class="picture" src="{_png(one.image)}" alt="{alt}">\n<p class="caption">{caption}</p>',
        _looks(one.looks, headings),
        _alternatives(one.alternatives, headings),
        _references(one.references, headings),
        "</article>",
    ]
    return "\n".join(filter(None, parts))


def _looks(looks: Sequence[Look], headings: Headings) -> str:
    if not looks:
        return ""
    items = "\n".join(
        f'<li><figure><div class="look"><img src="{_png(shade(look.weights))}" alt="{html.escape(_told(look))}"></div>'
        f"<figcaption>{html.escape(look.word)}</figcaption></figure></li>"
        for look in looks
    )
    return f'<h3>{headings.looks}</h3>\n<ol class="looks">\n{items}\n</ol>'


def _told(look: Look) -> str:
    """A map in words."""
    rows, columns = look.weights.shape
    row, column = np.unravel_index(look.weights.argmax(), look.weights.shape)
    share = look.weights.max() / look.weights.sum()
    return f"“{look.word}” looked most, {share:.0%}, at row {row + 1} of {rows}, column {column + 1} of {columns}"


def _alternatives(alternatives: Sequence[Alternative], headings: Headings) -> str:
    rows = "\n".join(
        f'<tr><td class="number">{one.score:.3f}</td><td class="number">{one.log_prob:.3f}</td>'
        f"<td>{_said(one.text)}{'' if one.ended else ' … (cut)'}</td></tr>"
        for one in alternatives
    )
    columns = (headings.score, "nats", "text")
    header = "".join(f'<th scope="col">{column}</th>' for column in columns)
    return f"<table>\n<caption>{headings.alternatives}</caption>\n<tr>{header}</tr>\n{rows}\n</table>"


def _references(references: Sequence[str], headings: Headings) -> str:
    if not references:
        return ""
    items = "\n".join(f"<li>{_said(text)}</li>" for text in references)
    return f'<h3>{headings.references}</h3>\n<ul class="references">\n{items}\n</ul>'


def _said(text: str) -> str:
    return html.escape(text) if text.strip() else "<i>(nothing)</i>"


def _png(pixels: np.ndarray) -> str:
    """An array uint8 [H, W] or [H, W, C] as a data: URI."""
    from PIL import Image

    grey = pixels.ndim == 3 and pixels.shape[2] == 1
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels[..., 0] if grey else pixels)).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
