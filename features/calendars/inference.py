"""Inferred calendars, and how well they fit the times of series."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from tidecast.features.calendars.base import Calendar
from tidecast.features.error_text import counted
from tidecast.features.segments import blocks_of, series_starts

BLOCK = 1 << 20
"""Rows of whole series that are counted at a time, about."""

SHOWN = 3
"""Times or series that a message names."""

MOST_MISSES, LEAST_FOUND = 0.25, 0.4
"""A calendar of periods fits when at most the first share of the rows are not a session, and at least the second share
of the sessions have a row."""


@dataclass(frozen=True)
class Inference:
    """A calendar that times suggest.

    Attributes
    ----------
    calendar : Calendar
    n_rows, n_stray : int
        Number of times, and of those that are not a session of the calendar.
    n_sessions, n_found : int
        Number of sessions from the first to the last time, and of those that have a row.
    doubt : str
        Why another calendar may be right; empty without a reason.
    """

    calendar: Calendar
    n_rows: int
    n_stray: int
    n_sessions: int
    n_found: int
    doubt: str = ""

    @property
    def share(self) -> float:
        """Share of the sessions from the first to the last time that have a row."""
        return self.n_found / max(self.n_sessions, 1)

    @property
    def fit(self) -> str:
        """How well the calendar fits, as in "98% of 401 sessions have a row"."""
        are = "is" if self.n_stray == 1 else "are"
        stray = f", {self.n_stray} of {counted(self.n_rows, 'row')} {are} not a session" if self.n_stray else ""
        return f"{self.share:.0%} of {counted(self.n_sessions, 'session has', 'sessions have')} a row{stray}"


def fit_of(calendar: Calendar, times: pl.Series, doubt: str = "") -> Inference:
    """Return how well distinct times fit a calendar.

    Parameters
    ----------
    calendar : Calendar
    times : Series of Date or Datetime
    doubt : str, optional
        Why another calendar may be right.
    """
    on = calendar.is_session(times)
    number = calendar.numbers(times.filter(pl.Series(on)))
    n_sessions = int(number.max() - number.min()) + 1 if number.size else 0
    n_found = np.unique(number).size
    return Inference(calendar, len(times), int((~on).sum()), n_sessions, n_found, doubt)


@dataclass(frozen=True)
class SeriesDays:
    """Days on which series have rows, series after series. A series is named by its position.

    Attributes
    ----------
    day : ndarray of int32, shape (n_rows,)
        Days since 1970, rising within each series.
    starts, ends : ndarray of int64, shape (n_series,)
        The first row of each series, and the one after its last.
    """

    day: np.ndarray
    starts: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, keys: pl.DataFrame) -> SeriesDays:
        """Return the days of a frame sorted by `series_id` and `time`, a Date.

        Parameters
        ----------
        keys : polars.DataFrame
        """
        starts = series_starts(keys)
        day = keys["time"].to_physical().to_numpy()
        return cls(day, starts, np.append(starts[1:], len(keys)))

    @property
    def n_rows(self) -> np.ndarray:
        """Rows of each series, int64 of shape (n_series,)."""
        return self.ends - self.starts

    @property
    def first(self) -> np.ndarray:
        """The first day of each series, int64 of shape (n_series,)."""
        return self.day[self.starts].astype(np.int64)

    @property
    def last(self) -> np.ndarray:
        """The last day of each series, int64 of shape (n_series,)."""
        return self.day[self.ends - 1].astype(np.int64)

    def blocks(self) -> Iterator[tuple[slice, slice]]:
        """Yield places of some series at a time, and their rows: about `BLOCK`."""
        for rows in blocks_of(np.append(self.starts, self.ends[-1:]), BLOCK):
            begin, end = np.searchsorted(self.starts, (rows.start, rows.stop)).tolist()
            yield slice(begin, end), rows

    def days_of(self, series: int) -> np.ndarray:
        """Return the days of one series.

        Parameters
        ----------
        series : int
            Its place among the series.

        Returns
        -------
        ndarray of int32
            Days since 1970, in order.
        """
        return self.day[self.starts[series] : self.ends[series]]

    def subset(self, members: np.ndarray) -> SeriesDays:
        """Return the days of some series, in that order.

        Parameters
        ----------
        members : ndarray
            Places of the series.
        """
        if np.array_equal(members, np.arange(len(self.starts))):
            return self
        n_rows = self.n_rows[members]
        ends = np.cumsum(n_rows)
        starts = ends - n_rows
        rows = np.repeat(self.starts[members] - starts, n_rows) + np.arange(n_rows.sum())
        return SeriesDays(self.day[rows], starts, ends)


def as_dates(days: np.ndarray) -> pl.Series:
    """Return days since 1970 as a Series of Date named ``time``.

    Parameters
    ----------
    days : ndarray
        Days since 1970.
    """
    return pl.Series("time", days.astype(np.int32)).cast(pl.Date)
