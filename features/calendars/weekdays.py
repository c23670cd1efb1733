"""Days of the week in names of calendars: "FRI", "MON-FRI", "SUN-THU", "TUE,FRI"."""

from __future__ import annotations

import re
from collections.abc import Collection

import numpy as np

WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
WORKING = frozenset(range(5))
"""Monday to Friday; days of the week are counted from Monday, 0."""

_DAY = "(?:" + "|".join(WEEKDAYS) + ")"
DAYS = re.compile(rf"{_DAY}(?:-{_DAY})?(?:,{_DAY}(?:-{_DAY})?)*")
"""How days of the week are spelled."""


def parse_days(text: str) -> frozenset[int]:
    """Return the days of the week that match `DAYS`; a range may pass Sunday, as in "SAT-WED"."""
    days: set[int] = set()
    for part in text.split(","):
        first, last = (WEEKDAYS.index(day) for day in (part.split("-") * 2)[:2])
        days |= {(first + step) % 7 for step in range((last - first) % 7 + 1)}
    return frozenset(days)


def spell_days(days: Collection[int]) -> str:
    """Return the spelling of days of the week; `parse_days` reads it again."""
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
    """Return the day of the week, 0 for Monday, of days since 1970."""
    return (days + 3) % 7  # 1970 began on a Thursday
