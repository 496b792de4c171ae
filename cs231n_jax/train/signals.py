"""SIGINT, SIGTERM and SIGUSR1 as a flag that the loop looks at between updates."""

import signal
from types import FrameType, TracebackType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Interrupted(Exception):
    """The run was asked to stop and has saved its state: the same command continues it (exit code 75)."""


class StopRequest:
    """A context in which the first signal only raises a flag; a second Ctrl-C aborts at once."""

    def __init__(self) -> None:
        self.received = ""
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> "StopRequest":
        self._previous = {s: signal.signal(s, self._handle) for s in SIGNALS}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for s, handler in self._previous.items():
            signal.signal(s, handler)  # type: ignore[arg-type]

    def __bool__(self) -> bool:
        return bool(self.received)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signal.Signals(number).name
