"""Calendars of equal bars within hours of the day or of the week, such as "every 1h 09:30-15:30 MON-FRI"."""

from __future__ import annotations

import re

import numpy as np
import polars as pl

from tidecast.features.calendars.daily import Hours, all_days
from tidecast.features.calendars.intraday import SessionBars
from tidecast.features.calendars.spelling import (
    DAY,
    DAYS,
    WEEKDAYS,
    parse_clock,
    parse_days,
    parse_duration,
    spell_clock,
    spell_days,
    spell_duration,
    weekday_of,
)

_CLOCK = r"(?:[01]\d|2[0-3]):[0-5]\d"
_WEEKDAY = "|".join(WEEKDAYS)
_LUNCH = rf"-(?P<lunch>{_CLOCK}),(?P<resume>{_CLOCK})"
_OF_DAY = rf"(?P<first>{_CLOCK})(?:{_LUNCH})?-(?P<last>{_CLOCK}) (?P<days>{DAYS.pattern})"
_OF_WEEK = rf"(?P<day>{_WEEKDAY}) (?P<begin>{_CLOCK})-(?P<last_day>{_WEEKDAY}) (?P<end>{_CLOCK})"
BARS_IN_HOURS = re.compile(rf"every (?P<step>\d+[hms]) (?:{_OF_DAY}|{_OF_WEEK})(?: in (?P<zone>\S+))?")
"""Spelling of such bars: the first and the last bar of a day (and those before and after lunch) and the days, or the
first and the last bar of a week."""


class BarsInHours(SessionBars):
    """Bars of equal length between two times of the day on some days, or between two times of the week.

    Bars of a day may pause once, as for lunch.

    Parameters
    ----------
    step : int
        Length of a bar in microseconds.
    first, last : int
        Ends of the first and the last bar, in microseconds since midnight of the day on which the first one lies.
    days : frozenset of int
        Days of the week on which a first bar lies, 0 for Monday; one day where the last bar lies on a later day.
    zone : str, default="UTC"
        Time zone of the clock that `first` and `last` are read on.
    lunch : tuple of int, optional
        Ends of the last bar before the pause and of the first one after it, in microseconds since midnight.

    Raises
    ------
    ValueError
        For an unknown zone.
    """

    def __init__(
        self, step: int, first: int, last: int, days: frozenset[int], zone: str = "UTC",
        lunch: tuple[int, int] | None = None,
    ) -> None:  # fmt: skip
        starts = all_days().astype(np.int64)
        starts = starts[np.isin(weekday_of(starts), list(days))] * DAY
        opens, closes = _instants(starts + first - step, zone), _instants(starts + last, zone)
        breaks = resumes = opens
        if lunch is not None:
            breaks, resumes = _instants(starts + lunch[0], zone), _instants(starts + lunch[1] - step, zone)
        hours = Hours(opens, closes, breaks, resumes, np.zeros(opens.size, dtype=bool))
        super().__init__(bars_name(step, first, last, days, zone, lunch), hours, step, zone)


def bars_name(
    step: int, first: int, last: int, days: frozenset[int], zone: str = "UTC", lunch: tuple[int, int] | None = None
) -> str:
    """Return the name of the calendar of these bars; parameters are those of `BarsInHours`.

    Parameters
    ----------
    step : int
        Microseconds from one bar to the next.
    first, last : int
        Ends of the first and the last bar, microseconds after local midnight of the first day.
    days : set of int
        Days of the week, 0 for Monday.
    zone : str, default="UTC"
        Time zone of the hours.
    lunch : tuple of int, optional
        Ends of the last bar before and of the first bar after a lunch break, as `first`.
    """
    if last < DAY:
        pause = f"-{spell_clock(lunch[0])},{spell_clock(lunch[1])}" if lunch is not None else ""
        hours = f"{spell_clock(first)}{pause}-{spell_clock(last)} {spell_days(days)}"
    else:
        (day,) = days
        last_day = WEEKDAYS[(day + last // DAY) % 7]
        hours = f"{WEEKDAYS[day]} {spell_clock(first)}-{last_day} {spell_clock(last)}"
    return f"every {spell_duration(step)} {hours}" + ("" if zone == "UTC" else f" in {zone}")


def parse_bars_in_hours(name: str) -> BarsInHours:
    """Return the calendar of that name, see `get_calendar`.

    Parameters
    ----------
    name : str
        Such as "every 1h 09:30-15:30 MON-FRI".

    Raises
    ------
    ValueError
        For a name that is spelled otherwise, for bars that do not fill the time from the first to the last one, and
        for an unknown zone.
    """
    match = BARS_IN_HOURS.fullmatch(name)
    if match is None:
        raise ValueError(f"Bars within hours are spelled like 'every 1h 09:30-15:30 MON-FRI', got {name!r}.")
    step, lunch = parse_duration(match["step"]), None
    if match["days"]:
        days, first, last = parse_days(match["days"]), parse_clock(match["first"]), parse_clock(match["last"])
        longest = DAY
        if match["lunch"]:
            lunch = parse_clock(match["lunch"]), parse_clock(match["resume"])
    else:
        day, last_day = WEEKDAYS.index(match["day"]), WEEKDAYS.index(match["last_day"])
        days, first = frozenset({day}), parse_clock(match["begin"])
        last = parse_clock(match["end"]) + (last_day - day) % 7 * DAY
        longest = 7 * DAY
    parts = [(first, last)] if lunch is None else [(first, lunch[0]), (lunch[1], last)]
    filled = step > 0 and all(end >= begin and (end - begin) % step == 0 for begin, end in parts)
    if not filled or last - first + step > longest or (lunch is not None and lunch[1] - step <= lunch[0]):
        raise ValueError(
            "Bars within hours must fill the time from the end of the first to the end of the last, as in "
            "'every 1h 09:30-15:30 MON-FRI' or, with a lunch break, 'every 30m 09:30-11:30,13:00-15:00 MON-FRI', got "
            f"{name!r}."
        )
    return BarsInHours(step, first, last, days, match["zone"] or "UTC", lunch)


def _instants(wall: np.ndarray, zone: str) -> np.ndarray:
    """Return clock times of a zone as microseconds since 1970 in UTC; a time that the clock skips is an hour later."""
    if zone == "UTC":
        return wall
    local = pl.Series(wall).cast(pl.Datetime("us"))
    try:
        there = local.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
        later = local.dt.offset_by("1h").dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    except pl.exceptions.ComputeError:
        raise ValueError(f"A zone must be a name such as 'America/New_York', got {zone!r}.") from None
    return there.fill_null(later).to_physical().to_numpy()
