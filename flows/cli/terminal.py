"""Output of a command: lines of progress, a spinner, tables, names with values."""

import contextlib
import logging
import os
import re
import sys
import textwrap
import time
from collections.abc import Container, Iterator
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from tidecast.flows.log import log
from tidecast.flows.redaction import redact
from tidecast.forecasting.estimator.time_left import EVERY, PASSES

WIDTH_WITHOUT_TERMINAL = 110
WORKING = "working …"

GAP = 2
"""Blanks between the columns of a table."""

TOGETHER = re.compile(r"(?<=\d) (?=[%…])|(?<=[<>=…]) (?=[−+\d])")
"""Blanks at which no line ends: "p < 0.001", "0.11 … 0.33", "95 %"."""

NO_BREAK = "\N{NO-BREAK SPACE}"

LONGEST_WHOLE = 24
"""Characters of a word of a table that is never broken; longer ones are paths, addresses and names."""


class _Console(Console):
    """A console that wraps a text between words, never inside a number or a path, where lines have a given width."""

    def print(self, *objects: Any, **options: Any) -> None:
        if len(objects) == 1 and isinstance(objects[0], str):
            objects = ("\n".join(wrapped(self, line) for line in objects[0].split("\n")),)
        super().print(*objects, **options)


def console(stderr: bool = False) -> Console:
    """Return a console that prints text literally (a series may be called "[red]"); colours only on a terminal.

    Without a terminal, lines are as long as their text, and tables have 110 columns. COLUMNS changes both.

    Parameters
    ----------
    stderr : bool, default=False
        Whether to print on standard error.
    """
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or _columns_are_set() else WIDTH_WITHOUT_TERMINAL
    return _Console(stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=True, width=width)


def wrapped(out: Console, line: str, indent: int = 0) -> str:
    """Return a line, wrapped between words if the console has a given width. Longer words stay whole.

    Parameters
    ----------
    out : Console
    line : str
    indent : int, default=0
        Blanks before the second line and later ones.
    """
    if not (out.file.isatty() or _columns_are_set()) or cell_len(line) <= out.width:
        return line
    options: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
    start = " " * (len(line) - len(line.lstrip()))
    whole = TOGETHER.sub(NO_BREAK, line)
    pieces = textwrap.wrap(whole, max(out.width, indent + 20), subsequent_indent=start + " " * indent, **options)
    return "\n".join(pieces).replace(NO_BREAK, " ")


def _columns_are_set() -> bool:
    return os.environ.get("COLUMNS", "").isdigit()


class _Lines(logging.Handler):
    """Prints our log, each line with the seconds since the start; on a terminal, a spinner as well.

    A line that the next one replaces (`PASSES`) stands beside the spinner, until it is old.
    """

    def __init__(self, out: Console) -> None:
        super().__init__(logging.INFO)
        self._out = out
        self._start = self._passes_at = time.monotonic()
        self._spinner = None
        if out.is_terminal and out.file.isatty():  # FORCE_COLOR makes the first true in a pipe, too
            working = TextColumn("{task.description}", style="dim", markup=False)
            self._spinner = Progress(TimeElapsedColumn(), working, SpinnerColumn(), console=out, transient=True)
            self._task = self._spinner.add_task(WORKING)
            self._spinner.start()

    def emit(self, record: logging.LogRecord) -> None:
        if self._spinner and hasattr(record, PASSES):
            self._spinner.update(self._task, description=record.getMessage().strip())
            self._passes_at = time.monotonic()
            return
        if self._spinner and time.monotonic() - self._passes_at > 2 * EVERY:
            self._spinner.update(self._task, description=WORKING)
        seconds = time.monotonic() - self._start
        style = "yellow" if record.levelno >= logging.WARNING else ""
        start = f"{seconds:5.0f} s  "
        text = wrapped(self._out, start + record.getMessage(), len(start) - 3)
        self._out.print(Text(start, style="dim"), Text(text[len(start) :], style=style), sep="")

    def stop(self) -> None:
        """End the spinner. `close` must not do this, because Prefect closes all handlers when it sets up its log."""
        if self._spinner:
            self._spinner.stop()


@contextlib.contextmanager
def progress(out: Console) -> Iterator[None]:
    """Print our log while the body runs.

    Parameters
    ----------
    out : Console
        Where to print.
    """
    handler = _Lines(out)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    propagate, log.propagate = log.propagate, False
    try:
        yield
    finally:
        log.propagate = propagate
        log.removeHandler(handler)
        handler.stop()


