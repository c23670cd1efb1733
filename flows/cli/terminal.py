"""Output of a command: lines of progress, a spinner, tables, names with values."""

import contextlib
import logging
import sys
import time
from collections.abc import Container, Iterator
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from tidecast.flows.log import log
from tidecast.flows.redaction import redact

WIDTH_WITHOUT_TERMINAL = 110
GAP = 2
"""Blanks between the columns of a table."""


def console(stderr: bool = False) -> Console:
    """Return a console that prints text literally (a series may be called "[red]"); colours only on a terminal.

    Parameters
    ----------
    stderr : bool, default=False
        Whether to print on standard error.
    """
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else WIDTH_WITHOUT_TERMINAL
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=True, width=width)


class _Lines(logging.Handler):
    """Prints our log, each line with the seconds since the start; on a terminal, a spinner as well."""

    def __init__(self, out: Console) -> None:
        super().__init__(logging.INFO)
        self._out = out
        self._start = time.monotonic()
        self._spinner = None
        if out.is_terminal:
            working = TextColumn("working …", style="dim")
            self._spinner = Progress(TimeElapsedColumn(), working, SpinnerColumn(), console=out, transient=True)
            self._spinner.add_task("")
            self._spinner.start()

    def emit(self, record: logging.LogRecord) -> None:
        seconds = time.monotonic() - self._start
        style = "yellow" if record.levelno >= logging.WARNING else ""
        self._out.print(Text(f"{seconds:5.0f} s  ", style="dim"), Text(record.getMessage(), style=style), sep="")

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


def table(
    columns: list[str],
    rows: list[list[Any]],
    title: str | None = None,
    wrap: bool = True,
    whole: Container[str] = (),
) -> Table:
    """Return a plain table, numbers to the right. Long cells are wrapped, or cut off without `wrap`.

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
    drawn = Table(
        title=title, title_justify="left", title_style="bold", header_style="bold", box=None, pad_edge=False,
        padding=(0, GAP, 0, 0),
    )  # fmt: skip
    for index, name in enumerate(columns):
        number = bool(rows) and all(isinstance(row[index], int | float) for row in rows)
        drawn.add_column(
            Text(name),
            justify="right" if number else "left",
            overflow="fold" if wrap else "ellipsis",
            no_wrap=not wrap or name in whole,
        )
    for row in rows:
        drawn.add_row(*(Text(f"{cell:.6g}" if isinstance(cell, float) else redact(str(cell))) for cell in row))
    return drawn


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
        first, *rest = text.splitlines() or [""]
        out.print(Text(f"{name:<{width}}  ", style="bold"), Text(first), sep="")
        for line in rest:
            out.print(Text(" " * (width + 2) + line))
