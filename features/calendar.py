"""Calendars: sessions as consecutive integers, and back."""

from __future__ import annotations

import re
import warnings
from abc import ABC, abstractmethod
from datetime import date, datetime, time, timedelta
from functools import cache
from typing import Any

import numpy as np
import polars as pl

from features.messages import near_match, shorten

FIRST_DAY, LAST_DAY = date(1800, 1, 1), date(2199, 12, 31)
"""The days a daily calendar knows."""

RULES_FROM, RULES_TO = "1950-01-01", "2150-12-31"
"""An exchange's holidays are followed between these days, or its own bounds where those are nearer; else weekdays."""

_UNITS = {"d": 86_400_000_000, "h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "us": 1}


class Calendar(ABC):
    """Sessions as integers, both ways: step *k* of a forecast is session number (origin + *k*).

    Attributes
    ----------
    name : str
        ``get_calendar(name)`` gives this calendar again.
    time_zone : str
        The market's own zone.
    """

    name: str
    time_zone: str = "UTC"

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
        raise ValueError(
            f"Every time must be a session of the calendar {self.name!r}, found {found}. "
            "Drop these rows, or name another calendar."
        )


class DailyCalendar(Calendar):
    """A calendar of days, kept as one table from 1800 to 2199."""

    def __init__(self, name: str, open_days: np.ndarray, time_zone: str = "UTC") -> None:
        self.name, self.time_zone = name, time_zone
        self._first = np.datetime64(FIRST_DAY, "D").astype(np.int64)
        self._days = np.flatnonzero(open_days)
        self._number_of = np.where(open_days, np.cumsum(open_days) - 1, -1)

    def numbers(self, times: pl.Series) -> np.ndarray:
        numbers = self._look_up(times)
        if (numbers < 0).any():
            self._refuse(times.filter(pl.Series(numbers < 0)))
        return numbers

    def is_session(self, times: pl.Series) -> np.ndarray:
        return self._look_up(times) >= 0

    def times(self, numbers: np.ndarray) -> pl.Series:
        numbers = np.asarray(numbers)
        if numbers.size and (numbers.min() < 0 or numbers.max() >= self._days.size):
            raise ValueError(f"Session numbers of {self.name!r} must lie in 0 to {self._days.size - 1} (year 2199).")
        return pl.Series("time", (self._days[numbers] + self._first).astype(np.int32)).cast(pl.Date)

    def at_or_before(self, day: date) -> date:
        position = (day.date() if isinstance(day, datetime) else day) - FIRST_DAY
        index = int(np.searchsorted(self._days, position.days, side="right")) - 1
        if index < 0 or position.days >= self._number_of.size:
            raise ValueError(f"A session must lie between {FIRST_DAY} and {LAST_DAY}, got {day}.")
        return FIRST_DAY + timedelta(days=int(self._days[index]))

    def _look_up(self, times: pl.Series) -> np.ndarray:
        """Session numbers, -1 where a time is no session."""
        days = times.cast(pl.Date)
        position = days.to_physical().cast(pl.Int64).fill_null(-(2**40)).to_numpy() - self._first
        known = (position >= 0) & (position < self._number_of.size)
        if isinstance(times.dtype, pl.Datetime):
            known &= (days.cast(times.dtype) == times).fill_null(False).to_numpy()
        return np.where(known, self._number_of[np.where(known, position, 0)], -1)


class RegularCalendar(Calendar):
    """A calendar of equal steps in UTC, around the clock: session *n* begins at phase + *n* steps after 1970."""

    def __init__(self, step: int, phase: int) -> None:
        self.step, self.phase = step, phase  # both in microseconds
        self.name = f"every {_spell(step)}" + (f" + {_spell(phase)}" if phase else "")

    def numbers(self, times: pl.Series) -> np.ndarray:
        if not (session := self.is_session(times)).all():
            self._refuse(times.filter(pl.Series(~session)))
        return (_microseconds(times) - self.phase) // self.step

    def is_session(self, times: pl.Series) -> np.ndarray:
        return ((_microseconds(times) - self.phase) % self.step == 0) & times.is_not_null().to_numpy()

    def times(self, numbers: np.ndarray) -> pl.Series:
        instants = np.asarray(numbers, dtype=np.int64) * self.step + self.phase
        return pl.Series("time", instants).cast(pl.Datetime("us"))

    def at_or_before(self, day: date) -> date:
        instant = day if isinstance(day, datetime) else datetime.combine(day, time.max)
        since = (instant - datetime(1970, 1, 1)) // timedelta(microseconds=1)
        return instant - timedelta(microseconds=(since - self.phase) % self.step)


@cache
def get_calendar(name: str) -> Calendar:
    """The calendar of that name.

    Parameters
    ----------
    name : str
        "weekdays", "24/7" (every day), "TARGET" (euro payments, the days of the ECB's rates), a name that
        exchange_calendars knows ("XNYS", "XTKS", …), or equal steps of UTC: "every 1h", "every 30m + 15m".

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
    days = np.arange(np.datetime64(FIRST_DAY, "D"), np.datetime64(LAST_DAY, "D") + 1)
    if name == "24/7":
        return DailyCalendar(name, np.ones(days.size, dtype=bool))
    weekdays = np.is_busday(days)
    if name == "weekdays":
        return DailyCalendar(name, weekdays)
    if name.startswith("every "):
        return _regular(name)
    return _exchange(name, days, weekdays)


def infer_calendar(times: pl.Series) -> Calendar:
    """The calendar that training times suggest.

    Dates without weekends: weekdays. Dates with weekends: every day. Datetimes: equal steps, the most common one.

    Raises
    ------
    ValueError
        For no dates, or fewer than two distinct datetimes.
    """
    distinct = times.drop_nulls().unique().sort()
    if distinct.dtype == pl.Date and len(distinct) > 0:
        return get_calendar("24/7" if (distinct.dt.weekday() > 5).any() else "weekdays")
    if distinct.dtype == pl.Date or len(distinct) < 2:
        raise ValueError(f"A calendar can be inferred from two times or more, found {len(distinct)}. Name a calendar.")
    instants = _microseconds(distinct)
    step = _most_common(np.diff(instants))
    return RegularCalendar(step, _most_common(instants % step))


def _exchange(name: str, days: np.ndarray, weekdays: np.ndarray) -> Calendar:
    import pandas as pd  # here, as both take a third of a second to import
    from exchange_calendars import get_calendar as get_exchange
    from exchange_calendars import get_calendar_names

    from features.target import TargetCalendar

    known = ["weekdays", "TARGET", *get_calendar_names()]
    if name not in known:
        near = near_match(name, known)
        hint = f" Did you mean {near!r}?" if near else ""
        raise ValueError(f"calendar must be 'weekdays', '24/7', 'TARGET' or an exchange's code, got {name!r}.{hint}")
    year = {"start": "2024-01-01", "end": "2024-12-31"}  # any: only the rules are read, and they hold for all years
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # exchange_calendars 4.13 uses what pandas 3.1 deprecates
        try:
            exchange = TargetCalendar(**year) if name == "TARGET" else get_exchange(name, **year)
            start = max(pd.Timestamp(RULES_FROM), exchange.bound_min() or pd.Timestamp.min)
            end = min(pd.Timestamp(RULES_TO), exchange.bound_max() or pd.Timestamp.max)
            sessions = pd.date_range(start, end, freq=exchange.day).to_numpy().astype("datetime64[D]")
        except Exception as error:  # as with XTAE and ASEX beside pandas 3
            what = f"{type(error).__name__}: {str(error)[:80]}"
            raise ValueError(f"exchange_calendars cannot build {name!r} here ({what}). Use 'weekdays'.") from error
    ruled = (days >= np.datetime64(start, "D")) & (days <= np.datetime64(end, "D"))
    return DailyCalendar(exchange.name, np.where(ruled, np.isin(days, sessions), weekdays), exchange.tz.key)


def _regular(name: str) -> Calendar:
    match = re.fullmatch(r"every (\d+)(d|h|m|s|us)(?: \+ (\d+)(d|h|m|s|us))?", name)
    step = int(match[1]) * _UNITS[match[2]] if match else 0
    if match is None or step == 0:
        raise ValueError(f"A calendar of equal steps is spelled like 'every 1h' or 'every 30m + 15m', got {name!r}.")
    return RegularCalendar(step, int(match[3]) * _UNITS[match[4]] % step if match[3] else 0)


def _spell(microseconds: int) -> str:
    unit, size = next((unit, size) for unit, size in _UNITS.items() if microseconds % size == 0)
    return f"{microseconds // size}{unit}"


def _microseconds(times: pl.Series) -> np.ndarray:
    return times.cast(pl.Datetime("us")).to_physical().fill_null(0).to_numpy()


def _most_common(values: np.ndarray) -> int:
    found, counts = np.unique(values, return_counts=True)
    return int(found[counts.argmax()])
