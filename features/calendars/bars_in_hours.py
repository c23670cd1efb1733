"""Calendars of equal bars within a part of the day or of the week, such as "every 1h 09:30-15:30 MON-FRI"."""

from __future__ import annotations

import re

import numpy as np
import polars as pl

from tidecast.features.calendars.daily import DAY, Hours, every_day
from tidecast.features.calendars.intraday import ExchangeBars, spell, unit_of
from tidecast.features.calendars.weekdays import DAYS, WEEKDAYS, parse_days, spell_days, weekday_of

_CLOCK = r"([01]\d|2[0-3]):([0-5]\d)"
_DAY = f"({'|'.join(WEEKDAYS)})"
STRETCHES = re.compile(
    rf"every (\d+)(h|m|s) (?:{_CLOCK}-{_CLOCK} ({DAYS.pattern})|{_DAY} {_CLOCK}-{_DAY} {_CLOCK})(?: in (\S+))?"
)
"""How such bars are spelled: the first and the last of a day and the days, or the first and the last of a week."""

MINUTE = 60_000_000


class StretchBars(ExchangeBars):
    """Bars of equal length between two times of the day on some days, or between two times of the week.

    Parameters
    ----------
    step : int
        Length of a bar in microseconds.
    first, last : int
        Ends of a stretch's first and last bar, in microseconds since the start of its first day.
    days : frozenset of int
        Days of the week on which a stretch begins, 0 for Monday.
    zone : str
        Zone of the clock that `first` and `last` are read on.
    """

    def __init__(self, step: int, first: int, last: int, days: frozenset[int], zone: str = "UTC") -> None:
        self.time_zone = zone
        where = "" if zone == "UTC" else f" in {zone}"
        if last < DAY:
            spelled = f"{_spell_clock(first)}-{_spell_clock(last)} {spell_days(days)}"
        else:
            (day,) = days
            end = WEEKDAYS[(day + last // DAY) % 7]
            spelled = f"{WEEKDAYS[day]} {_spell_clock(first)}-{end} {_spell_clock(last % DAY)}"
        name = f"every {spell(step)} {spelled}{where}"
        starts = every_day().astype(np.int64)
        starts = starts[np.isin(weekday_of(starts), list(days))] * DAY
        opens, closes = _instants(starts + first - step, zone), _instants(starts + last, zone)
        self._lay_out(name, Hours(opens, closes, opens, opens, np.zeros(opens.size, dtype=bool)), step)


def stretches(name: str) -> StretchBars:
    """Return the calendar of that name, see `get_calendar`.

    Raises
    ------
    ValueError
        For bars that do not fill the time between the first and the last, or for an unknown zone.
    """
    match = STRETCHES.fullmatch(name)
    if match is None:
        raise ValueError(f"Bars of a part of the day are spelled like 'every 1h 09:30-15:30 MON-FRI', got {name!r}.")
    count, unit, h1, m1, h2, m2, days, day1, h3, m3, day2, h4, m4, zone = match.groups()
    step, zone = int(count) * unit_of(unit), zone or "UTC"
    if days:
        begin, first, last = parse_days(days), _clock(h1, m1), _clock(h2, m2)
        longest = DAY
    else:
        begin, first, last = frozenset({WEEKDAYS.index(day1)}), _clock(h3, m3), _clock(h4, m4)
        last += (WEEKDAYS.index(day2) - WEEKDAYS.index(day1)) % 7 * DAY
        longest = 7 * DAY
    if step == 0 or last < first or (last - first) % step or last - first + step > longest:
        raise ValueError(
            "Bars of a part of the day must fill the time from the end of the first to the end of the last, as in "
            f"'every 1h 09:30-15:30 MON-FRI', got {name!r}."
        )
    return StretchBars(step, first, last, begin, zone)


def _clock(hours: str, minutes: str) -> int:
    return (int(hours) * 60 + int(minutes)) * MINUTE


def _spell_clock(time: int) -> str:
    return f"{time // MINUTE // 60:02d}:{time // MINUTE % 60:02d}"


def _instants(wall: np.ndarray, zone: str) -> np.ndarray:
    """Microseconds since 1970 in UTC, of clock times in a zone; a time that a clock skips is an hour later."""
    if zone == "UTC":
        return wall
    local = pl.Series(wall).cast(pl.Datetime("us"))
    try:
        there = local.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
        later = local.dt.offset_by("1h").dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    except pl.exceptions.ComputeError:
        raise ValueError(f"A zone must be a name such as 'America/New_York', got {zone!r}.") from None
    return there.fill_null(later).to_physical().to_numpy()
