"""Calendars by name: sessions as consecutive integers, and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import date
from functools import cache
from typing import Any

import numpy as np
import polars as pl

from tidecast.features.error_text import shorten

CLOSING = pl.Datetime("us", "UTC")


class Calendar(ABC):
    """Sessions as integers, both ways: step *k* of a forecast is session number (origin + *k*).

    Attributes
    ----------
    name : str
        ``get_calendar(name)`` gives this calendar again.
    time_zone : str
        The market's own zone.
    intraday : bool
        Whether sessions are bars within a day, named by the instant (UTC) at which they end, rather than days.
    """

    name: str
    time_zone: str = "UTC"
    intraday: bool = False

    @abstractmethod
    def numbers(self, times: pl.Series) -> np.ndarray:
        """Session numbers, int64 of shape (n_times,); consecutive sessions differ by 1, whatever is asked beside them.

        Raises
        ------
        ValueError
            Naming the first times that are no sessions.
        """

    @abstractmethod
    def is_session(self, times: pl.Series) -> np.ndarray:
        """Whether each time is a session, bool of shape (n_times,)."""

    @abstractmethod
    def times(self, numbers: np.ndarray) -> pl.Series:
        """The sessions with these numbers: Date, or Datetime for an intraday calendar."""

    @abstractmethod
    def at_or_before(self, day: date) -> date:
        """The session at or before the end of that day (intraday: or at or before that datetime)."""

    @abstractmethod
    def closes(self, times: pl.Series) -> pl.Series:
        """The instant at which each session closes and its price can be known, Datetime in UTC.

        Raises
        ------
        ValueError
            Naming the first times that are no sessions.
        """

    @property
    def market_zone(self) -> str | None:
        """Zone of the one market whose sessions these are; None for days of no market in particular."""
        return None

    def is_half_day(self, times: pl.Series) -> np.ndarray:
        """Whether each session closes earlier than usual, bool of shape (n_times,); False for bars within a day."""
        return np.zeros(len(times), dtype=bool)

    def number_at(self, day: date) -> int:
        """Number of the session `at_or_before` that day or datetime."""
        kind = pl.Datetime("us") if self.intraday else pl.Date()
        return int(self.numbers(pl.Series([self.at_or_before(day)], dtype=kind))[0])

    def __repr__(self) -> str:
        return f"<Calendar {self.name!r}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Calendar) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __reduce__(self) -> tuple[Any, ...]:
        return get_calendar, (self.name,)

    def _refuse(self, outside: pl.Series) -> None:
        found = shorten([str(value) for value in outside.unique(maintain_order=True)])
        advice = "Drop these rows"
        if self.intraday:
            advice = "Bars are named by the instant at which they end, in UTC: shift these rows, drop them"
        raise ValueError(
            f"Every time must be a session of the calendar {self.name!r}, found {found}. "
            f"{advice}, or name another calendar."
        )


@cache
def get_calendar(name: str) -> Calendar:
    """The calendar of that name.

    Parameters
    ----------
    name : str
        "weekdays", "24/7" (every day), "TARGET" (euro payments, the days of the ECB's rates) or a name that
        exchange_calendars knows ("XNYS", "XTKS", …); days that are a session of one of several: "XNYS | XTKS";
        days of the week: "daily SUN-THU", "daily TUE,FRI".
        One day a week, month, quarter, half-year or year: "weekly FRI", "biweekly 2024-01-05" (every second week from
        that day), "monthly last", "monthly 15", "quarterly first weekday" (Monday to Friday), "monthly third FRI",
        "weekly last XNYS" (the exchange's last session of the week), "yearly last TARGET". Periods that end in another
        month: "quarterly-JAN last" (January, April, July, October), "yearly-JUN last".
        Within the day, each named by the instant (UTC) at which it ends: equal steps around the clock ("every 1h",
        "every 30m + 15m"), or bars inside the sessions of an exchange ("XNYS 30m", "XTKS 1h").

    Raises
    ------
    ValueError
        For an unknown name, with the nearest known one.

    Notes
    -----
    Outside the years for which an exchange's holidays are recorded (at most 1950 to 2150) every weekday is a session.

    Examples
    --------
    >>> get_calendar("TARGET").at_or_before(date(2024, 4, 1))  # Easter Monday
    datetime.date(2024, 3, 28)
    """
    from tidecast.features.calendars import bars_in_hours as opening  # they import this file
    from tidecast.features.calendars import (
        daily,  # they import this file
        intraday,  # they import this file
    )
    from tidecast.features.calendars import periodic as periods  # they import this file

    if "|" in name:
        return daily.daily(name)
    if name.startswith("every "):
        return opening.stretches(name) if opening.STRETCHES.fullmatch(name) else intraday.regular(name)
    if name.startswith(periods.PREFIXES):
        return periods.periodic(name)
    return intraday.bars(name) if intraday.BARS.fullmatch(name) else daily.daily(name)


def infer_calendar(times: pl.Series) -> Calendar:
    """Return the calendar that the times of one series suggest.

    Dates: the days of the week that usually have a row, or one day of each week, month, quarter or year. Datetimes:
    equal steps, on the days and between the times of the day that usually have a row. A few odd rows change nothing.

    Raises
    ------
    ValueError
        For no dates, fewer than two distinct datetimes, and bars that show no calendar.
    """
    from tidecast.features.calendars.infer import infer_times

    return infer_times(times.drop_nulls()).calendar
