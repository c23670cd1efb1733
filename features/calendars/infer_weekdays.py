"""Infer the days of the week on which series have rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tidecast.features.calendars.by_name import get_calendar
from tidecast.features.calendars.inference import Inference, SeriesDays
from tidecast.features.calendars.spelling import WEEKDAYS, WORKING, spell_days, weekday_of

USUAL, RARE = 0.5, 0.1
"""A day of the week is a session when at least the first share of its dates have a row, and is not one when at most
the second share have."""

RECENT = 56
"""Days at the end of a series that show whether its week has changed."""


def infer_weekdays(
    days: SeriesDays, members: np.ndarray, irregular: np.ndarray
) -> Iterator[tuple[list[int], Inference]]:
    """Yield the series that have rows on the same days of the week, and the calendar of those days.

    Parameters
    ----------
    days : SeriesDays
    members : ndarray of int64
        The series to look at.
    irregular : ndarray of bool, shape (n_series,)
        Whether the rows of a series are far apart without a period.

    Yields
    ------
    list of int, Inference
    """
    if not members.size:
        return
    irregular, chosen = irregular[members], days.subset(members)
    ever = _Frequency.since(chosen, chosen.first)
    recent = _Frequency.since(chosen, np.maximum(chosen.first, chosen.last - RECENT + 1))
    is_session, doubtful = _decide(ever, recent)
    has_weekends = ever.rows[irregular, 5:].sum(axis=1, keepdims=True) > 1
    is_session[irregular] = np.where(has_weekends, True, np.arange(7) < 5)
    pattern = is_session @ (1 << np.arange(7)) + 128 * irregular
    for value in np.unique(pattern):
        same = pattern == value
        week = np.flatnonzero(is_session[same][0])
        found = _infer(week, ever.of(same), doubtful[same].any(axis=0), irregular=bool(value >= 128))
        yield members[same].tolist(), found


@dataclass(frozen=True)
class _Frequency:
    """How often series have a row on each day of the week.

    Attributes
    ----------
    rows, dates : ndarray of int64, shape (n_series, 7)
        Rows on each day of the week, and dates that are that day of the week.
    """

    rows: np.ndarray
    dates: np.ndarray

    @classmethod
    def since(cls, days: SeriesDays, begin: np.ndarray) -> _Frequency:
        """Return that from a day of each series to its last one."""
        rows = np.zeros((begin.size, 7), np.int64)
        for some, at in days.blocks():
            series = np.repeat(np.arange(some.stop - some.start), days.n_rows[some])
            later = days.day[at] >= begin[some][series]
            which = series[later] * 7 + weekday_of(days.day[at][later])
            rows[some] = np.bincount(which, minlength=7 * (some.stop - some.start)).reshape(-1, 7)
        until_first = (np.arange(7) - weekday_of(begin)[:, None]) % 7
        return cls(rows, np.maximum((days.last - begin)[:, None] - until_first + 7, 0) // 7)

    def of(self, members: np.ndarray) -> _Frequency:
        """Return that of some series."""
        return _Frequency(self.rows[members], self.dates[members])

    @property
    def share(self) -> np.ndarray:
        """Share of the dates that have a row, relative to the day of the week with most."""
        share = np.divide(self.rows, self.dates, out=np.zeros(self.rows.shape), where=self.dates > 0)
        return share / np.maximum(share.max(axis=1, keepdims=True), 1e-9)


def _decide(ever: _Frequency, recent: _Frequency) -> tuple[np.ndarray, np.ndarray]:
    """Return whether each day of the week is a session of each series, and whether that is in doubt.

    Both of shape (n_series, 7). Monday to Friday are sessions unless they rarely have a row; Saturday and Sunday are
    sessions only when they usually have one.
    """
    share, working = ever.share, np.arange(7) < 5
    usual, rare = share >= USUAL, share < RARE
    began_lately = (recent.share >= USUAL) & (recent.rows >= 4)
    ended_lately = (recent.dates >= 8) & (recent.rows == 0) & (ever.rows > 2)
    whole_weekend = usual[:, 5:].all(axis=1, keepdims=True) & (ever.rows[:, 5:].sum(axis=1, keepdims=True) > 1)
    weekend_opens = (usual & ((ever.rows > 2) | whole_weekend)) | ((share > RARE) & (ever.rows > 2)) | began_lately
    working_closes = rare & (ever.dates >= 4) & ~began_lately
    is_session = np.where(working, ~working_closes, weekend_opens)
    sometimes = ~usual & np.where(working, ~rare & (ever.dates >= 4), weekend_opens)
    return is_session, is_session & (sometimes | ended_lately | (began_lately & ~usual))


def _infer(week: np.ndarray, frequency: _Frequency, doubtful: np.ndarray, irregular: bool) -> Inference:
    """Return how well a week fits series, and why it may be another one."""
    days = frozenset(week.tolist())
    rows, dates = frequency.rows.sum(axis=0), frequency.dates.sum(axis=0)
    n_rows, n_found, n_sessions = int(rows.sum()), int(rows[week].sum()), int(dates[week].sum())
    doubt = _doubt(days, doubtful, rows, dates)
    if irregular:
        doubt = f"only {n_found / max(n_sessions, 1):.0%} of its sessions have a row, at irregular distances"
    calendar = get_calendar(f"daily {spell_days(days)}")
    return Inference(calendar, n_rows, n_rows - n_found, n_sessions, n_found, doubt)


def _doubt(week: frozenset[int], doubtful: np.ndarray, rows: np.ndarray, dates: np.ndarray) -> str:
    if doubtful.any():
        day = int(np.flatnonzero(doubtful)[0])
        return (
            f"{WEEKDAYS[day]} has a row in {rows[day]} of {dates[day]} weeks: it may be a session only sometimes, only "
            "recently, or no longer"
        )
    if week <= WORKING or len(week) == 7:
        return ""
    return (
        f"its days are {spell_days(week)}: either the market trades on them, or the times are in another time zone "
        "(such as midnights in Tokyo, written in UTC)"
    )
