"""What a person sees while a run goes on: a bar with the time left on a terminal, plain lines in a log."""

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

PLAIN_SECONDS = 30.0  # at most this long without a word in a log
LOG_WIDTH = 250  # characters that a table may take in a log, where no line need be folded


class ConsoleReporter:
    """Progress of one run on standard output."""

    def __init__(self, console: Console | None = None, quiet: bool = False):
        """`console`: a rich console; None for standard output. `quiet`: say nothing, in all processes but one."""
        self.console = console or Console(highlight=False, soft_wrap=True, quiet=quiet)
        if not self.console.is_terminal:
            self.console.width = LOG_WIDTH
        columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, TextColumn("ETA"), TimeRemainingColumn(), console=self.console)
        self._live = self.console.is_terminal
        self._started = self._spoken = time.monotonic()
        self._first = self._total = 0
        self._task = None

    def __enter__(self) -> "ConsoleReporter":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def start(self, done: int, total: int) -> None:
        """Training begins, or continues after `done` updates."""
        self._first, self._total = done, total
        self._started = self._spoken = time.monotonic()
        if self._live:
            self._task = self._bar.add_task("training", total=total, completed=done)
            self._bar.start()

    def advance(self, done: int) -> None:
        """`done` updates are complete."""
        if self._live and self._task is not None:
            self._bar.update(self._task, completed=done)
        elif (now := time.monotonic()) - self._spoken > PLAIN_SECONDS:
            left = (now - self._started) / max(done - self._first, 1) * (self._total - done)
            self.line(f"step {done} of {self._total}, about {left:.0f} s left")

    def line(self, text: str) -> None:
        """Something worth reading."""
        self._spoken = time.monotonic()
        self.console.print(text, markup=False)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table whose first column is text and the others numbers."""
        self._bar.stop()
        table = Table(title=title, title_justify="left")
        for i, column in enumerate(columns):
            table.add_column(column, justify="right" if i else "left")
        for row in rows:
            table.add_row(*row)
        self.console.print(table)
