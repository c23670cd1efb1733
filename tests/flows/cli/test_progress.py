"""A line on what is left replaces the one before it on a terminal; elsewhere each is printed."""

import io
import logging

import pytest
from rich.console import Console

from tidecast.flows.cli import terminal
from tidecast.flows.log import log
from tidecast.forecasting.estimator.time_left import PASSES

LEFT = [f"  Backtest: {share} %, about {left} min left" for share, left in ((20, 6), (50, 4))]


class Stream(io.StringIO):
    def __init__(self, is_terminal):
        super().__init__()
        self.is_terminal = is_terminal

    def isatty(self):
        return self.is_terminal


@pytest.fixture
def said():
    """What is printed on a stream while the log says what is left, and then that a fold is done."""

    def printed(is_terminal):
        stream = Stream(is_terminal)
        out = Console(file=stream, force_terminal=is_terminal, width=100, soft_wrap=True)
        with terminal.progress(out):
            for line in LEFT:
                log.info(line, extra={PASSES: True})
            shown = [task.description for handler in log.handlers for task in getattr(handler._spinner, "tasks", ())]
            logging.getLogger("tidecast.forecasting").info("  GRU, fold 1 of 2")
        return stream.getvalue(), shown

    return printed


def test_a_terminal_rewrites_what_is_left(said):
    text, shown = said(True)
    assert shown == [LEFT[-1].strip()]
    assert "GRU, fold 1 of 2" in text
    assert f"s  {LEFT[0]}" not in text, "not a line of its own"


def test_without_a_terminal_each_line_is_printed(said):
    text, shown = said(False)
    assert [line.partition(" s  ")[2] for line in text.splitlines()] == [*LEFT, "  GRU, fold 1 of 2"]
    assert shown == []
