"""Time that long work still takes, in the log, about every ten seconds. Short work says nothing.

In Python, `logging.basicConfig(level=logging.INFO)` shows the lines; the command shows them by itself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

logger = logging.getLogger(__name__)

EVERY = 10.0
"""Seconds between two lines, and before the first."""

LEAST = 0.05
"""Share of the work that must be done before the rest is estimated."""

PASSES = "passes"
"""Attribute of a log record that the next one replaces, where lines can be rewritten."""

_heard_by: ContextVar[Callable[[float], None] | None] = ContextVar("heard_by", default=None)


class Work:
    """Work of a known size, which takes about as long for each unit.

    Parameters
    ----------
    what : str
        Name of the work, for the log.
    total : int
        Its size.
    units : str, default=""
        Name of what is counted: "epochs". Without one, per cent are logged.
    since : float, default=0.0
        Units that were done before it began.

    Examples
    --------
    >>> work = Work("Backfill", 40, "sessions")
    >>> work.at(0.2)  # says nothing before ten seconds
    """

    def __init__(self, what: str, total: int, units: str = "", since: float = 0.0) -> None:
        self.what, self.total, self.units, self.since = what, total, units, since
        self._said = time.monotonic()
        self._first: tuple[float, float] | None = None

    def at(self, done: float) -> None:
        """Note how much is done, and log it if that is due. Inside of a fit among several, tell those instead.

        Parameters
        ----------
        done : float
            Units, those before it began included.
        """
        hears = _heard_by.get()
        if hears is not None:
            hears(done / self.total)
            return
        now = time.monotonic()
        left = self.left(done)
        if now - self._said < EVERY or not self.since < done < self.total:
            return
        self._said = now
        share = f"{done:,g} of {self.total:,} {self.units}" if self.units else f"{100 * done / self.total:.0f} %"
        logger.info(f"  {self.what}: {share}{left}", extra={PASSES: True})

    def left(self, done: float) -> str:
        """Return ", about 3 min left"; nothing while nobody can know.

        The pace is that since the first progress, because workers load their libraries before it.

        Parameters
        ----------
        done : float
            As for `at`.
        """
        now = time.monotonic()
        if self._first is None and done > self.since:
            self._first = now, done
        begun, before = self._first or (now, done)
        if done - before < LEAST * self.total or done <= before or now - begun < EVERY:
            return ""
        return f", about {in_words((now - begun) * (self.total - done) / (done - before))} left"


def in_words(seconds: float) -> str:
    """Return a length of time, as exact as an estimate is.

    Parameters
    ----------
    seconds : float

    Examples
    --------
    >>> in_words(7.2), in_words(34.0), in_words(95.0), in_words(9000.0)
    ('10 s', '40 s', '2 min', '2.5 h')
    """
    if seconds < 90:
        return f"{max(1, -int(-seconds // 10)) * 10} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextmanager
def heard_by(listener: Callable[[float], None]) -> Iterator[None]:
    """Tell a listener how much of the body's work is done, as a share, instead of the log.

    Parameters
    ----------
    listener : callable
    """
    before = _heard_by.set(listener)
    try:
        yield
    finally:
        _heard_by.reset(before)
