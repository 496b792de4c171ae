"""SIGINT, SIGTERM, SIGUSR1 and the end of the time allowed, as a flag that the loop looks at between updates."""

import signal
import time
from types import FrameType, TracebackType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
RESERVE = 0.1, 60.0  # a time limit is met this share of it earlier, at most so many seconds


class Interrupted(Exception):
    """The run was asked to stop and has saved its state: the same command continues it (exit code 75)."""


class StopRequest:
    """A context in which the first signal only raises a flag; a second Ctrl-C aborts at once.

    A surrounding StopRequest hears of it too: a run that is just about to end ends, and what called it still knows.

    Args:
        max_minutes: raise the flag too, in time for a snapshot, before so many minutes have passed; 0: no limit.
        started: time.time() from which they count; default: now.
    """

    def __init__(self, max_minutes: float = 0.0, started: float | None = None) -> None:
        self.received = ""
        self._limit, self._began = max_minutes * 60, time.time() if started is None else started
        self._reserve = min(RESERVE[0] * self._limit, RESERVE[1])
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> "StopRequest":
        self._previous = {s: signal.signal(s, self._handle) for s in SIGNALS}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for s, handler in self._previous.items():
            signal.signal(s, handler)  # type: ignore[arg-type]

    def __bool__(self) -> bool:
        if self._limit and not self.received and time.time() - self._began > self._limit - self._reserve:
            self.received = f"{self._limit / 60:g} minutes are nearly over"
        return bool(self.received)

    def allow(self, seconds: float) -> None:
        """Leave time for something that took `seconds` once to happen again before the limit."""
        self._reserve = max(self._reserve, 1.5 * seconds)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signal.Signals(number).name
        outer = getattr(self._previous.get(signal.Signals(number)), "__self__", None)
        if isinstance(outer, StopRequest):
            outer._handle(number, frame)
