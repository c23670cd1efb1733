"""Calendars of weeks, months and quarters: one day of each is a session."""

from __future__ import annotations

import re

import numpy as np
import polars as pl

from features.daily import DailyCalendar, every_day

WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
PERIODS = re.compile(rf"weekly ({'|'.join(WEEKDAYS)})|(monthly|quarterly) (first|last)( weekday)?")
"""How such calendars are spelled."""

SUGGESTED = (
    *(f"{period} {day}" for period in ("quarterly", "monthly") for day in ("first", "last", "last weekday")),
    *(f"weekly {day}" for day in WEEKDAYS),
)
"""Those that days may suggest, the rarer sessions first."""


def periodic(name: str) -> DailyCalendar:
    """The calendar of that name, see `get_calendar`."""
    match = PERIODS.fullmatch(name)
    if match is None:
        raise ValueError(
            "A calendar of periods is spelled like 'weekly FRI', 'monthly first', 'monthly last weekday' or "
            f"'quarterly last', got {name!r}."
        )
    weekday, period, edge, working = match.groups()
    days = every_day()
    if weekday:  # 1970 began on a Thursday
        return DailyCalendar(name, (days.astype(np.int64) + 3) % 7 == WEEKDAYS.index(weekday))
    at = np.flatnonzero(np.is_busday(days)) if working else np.arange(days.size)
    number = days[at].astype("datetime64[M]").astype(np.int64) // (3 if period == "quarterly" else 1)
    turns = np.flatnonzero(np.diff(number))  # the last days of a period
    is_session = np.zeros(days.size, dtype=bool)
    is_session[at[turns + 1] if edge == "first" else at[turns]] = True
    return DailyCalendar(name, is_session)


def suggested(distinct: pl.Series) -> str | None:
    """The calendar of periods of which sorted distinct dates are all sessions, if most are five days apart or more."""
    if len(distinct) < 3 or np.median(np.diff(distinct.to_physical().to_numpy())) < 5:
        return None
    return next((name for name in SUGGESTED if periodic(name).is_session(distinct).all()), None)