class _Table:
    """A table that fits: long words are folded first; where that does not do, each row becomes a list of facts."""

    def __init__(self, columns: list[str], rows: list[list[str]], right: list[bool], title: str | None,
                 wrap: bool, whole: Container[str]) -> None:  # fmt: skip
        self._columns, self._rows, self._right, self._title = columns, rows, right, title
        self._wrap, self._whole = wrap, whole

    def __rich_console__(self, out: Console, options: ConsoleOptions) -> RenderResult:
        cells = [[name, *(row[index] for row in self._rows)] for index, name in enumerate(self._columns)]
        widths = [max(map(_longest_line, column)) for column in cells]
        if self._wrap:
            least = [
                width if name in self._whole else max(map(_longest_word, column))
                for name, column, width in zip(self._columns, cells, widths, strict=True)
            ]
            room = options.max_width - GAP * (len(widths) - 1)
            if sum(least) > room:
                yield from self._facts(out, options)
                return
            widths = _narrowed(widths, least, room)
        yield self._drawn(widths)

    def _drawn(self, widths: list[int]) -> Table:
        drawn = Table(
            title=self._title, title_justify="left", title_style="bold", header_style="bold", box=None, padding=0,
            pad_edge=False,
        )  # fmt: skip
        for index, (name, right, width) in enumerate(zip(self._columns, self._right, widths, strict=True)):
            if index:
                drawn.add_column(width=GAP)  # padding would also stand behind the last column
            drawn.add_column(
                Text(name),
                justify="right" if right else "left",
                overflow="fold" if self._wrap else "ellipsis",
                no_wrap=not self._wrap or name in self._whole,
                width=width if self._wrap else None,
            )
        for row in self._rows:
            texts = [Text(cell) for cell in row]
            drawn.add_row(*[part for text in texts for part in (text, "")][:-1])
        return drawn

    def _facts(self, out: Console, options: ConsoleOptions) -> RenderResult:
        if self._title:
            yield Text(self._title, style="bold")
        width = max(map(cell_len, self._columns))
        for row in self._rows:
            first, *rest = zip(self._columns, row, strict=True)
            yield Text(f"{first[0]} {first[1]}", style="bold")
            for name, cell in rest:
                line = f"  {name}{' ' * (width - cell_len(name))}  {' '.join(cell.split())}"
                if cell:
                    yield Text(wrapped(out, line, width + 2).rstrip())


def _longest_line(cell: str) -> int:
    return max(map(cell_len, cell.splitlines()), default=0)


def _longest_word(cell: str) -> int:
    """Of the words that must stay whole; a path or an address may be folded."""
    return min(LONGEST_WHOLE, max(map(cell_len, cell.split()), default=0))


def _narrowed(widths: list[int], least: list[int], room: int) -> list[int]:
    """Widths that fit: one blank at a time from the widest column that may be narrower."""
    widths = list(widths)
    while sum(widths) > room:
        index = max((index for index in range(len(widths)) if widths[index] > least[index]), key=widths.__getitem__)
        widths[index] -= 1
    return widths


def table(
    columns: list[str],
    rows: list[list[Any]],
    title: str | None = None,
    wrap: bool = True,
    whole: Container[str] = (),
) -> Any:
    """Return a plain table, numbers to the right. Long cells are wrapped, or cut off without `wrap`.

    No number is broken: where the columns do not fit side by side, each row is printed as lines of names and values.

    Parameters
    ----------
    columns : list of str
        Headings.
    rows : list of list
        One list of values per row.
    title : str, optional
    wrap : bool, default=True
    whole : container of str, default=()
        Columns that are never wrapped.
    """
    right = [bool(rows) and all(isinstance(row[index], int | float) for row in rows) for index in range(len(columns))]
    texts = [[f"{cell:.6g}" if isinstance(cell, float) else redact(str(cell)) for cell in row] for row in rows]
    return _Table(columns, texts, right, title, wrap, whole)


def facts(out: Console, pairs: list[tuple[str, str]]) -> None:
    """Print names and texts, aligned.

    Parameters
    ----------
    out : Console
        Where to print.
    pairs : list of tuple
        Name and text of each line; a text may have several lines.
    """
    width = max([8, *(len(name) for name, _ in pairs)])
    for name, text in pairs:
        for index, line in enumerate(text.splitlines() or [""]):
            head = f"{name if index == 0 else '':<{width}}  "
            rest = wrapped(out, "·" * len(head) + line, len(head))[len(head) :]  # dots: wrapping would strip blanks
            out.print(Text(head, style="bold"), Text(rest), sep="")
