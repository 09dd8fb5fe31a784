"""Where people see what a run does; nothing else in the code base prints.

In a terminal a stage shows a bar; in a log (no terminal) it says one line a minute, so that a
night's log stays short and still shows that the run is alive.
"""

from __future__ import annotations

import sys
import textwrap
import threading
import time
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.progress import Progress, TaskID
    from rich.table import Table


def plural(count: int, one: str, many: str = "") -> str:
    """Return a count with its noun: `1 batch`, `1,200 batches`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def printable(text: str) -> str:
    """Return a text whose control characters are escaped: they could forge lines or colours."""
    return "".join(
        one if one.isprintable() or unicodedata.category(one) == "Zs" else ascii(one)[1:-1]
        for one in text
    )


class Step(Protocol):
    """A stage at work."""

    def advance(self, note: str = "") -> None:
        """Say that one more of the stage's pieces is done."""

    def expect(self, total: int) -> None:
        """Say how many pieces the stage has."""


class Console(Protocol):
    """What a run says, and how far it is."""

    def say(self, text: str) -> None:
        """Print a line for the reader."""

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table; columns whose header starts with `>` are numbers, set to the right."""

    def step(self, name: str) -> AbstractContextManager[Step]:
        """Show a stage while the `with` block lasts."""


class _Counter:
    """The state of one stage, whoever shows it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.done = 0
        self.total: int | None = None
        self.note = ""
        self.began = time.monotonic()

    def advance(self, note: str = "") -> None:
        """Count one piece."""
        self.done += 1
        self.note = note

    def expect(self, total: int) -> None:
        """Set the number of pieces."""
        self.total = total

    def line(self) -> str:
        """Return the stage's line for a log."""
        of = f" {self.done} of {self.total}" if self.total else ""
        note = f" {self.note}" if self.note else ""
        return f"{self.name}:{of}{note} ({time.monotonic() - self.began:.0f} s)"


class _Bar(_Counter):
    """The same on a progress bar."""

    def __init__(self, name: str, progress: Progress) -> None:
        super().__init__(name)
        self._progress = progress
        self._task: TaskID = progress.add_task(name, total=None)

    def advance(self, note: str = "") -> None:
        """Count one piece."""
        super().advance(note)
        self._progress.update(self._task, advance=1, description=f"{self.name} {note}".rstrip())

    def expect(self, total: int) -> None:
        """Set the number of pieces."""
        super().expect(total)
        self._progress.update(self._task, total=total)


class TextConsole:
    """A console on a text stream, drawn by rich.

    Args:
        to_stderr: write to standard error (what `--json` does, to keep standard output clean).
        minute: seconds between two lines of a stage in a log.
    """

    def __init__(self, *, to_stderr: bool = False, minute: float = 60.0) -> None:
        self._to_stderr = to_stderr
        self._minute = minute

    def _rich(self, *, stderr: bool, width: int = 80) -> RichConsole:
        from rich.console import Console as RichConsole

        stream = sys.stderr if stderr else sys.stdout
        # A log has no width of its own, whatever COLUMNS says about somebody's terminal. And what
        # is printed is no markup: the unit [degF] would be gone, [/x] an error, :on: a picture.
        return RichConsole(
            file=stream,
            highlight=False,
            markup=False,
            emoji=False,
            width=None if stream.isatty() else width,
        )

    def say(self, text: str) -> None:
        """Print a line for the reader."""
        self._rich(stderr=self._to_stderr).print(text, soft_wrap=True)

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table; columns whose header starts with `>` are numbers, set to the right."""
        self._rich(stderr=self._to_stderr).print(self._drawn(title, header, rows))

    def wide_table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a query's result, one line a row, or one a value where a terminal is narrow."""
        rich = self._rich(stderr=self._to_stderr, width=10_000)
        safe = [[_harmless(cell) for cell in row] for row in rows]
        drawn = self._drawn("", header, safe)
        if rich.is_terminal and _width(drawn) > rich.width:
            for line in _records(header, safe, rich.width):
                rich.print(line, soft_wrap=True)
        else:
            rich.print(drawn)

    def _drawn(self, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
        from rich import box
        from rich.table import Table

        table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD)
        for name in header:
            table.add_column(
                name.removeprefix(">"),
                justify="right" if name.startswith(">") else "left",
                overflow="fold",
                no_wrap=name.startswith(">"),
            )
        for row in rows:
            table.add_row(*(str(cell) for cell in row))
        return table

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Show a stage while the `with` block lasts; always on standard error."""
        if sys.stderr.isatty():
            with self._bar(name) as bar:
                yield bar
            return
        counter = _Counter(name)
        ended = threading.Event()
        thread = threading.Thread(target=self._tick, args=(counter, ended), daemon=True)
        thread.start()
        try:
            yield counter
        finally:
            ended.set()
            thread.join()

    @contextmanager
    def _bar(self, name: str) -> Iterator[Step]:
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=30))
        with Progress(
            *columns, TimeElapsedColumn(), console=self._rich(stderr=True), transient=True
        ) as progress:
            yield _Bar(name, progress)

    def _tick(self, counter: _Counter, ended: threading.Event) -> None:
        while not ended.wait(self._minute):
            self._rich(stderr=True).print(counter.line(), soft_wrap=True)


def _width(table: Table) -> int:
    """Return how many columns of a terminal a table takes where nothing is folded."""
    from rich.console import Console as RichConsole

    return RichConsole(width=10_000, markup=False, emoji=False).measure(table).maximum


def _harmless(cell: str) -> str:
    """Return a text of which nothing but its line breaks does anything to a terminal."""
    return "\n".join(printable(line) for line in cell.split("\n"))


def _records(header: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """Yield rows as a line a value; sentences are folded below where they begin."""
    names = [name.removeprefix(">") for name in header]
    wide = max(map(len, names), default=0)
    if not rows:
        told = f"- no row; columns: {', '.join(names)}"
        yield from textwrap.wrap(told, width, subsequent_indent="  ", break_long_words=False)
    for number, row in enumerate(rows, start=1):
        yield f"- row {number} of {len(rows)}"
        for name, cell in zip(names, row, strict=True):
            lines = _folded(cell, width - wide - 4)
            yield f"  {name:<{wide}}  {lines[0]}".rstrip()
            yield from (f"  {'':<{wide}}  {line}".rstrip() for line in lines[1:])


def _folded(cell: str, width: int) -> list[str]:
    """Return a text's lines; a key or a path, which may be copied, is never cut."""
    lines = (
        textwrap.wrap(line, max(width, 20), break_long_words=False, break_on_hyphens=False)
        for line in cell.split("\n")
    )
    return [part for some in lines for part in some or [""]]


class SilentConsole(TextConsole):
    """A console that says nothing, for tests and for callers that read the result."""

    def say(self, text: str) -> None:
        """Say nothing."""

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Draw nothing."""

    def wide_table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Draw nothing."""

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Show nothing."""
        yield _Counter(name)
