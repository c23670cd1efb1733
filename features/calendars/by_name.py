"""Calendars by name: parse a name and build its calendar."""

from __future__ import annotations

import copyreg
from collections.abc import Callable
from functools import cache

from tidecast.features.calendars.bars_in_hours import BARS_IN_HOURS, BarsInHours, parse_bars_in_hours
from tidecast.features.calendars.base import Calendar
from tidecast.features.calendars.daily import AnyOf, DailyCalendar, every_day, weekdays
from tidecast.features.calendars.intraday import EXCHANGE_BARS, ExchangeBars, RegularCalendar, parse_regular
from tidecast.features.calendars.periodic import PREFIXES, parse_periodic
from tidecast.features.calendars.spelling import DAY, parse_duration


@cache
def get_calendar(name: str) -> Calendar:
    """Return the calendar of that name.

    Parameters
    ----------
    name : str
        "weekdays", "24/7" (every day), "TARGET" (euro payments, the days of the ECB's rates) or a name that
        exchange_calendars knows ("XNYS", "XTKS", …); days that are a session of at least one of several calendars:
        "XNYS | XTKS"; days of the week: "daily SUN-THU", "daily TUE,FRI".
        One day a week, month, quarter, half-year or year: "weekly FRI", "biweekly 2024-01-05" (every second week from
        that day), "monthly last", "monthly 15", "quarterly first weekday" (Monday to Friday), "monthly third FRI",
        "weekly last XNYS" (the exchange's last session of the week), "yearly last TARGET". Periods that end in another
        month: "quarterly-JAN last" (January, April, July, October), "yearly-JUN last".
        Bars within the day, each named by the instant (UTC) at which it ends: equal steps around the clock ("every
        1h", "every 30m + 15m"), bars within hours of the day ("every 1h 09:30-15:30 MON-FRI in America/New_York"; with
        a lunch break "every 30m 09:30-11:30,13:00-15:00 MON-FRI in Asia/Tokyo"), or bars inside the sessions of an
        exchange ("XNYS 30m", "XTKS 1h").

    Returns
    -------
    Calendar
        The same object for the same name.

    Raises
    ------
    ValueError
        For an unknown name, with the nearest known one.

    Notes
    -----
    Outside the years for which an exchange's holidays are recorded (at most 1950 to 2150) every weekday is a session.

    Examples
    --------
    >>> from datetime import date
    >>> get_calendar("TARGET").at_or_before(date(2024, 4, 1))  # Easter Monday
    datetime.date(2024, 3, 28)
    """
    if "|" in name:
        return _any_of(name)
    if name.startswith("every "):
        return parse_bars_in_hours(name) if BARS_IN_HOURS.fullmatch(name) else parse_regular(name)
    if name.startswith(PREFIXES):
        return parse_periodic(name, get_calendar)
    if EXCHANGE_BARS.fullmatch(name):
        return _exchange_bars(name)
    return _days(name)


def _any_of(name: str) -> AnyOf:
    """Return the days of several calendars, as in "XNYS | XTKS"."""
    parts = [get_calendar(part.strip()) for part in name.split("|")]
    of_days = [part for part in parts if isinstance(part, DailyCalendar)]
    if len(of_days) < len(parts):
        raise ValueError(f"Only calendars of days can be joined by '|', got {name!r}.")
    return AnyOf(name, of_days)


def _exchange_bars(name: str) -> ExchangeBars:
    """Return the bars of an exchange, as in "XNYS 30m"."""
    exchange, duration = name.split(" ")
    days, step = _days(exchange), parse_duration(duration)
    if not 0 < step < DAY:
        raise ValueError(f"Bars of an exchange are spelled like 'XNYS 30m', and shorter than a day, got {name!r}.")
    return ExchangeBars(days, step)


@cache
def _days(name: str) -> DailyCalendar:
    """Return a calendar of days whose name is a single word."""
    if name in _PLAIN:
        return _PLAIN[name]()
    from tidecast.features.calendars.exchanges import exchange  # pandas and exchange_calendars load for half a second

    return exchange(name)


_PLAIN: dict[str, Callable[[], DailyCalendar]] = {"weekdays": weekdays, "24/7": every_day}


def _by_name(calendar: Calendar) -> tuple[Callable[[str], Calendar], tuple[str]]:
    return get_calendar, (calendar.name,)


_KINDS: tuple[type[Calendar], ...] = (DailyCalendar, AnyOf, RegularCalendar, ExchangeBars, BarsInHours)
for _kind in _KINDS:
    copyreg.pickle(_kind, _by_name)  # a pickle holds the name of a calendar, not its 146,000 days
