"""Days, clock times and durations in names of calendars: "FRI", "SUN-THU", "09:30", "15m"; and their microseconds."""

from __future__ import annotations

import re
from collections.abc import Collection

import numpy as np
import polars as pl

MINUTE, HOUR, DAY = 60_000_000, 3_600_000_000, 86_400_000_000
"""Microseconds."""

UNITS = {"d": DAY, "h": HOUR, "m": MINUTE, "s": 1_000_000, "us": 1}
"""Microseconds of each unit of a duration."""

WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
WORKING = frozenset(range(5))
"""Monday to Friday; days of the week are counted from Monday, 0."""

_WEEKDAY = "(?:" + "|".join(WEEKDAYS) + ")"
DAYS = re.compile(rf"{_WEEKDAY}(?:-{_WEEKDAY})?(?:,{_WEEKDAY}(?:-{_WEEKDAY})?)*")
"""How days of the week are spelled."""


def parse_days(text: str) -> frozenset[int]:
    """Return the days of the week that match `DAYS`; a range may pass Sunday, as in "SAT-WED".

    Parameters
    ----------
    text : str
        Such as "MON-FRI" or "MON,WED".

    Returns
    -------
    set of int
        0 for Monday.
    """
    days: set[int] = set()
    for part in text.split(","):
        first, last = (WEEKDAYS.index(day) for day in (part.split("-") * 2)[:2])
        days |= {(first + step) % 7 for step in range((last - first) % 7 + 1)}
    return frozenset(days)


def spell_days(days: Collection[int]) -> str:
    """Return the spelling of days of the week; `parse_days` reads it again.

    Parameters
    ----------
    days : collection of int
        0 for Monday.
    """
    if len(set(days)) == 7:
        return "MON-SUN"
    starts = sorted(day for day in days if (day - 1) % 7 not in days)
    parts = []
    for start in starts:
        last = start
        while (last + 1) % 7 in days:
            last = (last + 1) % 7
        parts.append(WEEKDAYS[start] if start == last else f"{WEEKDAYS[start]}-{WEEKDAYS[last]}")
    return ",".join(parts)


def weekday_of(days: np.ndarray) -> np.ndarray:
    """Return the day of the week, 0 for Monday, of days counted from 1 January 1970.

    Parameters
    ----------
    days : ndarray
        Days since 1970.
    """
    return (days + 3) % 7  # 1970 began on a Thursday


def parse_duration(text: str) -> int:
    """Return the microseconds of a duration such as "30m".

    Parameters
    ----------
    text : str
    """
    digits = text.rstrip("dhmsu")
    return int(digits) * UNITS[text[len(digits) :]]


def spell_duration(microseconds: int) -> str:
    """Return the spelling of a duration in its largest whole unit, such as "30m".

    Parameters
    ----------
    microseconds : int
    """
    unit, size = next((unit, size) for unit, size in UNITS.items() if microseconds % size == 0)
    return f"{microseconds // size}{unit}"


def parse_clock(text: str) -> int:
    """Return the microseconds from midnight to a time such as "09:30".

    Parameters
    ----------
    text : str
    """
    hours, minutes = text.split(":")
    return int(hours) * HOUR + int(minutes) * MINUTE


def spell_clock(microseconds: int) -> str:
    """Return the time of day, such as "09:30", that many microseconds after a midnight.

    Parameters
    ----------
    microseconds : int
    """
    minutes = microseconds % DAY // MINUTE
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def microseconds_of(times: pl.Series) -> np.ndarray:
    """Return times as microseconds since 1970, int64; 0 where a time is missing.

    Parameters
    ----------
    times : Series of Date or Datetime
    """
    return times.cast(pl.Datetime("us")).to_physical().fill_null(0).to_numpy()
