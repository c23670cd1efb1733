"""Exchanges: their sessions and opening hours, from exchange_calendars.

exchange_calendars 4.13 uses features that pandas 3.1 deprecates, limits the years, and cannot build every exchange it
lists. Only this file deals with that.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import numpy as np
import pandas as pd
from exchange_calendars import ExchangeCalendar, get_calendar_names
from exchange_calendars import get_calendar as get_exchange

from tidecast.features.calendars.daily import DailyCalendar, Hours, all_days
from tidecast.features.calendars.euro_target import TargetCalendar
from tidecast.features.error_text import meant

RULES_FROM, RULES_TO = "1950-01-01", "2150-12-31"
"""Holidays of an exchange are known between these days, or within its own bounds if they are narrower; outside, every
weekday is a session."""


def exchange(name: str) -> DailyCalendar:
    """Return the calendar of an exchange, or of TARGET.

    Parameters
    ----------
    name : str
        As exchange_calendars spells it.

    Raises
    ------
    ValueError
        For an unknown name, with the nearest known one, and for an exchange that exchange_calendars cannot build.
    """
    known = ["weekdays", "TARGET", *get_calendar_names()]
    if name not in known:
        hint = meant(name, known)
        raise ValueError(
            "calendar must be 'weekdays', '24/7', 'TARGET', an exchange's code, a period such as 'weekly FRI' or "
            f"'monthly last', or bars such as 'XNYS 1h', got {name!r}.{hint}"
        )
    with _quirks(name):
        template = _build(name, "2024-01-01", "2024-12-31")  # any year: the rules hold for all
        start, end = _bounds(template)
        sessions = pd.date_range(start, end, freq=template.day).to_numpy().astype("datetime64[D]")
    days = all_days()
    ruled = (days >= np.datetime64(start, "D")) & (days <= np.datetime64(end, "D"))
    open_days = np.where(ruled, np.isin(days, sessions), np.is_busday(days))
    return DailyCalendar(template.name, open_days, template.tz.key, _hours)


def _hours(calendar: DailyCalendar) -> Hours:
    """Return the hours by the exchange's rules; where there are none, those of the first or last regular session."""
    with _quirks(calendar.name):
        template = _build(calendar.name, "2024-01-01", "2024-12-31")
        start, end = (f"{day:%Y-%m-%d}" for day in _bounds(template))
        built = _build(calendar.name, start, end)
    dates = calendar.dates
    columns = {name: pd.DatetimeIndex(instants).as_unit("us").asi8 for name, instants in built.schedule.items()}
    for lunch in ("break_start", "break_end"):
        columns[lunch] = np.where(columns[lunch] < columns["open"], columns["open"], columns[lunch])
    inside = (dates >= np.datetime64(start, "D")) & (dates <= np.datetime64(end, "D"))
    before, after = dates[dates < np.datetime64(start, "D")], dates[dates > np.datetime64(end, "D")]
    early = np.isin(dates, built.early_closes.to_numpy().astype("datetime64[D]"))
    early_inside = early[inside]
    regular = np.flatnonzero(~early_inside)
    opens, breaks, resumes, closes = (
        np.concatenate(
            [
                _at_hour_of(values[regular[0]], dates[inside][regular[0]], before, calendar.time_zone),
                values,
                _at_hour_of(values[regular[-1]], dates[inside][regular[-1]], after, calendar.time_zone),
            ]
        )
        for values in (columns[name] for name in ("open", "break_start", "break_end", "close"))
    )
    return Hours(opens, closes, breaks, resumes, half_day=early)


def _at_hour_of(instant: int, day: np.datetime64, dates: np.ndarray, zone: str) -> np.ndarray:
    """Return the clock time of an instant on other days; microseconds since 1970, UTC."""
    clock = pd.Timestamp(instant, unit="us", tz="UTC").tz_convert(zone).tz_localize(None) - pd.Timestamp(day)
    wall = pd.DatetimeIndex(dates.astype("datetime64[us]")) + clock
    local = wall.tz_localize(zone, ambiguous=True, nonexistent=timedelta(hours=1))
    return local.tz_convert("UTC").as_unit("us").asi8


def _build(name: str, start: str, end: str) -> ExchangeCalendar:
    return TargetCalendar(start=start, end=end) if name == "TARGET" else get_exchange(name, start=start, end=end)


def _bounds(template: ExchangeCalendar) -> tuple[pd.Timestamp, pd.Timestamp]:
    start = max(pd.Timestamp(RULES_FROM), template.bound_min() or pd.Timestamp.min)
    end = min(pd.Timestamp(RULES_TO), template.bound_max() or pd.Timestamp.max)
    return start, end


@contextmanager
def _quirks(name: str) -> Iterator[None]:
    """Silence warnings of pandas, and explain why a calendar cannot be built, as XTAE and ASEX with pandas 3."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except Exception as error:
            what = f"{type(error).__name__}: {str(error)[:80]}"
            raise ValueError(
                f"exchange_calendars must know the sessions of {name!r}, but cannot build them here ({what}). Name the "
                "days of the week on which it trades, such as 'daily SUN-THU' for Tel Aviv up to 2025, or 'weekdays' "
                "for Athens: its holidays are then sessions without a price."
            ) from error
