"""Calendars of bars within the day. A bar is named by the instant at which it ends: then its price is known."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from typing import cast

import numpy as np
import polars as pl

from tidecast.features.calendars.base import CLOSING, Calendar
from tidecast.features.calendars.daily import DailyCalendar, Hours
from tidecast.features.calendars.spelling import DAY, UNITS, microseconds_of, spell_duration

EXCHANGE_BARS = re.compile(r"\S+ \d+[hms]")
"""Spelling of the bars of an exchange."""

_DURATION = rf"(\d+)({'|'.join(UNITS)})"
_REGULAR = re.compile(rf"every {_DURATION}(?: \+ {_DURATION})?")


class RegularCalendar(Calendar):
    """A calendar of equal steps in UTC, around the clock: session *n* is the instant phase + *n* steps after 1970.

    Parameters
    ----------
    step, phase : int
        In microseconds; the phase is at least 0 and below the step.
    """

    intraday = True

    def __init__(self, step: int, phase: int) -> None:
        self.step, self.phase = step, phase
        self.name = f"every {spell_duration(step)}" + (f" + {spell_duration(phase)}" if phase else "")

    @property
    def seasons(self) -> tuple[int, ...]:
        return (DAY // self.step, 7 * DAY // self.step) if DAY % self.step == 0 and self.step < DAY else ()

    def numbers(self, times: pl.Series) -> np.ndarray:
        if not (session := self.is_session(times)).all():
            self._refuse(times.filter(pl.Series(~session)))
        return (microseconds_of(times) - self.phase) // self.step

    def is_session(self, times: pl.Series) -> np.ndarray:
        return ((microseconds_of(times) - self.phase) % self.step == 0) & times.is_not_null().to_numpy()

    def times(self, numbers: np.ndarray) -> pl.Series:
        instants = np.asarray(numbers, dtype=np.int64) * self.step + self.phase
        return pl.Series("time", instants).cast(pl.Datetime("us"))

    def at_or_before(self, day: date) -> date:
        since_1970 = _end_of(day)
        instant = since_1970 - (since_1970 - self.phase) % self.step
        return datetime(1970, 1, 1) + timedelta(microseconds=instant)

    def closes(self, times: pl.Series) -> pl.Series:
        self.numbers(times)
        return pl.Series("closes", microseconds_of(times)).cast(CLOSING)


class SessionBars(Calendar):
    """Bars of equal length inside sessions with opening hours; none spans a night or a lunch break.

    They are counted from the opening, and again from the end of the lunch break. The last bar before a break or the
    close is shorter where the length does not divide the hours, as on half days.

    Parameters
    ----------
    name : str
    hours : Hours
        Opening hours of every session.
    step : int
        Length of a bar in microseconds.
    time_zone : str
    """

    intraday = True

    def __init__(self, name: str, hours: Hours, step: int, time_zone: str) -> None:
        self.name, self.step, self.time_zone, self._hours = name, step, time_zone, hours
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
        end = _end_of(day)
        session = int(np.searchsorted(self._hours.opens, end, side="left")) - 1
        if session < 0:
            raise ValueError(f"A bar of {self.name!r} must end in or after 1800, got {day}.")
        bars = np.arange(max(self._first[session] - 1, 0), self._first[session + 1])
        ended = bars[self._ends(bars) <= end]
        return cast(datetime, self.times(ended[-1:])[0])

    def closes(self, times: pl.Series) -> pl.Series:
        self.numbers(times)
        return pl.Series("closes", microseconds_of(times)).cast(CLOSING)

    def is_half_day(self, times: pl.Series) -> np.ndarray:
        """Whether the session of each bar closes earlier than usual, bool of shape (n_times,)."""
        return self._hours.half_day[np.searchsorted(self._first, self.numbers(times), side="right") - 1]

    def _ends(self, numbers: np.ndarray) -> np.ndarray:
        """The instants at which bars end, in microseconds."""
        hours, session = self._hours, np.searchsorted(self._first, numbers, side="right") - 1
        bar, before_lunch = numbers - self._first[session] + 1, self._morning[session]
        morning = np.minimum(hours.opens[session] + bar * self.step, hours.breaks[session])
        later = np.minimum(hours.resumes[session] + (bar - before_lunch) * self.step, hours.closes[session])
        return np.where(bar <= before_lunch, morning, later)

    def _look_up(self, times: pl.Series) -> np.ndarray:
        """Session numbers, -1 where no bar ends at a time."""
        hours, instant = self._hours, microseconds_of(times)
        session = np.minimum(np.searchsorted(hours.closes, instant, side="left"), len(hours.closes) - 1)
        after_lunch = instant > hours.breaks[session]
        start = np.where(after_lunch, hours.resumes[session], hours.opens[session])
        bar = -((start - instant) // self.step) + np.where(after_lunch, self._morning[session], 0)
        number = self._first[session] + bar - 1
        within = (instant > start) & (instant <= hours.closes[session]) & times.is_not_null().to_numpy()
        number = np.where(within, number, 0)
        return np.where(within & (self._ends(number) == instant), number, -1)


class ExchangeBars(SessionBars):
    """Bars of equal length inside the sessions of an exchange, see `SessionBars`.

    Parameters
    ----------
    exchange : DailyCalendar
        With opening hours.
    step : int
        Length of a bar in microseconds.

    Raises
    ------
    ValueError
        For a calendar without opening hours.
    """

    def __init__(self, exchange: DailyCalendar, step: int) -> None:
        spelled = spell_duration(step)
        if exchange.hours is None:
            raise ValueError(
                f"Bars need an exchange with opening hours, {exchange.name!r} has none. Write 'every {spelled}'."
            )
        super().__init__(f"{exchange.name} {spelled}", exchange.hours, step, exchange.time_zone)


def parse_regular(name: str) -> RegularCalendar:
    """Return the calendar of equal steps of that name, see `get_calendar`.

    Parameters
    ----------
    name : str
        Such as "every 1h" or "every 30m + 15m".

    Raises
    ------
    ValueError
        For a name that is spelled otherwise.
    """
    match = _REGULAR.fullmatch(name)
    step = int(match[1]) * UNITS[match[2]] if match else 0
    if match is None or step == 0:
        raise ValueError(f"A calendar of equal steps is spelled like 'every 1h' or 'every 30m + 15m', got {name!r}.")
    return RegularCalendar(step, int(match[3]) * UNITS[match[4]] % step if match[3] else 0)


def _end_of(day: date) -> int:
    """Return a datetime, or the end of a day, as microseconds since 1970."""
    instant = day if isinstance(day, datetime) else datetime.combine(day, time.max)
    return (instant - datetime(1970, 1, 1)) // timedelta(microseconds=1)
