"""A trace of some updates for a profiler's viewer."""

from pathlib import Path

import jax


class Profile:
    """Traces the updates number `first` to `last` (from 1), with the calls that hold them, into a directory."""

    def __init__(self, directory: Path, first: int, last: int):
        """`last` = 0: no trace."""
        self._directory, self._first, self._last = directory, first, last
        self._tracing = False

    def before(self, done: int, count: int) -> None:
        """Called ahead of a call that makes `count` updates after the first `done`."""
        if self._last and not self._tracing and done < self._last and done + count >= self._first:
            jax.profiler.start_trace(str(self._directory))
            self._tracing = True

    def after(self, done: int, tick: jax.Array) -> None:
        """Called behind it: `done` updates are on their way, and `tick` is there when they are complete."""
        if self._tracing and done >= self._last:
            tick.block_until_ready()
            self.close()

    def close(self) -> None:
        """Write what was traced so far: at the end of the range, or of the run."""
        if self._tracing:
            jax.profiler.stop_trace()
            self._tracing, self._last = False, 0


def parse(text: str) -> tuple[int, int]:
    """ "100:110" as (100, 110).

    Raises:
        ValueError: it is no range of updates.
    """
    if not text:
        return 0, 0
    first, colon, last = text.partition(":")
    if not (colon and first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise ValueError(f"--profile={text!r} must be FIRST:LAST, two numbers of updates from 1, such as 100:110")
    return int(first), int(last)
