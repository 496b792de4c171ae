"""How far the making of a data cache is, on stderr, and whether it is to end before it is done."""

import contextlib
import contextvars
import sys
import time
from collections.abc import Callable, Iterator

_WATCH: contextvars.ContextVar[Callable[[], None]] = contextvars.ContextVar("watch", default=lambda: None)


@contextlib.contextmanager
def watched(watch: Callable[[], None]) -> Iterator[None]:
    """Inside, whatever makes a data cache calls `watch` between two chunks of it; what that raises ends the work."""
    token = _WATCH.set(watch)
    try:
        yield
    finally:
        _WATCH.reset(token)


def look() -> None:
    """Call what `watched` was given, if anything."""
    _WATCH.get()()


class Progress:
    """A line on stderr for work that takes more than a second: one that moves on a terminal, a few in a log."""

    def __init__(self, label: str, total: int, begun: int = 0):
        """`label`: what is done; `total`: of how many examples; `begun`: how many there were before."""
        self._label, self._total, self._begun = label, total, begun
        self._start = time.monotonic()
        self._next, self._terminal, self._shown = 1.0, sys.stderr.isatty(), False

    def show(self, done: int) -> None:
        """Tell how many are done and how long the rest will take, if it is time to."""
        passed = time.monotonic() - self._start
        if passed < self._next:
            return
        self._next, self._shown = passed + (0.2 if self._terminal else 5.0), True
        left = passed * (self._total - done) / max(done - self._begun, 1)
        self._print(f"{self._label}: {done}/{self._total}, {left:.0f} s left", end="" if self._terminal else "\n")

    def close(self, note: str) -> None:
        """Tell what it took, if anything was told."""
        if self._shown:
            passed = time.monotonic() - self._start
            self._print(f"{self._label}: {self._total} examples in {passed:.1f} s, {note}", end="\n")

    def _print(self, text: str, end: str) -> None:
        print(f"\r\033[K{text}" if self._terminal else text, end=end, file=sys.stderr, flush=True)
