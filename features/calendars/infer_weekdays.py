"""Infer the days of the week on which series have rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tidecast.features.calendars.base import get_calendar
from tidecast.features.calendars.fit import Inference
from tidecast.features.calendars.weekdays import WEEKDAYS, WORKING, spell_days, weekday_of

FEW = 8
"""A series with fewer rows, or of less than a week, has the calendar of most others where its rows fit that."""

USUAL, RARE = 0.5, 0.1
"""A day of the week with at least the first share of its rows is a session, with at most the second it is not."""

RECENT = 56
"""Days at the end of a series that show whether its week has changed."""


def of_week(
    day: np.ndarray, starts: np.ndarray, ends: np.ndarray, members: np.ndarray, irregular: np.ndarray
) -> Iterator[tuple[list[int], Inference]]:
    """Yield series that share the same days of the week, and what was inferred for them.

    Parameters
    ----------
    day : ndarray of int64
        Days since 1970, series after series, rising in each.
    starts, ends : ndarray of int64
        First row of each series, and the one after its last.
    members : ndarray of int64
        The series that are looked at.
    irregular : ndarray of bool
        Series whose rows are far apart without a period.
    """
    if not members.size:
        return
    length = ends[members] - starts[members]
    rows = np.repeat(starts[members] - np.append(0, np.cumsum(length)[:-1]), length) + np.arange(length.sum())
    code = np.repeat(np.arange(members.size), length)
    counts, passed = _counts(day[rows], code, day[starts[members]], day[ends[members] - 1])
    begin = np.maximum(day[starts[members]], day[ends[members] - 1] - RECENT + 1)
    late = day[rows] >= begin[code]
    recent, recent_passed = _counts(day[rows][late], code[late], begin, day[ends[members] - 1])
    is_session, doubtful = _decide(counts, passed, recent, recent_passed)
    loose = irregular[members]
    is_session[loose] = np.where(counts[loose, 5:].sum(axis=1, keepdims=True) > 1, True, np.arange(7) < 5)
    key = is_session @ (1 << np.arange(7)) + 128 * loose
    for pattern in np.unique(key):
        same = key == pattern
        days = is_session[same][0]
        inside = int(counts[same][:, days].sum())
        week = frozenset(int(at) for at in np.flatnonzero(days))
        calendar = get_calendar(f"daily {spell_days(week)}")
        n_rows, n_sessions = int(counts[same].sum()), int(passed[same][:, days].sum())
        doubt = _doubt(week, doubtful[same].any(axis=0), counts[same].sum(axis=0), passed[same].sum(axis=0))
        if pattern >= 128:
            doubt = f"only {inside / max(n_sessions, 1):.0%} of its sessions have a row, in no regular distance"
        yield (
            [int(at) for at in members[same]],
            Inference(calendar, n_rows, n_rows - inside, n_sessions, inside, doubt),
        )


def _counts(day: np.ndarray, code: np.ndarray, first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows on each day of the week, and how often that day passed, each of shape (n_series, 7)."""
    counts = np.bincount(code * 7 + weekday_of(day), minlength=7 * first.size).reshape(-1, 7)
    offset = (np.arange(7) - weekday_of(first)[:, None]) % 7
    return counts, np.maximum((last - first)[:, None] - offset + 7, 0) // 7


def _decide(
    counts: np.ndarray, passed: np.ndarray, recent: np.ndarray, recent_passed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Whether each day of the week is a session of each series, and whether that is in doubt; shape (n_series, 7)."""
    share = _relative(counts, passed)
    lately = _relative(recent, recent_passed)
    working = np.arange(7) < 5
    weekend = (share[:, 5:] >= USUAL).all(axis=1, keepdims=True) & (counts[:, 5:].sum(axis=1, keepdims=True) > 1)
    begun = (lately >= USUAL) & (recent >= 4)
    free = (share >= USUAL) & ((counts > 2) | weekend) | ((share > RARE) & (counts > 2)) | begun
    closed = (share < RARE) & (passed >= 4) & ~begun
    is_session = np.where(working, ~closed, free)
    ended = (recent_passed >= 8) & (recent == 0) & (counts > 2)
    unsure = np.where(working, (share < USUAL) & (share >= RARE) & (passed >= 4), (share < USUAL) & free)
    return is_session, is_session & (unsure | ended | (begun & (share < USUAL)))


def _relative(counts: np.ndarray, passed: np.ndarray) -> np.ndarray:
    """Share of each day of the week that has a row, relative to the day with most."""
    share = np.divide(counts, passed, out=np.zeros(counts.shape), where=passed > 0)
    return share / np.maximum(share.max(axis=1, keepdims=True), 1e-9)


def _doubt(week: frozenset[int], doubtful: np.ndarray, counts: np.ndarray, passed: np.ndarray) -> str:
    if doubtful.any():
        at = int(np.flatnonzero(doubtful)[0])
        return (
            f"{WEEKDAYS[at]} has a row in {counts[at]} of {passed[at]} weeks: sometimes a session, or no longer, or "
            "only since lately"
        )
    if week <= WORKING or len(week) == 7:
        return ""
    return (
        f"its days are {spell_days(week)}: the market trades on them, or the times are those of another zone (such as "
        "midnights of Tokyo that are written in UTC)"
    )
