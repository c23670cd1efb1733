"""Calendars of weeks, months, quarters and years: one session in each."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import date

import numpy as np
import polars as pl

from tidecast.features.calendars.base import Calendar
from tidecast.features.calendars.daily import DailyCalendar, Hours, all_days, every_day, weekdays
from tidecast.features.calendars.spelling import DAYS, WEEKDAYS, WORKING, parse_days, spell_days, weekday_of

PREFIXES = ("daily ", "weekly", "biweekly", "monthly", "quarterly", "halfyearly", "yearly")
"""Names of such calendars begin with one of these."""

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
MONTHS_OF = {"monthly": 1, "quarterly": 3, "halfyearly": 6, "yearly": 12}
ORDINALS = {"first": 0, "second": 1, "third": 2, "fourth": 3, "last": -1}

_ORDINAL = rf"{'|'.join(ORDINALS)}|[1-9]|1\d|2[0-8]"
_PERIOD = re.compile(rf"({'|'.join(MONTHS_OF)})(?:-({'|'.join(MONTHS)}))? ({_ORDINAL})(?: (.+))?")
_WEEKLY = re.compile(rf"weekly (?:({'|'.join(WEEKDAYS)})|(first|last) (\S+))")
_BIWEEKLY = re.compile(r"biweekly (\d{4}-\d{2}-\d{2})")

SPELLING = (
    "A calendar of periods is spelled like 'weekly FRI', 'weekly last XNYS', 'biweekly 2024-01-05', 'monthly last', "
    "'monthly first weekday', 'monthly third FRI', 'monthly 15', 'quarterly last XNYS', 'quarterly-JAN last' (quarters "
    "that end in January, April, July and October), 'halfyearly last', 'yearly-JUN last' or 'daily SUN-THU'"
)


CalendarOf = Callable[[str], Calendar]
"""Returns the calendar of a name, such as the "XNYS" of "weekly last XNYS"."""


def parse_periodic(name: str, calendar_of: CalendarOf) -> DailyCalendar:
    """Return the calendar of that name, see `get_calendar`.

    Parameters
    ----------
    name : str
    calendar_of : callable
        Returns the calendar of a name within `name`.

    Raises
    ------
    ValueError
        For a name that is spelled otherwise.
    """
    if name.startswith("daily ") and DAYS.fullmatch(name[6:]):
        return _days_of_week(parse_days(name[6:]))
    if match := _WEEKLY.fullmatch(name):
        return _weekly(name, match[1], match[2], match[3], calendar_of)
    if match := _BIWEEKLY.fullmatch(name):
        return _biweekly(match[1])
    match = _PERIOD.fullmatch(name)
    if match is None or (match[2] and match[1] == "monthly") or (match[3].isdigit() and match[1] != "monthly"):
        raise ValueError(f"{SPELLING}, got {name!r}.")
    return _of_months(name, match[1], match[2], match[3], match[4], calendar_of)


def is_of_periods(calendar: Calendar) -> bool:
    """Whether a calendar has one session in each week, month or longer period.

    Parameters
    ----------
    calendar : Calendar
    """
    return calendar.name.startswith(PREFIXES[1:]) and "|" not in calendar.name


def period_name(period: str, ordinal: str, of: str | None = None, ending: int = 12) -> str:
    """Return the name of a calendar of months.

    Parameters
    ----------
    period : str
        A key of `MONTHS_OF`.
    ordinal : str
        "first", "last", … or a day of the month.
    of : str, optional
        Days that are counted: "weekday", a day of the week, or a calendar of days. None: every day.
    ending : int, default=12
        A month in which periods end, 1 to 12.
    """
    last = (ending - 1) % MONTHS_OF[period]
    suffix = "" if last == MONTHS_OF[period] - 1 else f"-{MONTHS[last]}"
    return f"{period}{suffix} {ordinal}" + (f" {of}" if of else "")


def _days_of_week(days: frozenset[int]) -> DailyCalendar:
    """Return the calendar of these days of each week."""
    if len(days) == 7:
        return every_day()
    if days == WORKING:
        return weekdays()
    open_days = np.isin(weekday_of(all_days().astype(np.int64)), list(days))
    return DailyCalendar(f"daily {spell_days(days)}", open_days)


def _weekly(name: str, weekday: str | None, ordinal: str, of: str, calendar_of: CalendarOf) -> DailyCalendar:
    """Return the calendar of one day of each week."""
    days = all_days().astype(np.int64)
    if weekday:
        return DailyCalendar(name, weekday_of(days) == WEEKDAYS.index(weekday))
    candidate, base = _candidates(of, name, calendar_of)
    return _one_each(name, (days + 3) // 7, candidate, ORDINALS[ordinal], base)


def _biweekly(text: str) -> DailyCalendar:
    """Return every second week from that day on, and before; named by its first session since 2000."""
    try:
        anchor = int(np.datetime64(date.fromisoformat(text), "D").astype(np.int64))
    except ValueError:
        raise ValueError(f"{SPELLING}, got 'biweekly {text}', which is not a date.") from None
    start = int(np.datetime64("2000-01-01", "D").astype(np.int64))
    first = start + (anchor - start) % 14
    days = all_days().astype(np.int64)
    return DailyCalendar(f"biweekly {np.datetime64(first, 'D')}", days % 14 == anchor % 14)


def _of_months(
    name: str, period: str, ending: str | None, ordinal: str, of: str | None, calendar_of: CalendarOf
) -> DailyCalendar:
    """Return the calendar of one day of each month, quarter, half-year or year."""
    candidate, base = _candidates(of, name, calendar_of)
    months = all_days().astype("datetime64[M]").astype(np.int64)
    length, last = MONTHS_OF[period], MONTHS.index(ending or "DEC")
    name = period_name(period, ordinal, of, last + 1)
    number = (months - last - 1) // length
    if ordinal.isdigit():
        return _one_each(name, number, candidate & (_day_of_month() >= int(ordinal)), 0, base)
    return _one_each(name, number, candidate, ORDINALS[ordinal], base)


def _candidates(of: str | None, name: str, calendar_of: CalendarOf) -> tuple[np.ndarray, DailyCalendar | None]:
    """Return whether each day is counted, and the calendar whose sessions are counted."""
    days = all_days()
    if of is None:
        return np.ones(days.size, dtype=bool), None
    if of == "weekday":
        return np.is_busday(days), None
    if of in WEEKDAYS:
        return weekday_of(days.astype(np.int64)) == WEEKDAYS.index(of), None
    try:
        base = calendar_of(of)
    except ValueError as error:
        raise ValueError(f"{SPELLING}, got {name!r}. {error}") from None
    if not isinstance(base, DailyCalendar):
        raise ValueError(f"Periods need a calendar of days, got {of!r} in {name!r}.")
    return np.isin(days, base.dates), base


def _one_each(
    name: str, period: np.ndarray, candidate: np.ndarray, ordinal: int, base: DailyCalendar | None
) -> DailyCalendar:
    """Return the calendar of one candidate day in each period; arguments by day, `ordinal` is -1 for the last."""
    at = np.flatnonzero(candidate)
    begins = np.flatnonzero(np.diff(period[at], prepend=period[at[0]] - 1))
    ends = np.append(begins[1:], at.size)
    chosen = ends - 1 if ordinal < 0 else (begins + ordinal)[begins + ordinal < ends]
    is_session = np.zeros(period.size, dtype=bool)
    is_session[at[chosen]] = True
    if base is None:
        return DailyCalendar(name, is_session)
    return DailyCalendar(name, is_session, base.time_zone, _hours_of(base) if base.has_hours else None)


def _hours_of(base: DailyCalendar) -> Callable[[DailyCalendar], Hours]:
    """Return a function that picks the opening hours of `base` for a calendar with some of its sessions."""

    def hours(calendar: DailyCalendar) -> Hours:
        whole, at = base.hours, base.numbers(pl.Series(calendar.dates))
        assert whole is not None
        return replace(whole, **{field.name: getattr(whole, field.name)[at] for field in fields(whole)})

    return hours


def _day_of_month() -> np.ndarray:
    days = all_days()
    return (days - days.astype("datetime64[M]")).astype(np.int64) + 1
