"""A user's text files, line by line."""

from __future__ import annotations

from pathlib import Path


def read(path: Path) -> list[str]:
    """The lines of a file in UTF-8, with or without a mark of that, each without its end.

    A line ends as in any editor (\\n, \\r\\n); what else Unicode has for that, such as U+2028, stays within it, so that
    line k is line k of a file that belongs to this one.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no text in UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8 ({error}): convert it") from None
    return text.removesuffix("\n").split("\n") if text else []
