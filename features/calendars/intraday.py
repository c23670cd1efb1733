"""Calendars of bars within the day, named by the instant at which a bar ends: what it holds is known then."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from typing import cast

import numpy as np
import polars as pl

from tidecast.features.calendars.base import CLOSING, Calendar
from tidecast.features.calendars.daily import DailyCalendar, Hours, daily

BARS = re.compile(r"(\S+) (\d+)(h|m|s)")
"""How bars of an exchange are spelled."""

_UNITS = {"d": 86_400_000_000, "h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "us": 1}


class RegularCalendar(Calendar):
    """A calendar of equal steps in UTC, around the clock: session *n* is the instant phase + *n* steps after 1970."""

    intraday = True

    def __init__(self, step: int, phase: int) -> None:
        self.step, self.phase = step, phase  # both in microseconds
        self.name = f"every {spell(step)}" + (f" + {spell(phase)}" if phase else "")

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

    def closes(self, times: pl.Series) -> pl.Series:
        self.numbers(times)
        return pl.Series("closes", _microseconds(times)).cast(CLOSING)


class ExchangeBars(Calendar):
    """Bars of equal length inside the sessions of an exchange; none spans a night or a lunch break.

    They are counted from the opening, and again from the end of the lunch break; the last one before a break or the
    close is shorter where the length does not divide the hours, as on half days.

    Parameters
    ----------
    exchange : DailyCalendar
        With opening hours.
    step : int
        Length of a bar in microseconds.
    """

    intraday = True

    def __init__(self, exchange: DailyCalendar, step: int) -> None:
        hours = exchange.hours
        if hours is None:
            raise ValueError(
                f"Bars need an exchange with opening hours, {exchange.name!r} has none. Write 'every {spell(step)}'."
            )
        self.time_zone = exchange.time_zone
        self._lay_out(f"{exchange.name} {spell(step)}", hours, step)

    def _lay_out(self, name: str, hours: Hours, step: int) -> None:
        """Number the bars of all sessions."""
        self.name, self.step, self._hours = name, step, hours
        self._morning = -((hours.opens - hours.breaks) // step)  # bars before lunch, rounded up; 0 without lunch
        per_session = self._morning - (hours.resumes - hours.closes) // step
        self._first = np.concatenate([[0], np.cumsum(per_session)])

    def numbers(self, times: pl.Series) -> np.ndarray:
        numbers = self._look_up(times)
        if (numbers < 0).any():
            self._refuse(times.filter(pl.Series(numbers < 0)))
        return numbers

    def is_session(self, times: pl.Series) -> np.ndarray:
        return self._look_up(times) >= 0

    def times(self, numbers: np.ndarray) -> pl.Series:
        numbers = np.asarray(numbers, dtype=np.int64)
        if numbers.size and (numbers.min() < 0 or numbers.max() >= self._first[-1]):
            raise ValueError(f"Session numbers of {self.name!r} must lie in 0 to {self._first[-1] - 1} (year 2199).")
        return pl.Series("time", self._ends(numbers)).cast(pl.Datetime("us"))

    def at_or_before(self, day: date) -> date:
        instant = day if isinstance(day, datetime) else datetime.combine(day, time.max)
        since = (instant - datetime(1970, 1, 1)) // timedelta(microseconds=1)
        session = int(np.searchsorted(self._hours.opens, since, side="left")) - 1
        if session < 0:
            raise ValueError(f"A bar of {self.name!r} must end in or after 1800, got {day}.")
        bars = np.arange(max(self._first[session] - 1, 0), self._first[session + 1])
        ended = bars[self._ends(bars) <= since]
        return cast(datetime, self.times(ended[-1:])[0])

    def closes(self, times: pl.Series) -> pl.Series:
        self.numbers(times)
        return pl.Series("closes", _microseconds(times)).cast(CLOSING)

    def is_half_day(self, times: pl.Series) -> np.ndarray:
        """Whether the bar's session closes earlier than usual, bool of shape (n_times,)."""
        return self._hours.half_day[np.searchsorted(self._first, self.numbers(times), side="right") - 1]

    def _ends(self, numbers: np.ndarray) -> np.ndarray:
        """The instants at which bars end, in microseconds."""
        hours, session = self._hours, np.searchsorted(self._first, numbers, side="right") - 1
        bar, before_lunch = numbers - self._first[session] + 1, self._morning[session]
        morning = np.minimum(hours.opens[session] + bar * self.step, hours.breaks[session])
        later = np.minimum(hours.resumes[session] + (bar - before_lunch) * self.step, hours.closes[session])
        return np.where(bar <= before_lunch, morning, later)

    def _look_up(self, times: pl.Series) -> np.ndarray:
        """Session numbers, -1 where a time is no end of a bar."""
        hours, instant = self._hours, _microseconds(times)
        session = np.minimum(np.searchsorted(hours.closes, instant, side="left"), len(hours.closes) - 1)
        after_lunch = instant > hours.breaks[session]
        start = np.where(after_lunch, hours.resumes[session], hours.opens[session])
        bar = -((start - instant) // self.step) + np.where(after_lunch, self._morning[session], 0)
        number = self._first[session] + bar - 1
        within = (instant > start) & (instant <= hours.closes[session]) & times.is_not_null().to_numpy()
        number = np.where(within, number, 0)
        return np.where(within & (self._ends(number) == instant), number, -1)


def bars(name: str) -> ExchangeBars:
    """The bars of an exchange of that name, see `get_calendar`."""
    match = BARS.fullmatch(name)
    exchange, step = (daily(match[1]), int(match[2]) * _UNITS[match[3]]) if match else (None, 0)
    if exchange is None or not 0 < step < _UNITS["d"]:
        raise ValueError(f"Bars of an exchange are spelled like 'XNYS 30m', and shorter than a day, got {name!r}.")
    return ExchangeBars(exchange, step)


def regular(name: str) -> RegularCalendar:
    """The calendar of equal steps of that name, see `get_calendar`."""
    match = re.fullmatch(r"every (\d+)(d|h|m|s|us)(?: \+ (\d+)(d|h|m|s|us))?", name)
    step = int(match[1]) * _UNITS[match[2]] if match else 0
    if match is None or step == 0:
        raise ValueError(f"A calendar of equal steps is spelled like 'every 1h' or 'every 30m + 15m', got {name!r}.")
    return RegularCalendar(step, int(match[3]) * _UNITS[match[4]] % step if match[3] else 0)


def spell(microseconds: int) -> str:
    """Return a length of time as it stands in the names of calendars, such as "30m"."""
    unit, size = next((unit, size) for unit, size in _UNITS.items() if microseconds % size == 0)
    return f"{microseconds // size}{unit}"


def unit_of(letter: str) -> int:
    """Return the microseconds of a unit of time in the names of calendars: "d", "h", "m", "s" or "us"."""
    return _UNITS[letter]


def _microseconds(times: pl.Series) -> np.ndarray:
    return times.cast(pl.Datetime("us")).to_physical().fill_null(0).to_numpy()
