"""Calendars of days: one table from 1800 to 2199."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property, reduce

import numpy as np
import polars as pl

from tidecast.features.calendars.base import CLOSING, Calendar
from tidecast.features.calendars.spelling import DAY

FIRST_DAY, LAST_DAY = date(1800, 1, 1), date(2199, 12, 31)
"""The first and the last day of every calendar of days."""


@dataclass(frozen=True)
class Hours:
    """Opening hours of every session of a calendar; each array has shape (n_sessions,).

    Attributes
    ----------
    opens, closes : ndarray of int64
        Microseconds since 1970, UTC.
    breaks, resumes : ndarray of int64
        Begin and end of the lunch break; without one, both are the opening instant.
    half_day : ndarray of bool
        Whether the session closes earlier than usual.
    """

    opens: np.ndarray
    closes: np.ndarray
    breaks: np.ndarray
    resumes: np.ndarray
    half_day: np.ndarray


class DailyCalendar(Calendar):
    """A calendar of days.

    Parameters
    ----------
    name : str
    open_days : ndarray of bool
        Whether each day from `FIRST_DAY` to `LAST_DAY` is a session.
    time_zone : str, default="UTC"
    hours : callable, optional
        Returns the opening hours of an exchange. It is called when they are first needed, because it takes a second.
        None: a session lasts until midnight UTC, and there are no half days.
    """

    def __init__(
        self, name: str, open_days: np.ndarray, time_zone: str = "UTC",
        hours: Callable[[DailyCalendar], Hours] | None = None,
    ) -> None:  # fmt: skip
        self.name, self.time_zone = name, time_zone
        self._hours_of = hours
        self._first = np.datetime64(FIRST_DAY, "D").astype(np.int64)
        self._days = np.flatnonzero(open_days)
        self._number_of = np.where(open_days, np.cumsum(open_days) - 1, -1)

    @property
    def dates(self) -> np.ndarray:
        """All sessions, datetime64[D]."""
        return (self._days + self._first).astype("datetime64[D]")

    @property
    def has_hours(self) -> bool:
        """Whether the sessions are those of a market, which has opening hours and a time zone."""
        return self._hours_of is not None

    @property
    def seasons(self) -> tuple[int, ...]:
        return (7,) if self._days.size == self._number_of.size else ()

    @property
    def market_zone(self) -> str | None:
        return self.time_zone if self.has_hours else None

    @cached_property
    def hours(self) -> Hours | None:
        """Opening hours of every session; None without an exchange."""
        return self._hours_of(self) if self._hours_of else None

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
        since_first = ((day.date() if isinstance(day, datetime) else day) - FIRST_DAY).days
        index = int(np.searchsorted(self._days, since_first, side="right")) - 1
        if index < 0 or since_first >= self._number_of.size:
            raise ValueError(f"A session must lie between {FIRST_DAY} and {LAST_DAY}, got {day}.")
        return FIRST_DAY + timedelta(days=int(self._days[index]))

    def closes(self, times: pl.Series) -> pl.Series:
        numbers = self.numbers(times)
        ends = self.hours.closes[numbers] if self.hours else (self._days[numbers] + self._first + 1) * DAY
        return pl.Series("closes", ends).cast(CLOSING)

    def is_half_day(self, times: pl.Series) -> np.ndarray:
        numbers = self.numbers(times)
        return self.hours.half_day[numbers] if self.hours else np.zeros(len(numbers), dtype=bool)

    def _look_up(self, times: pl.Series) -> np.ndarray:
        """Session numbers, -1 where a time is not a session."""
        days = times.cast(pl.Date)
        position = days.to_physical().cast(pl.Int64).fill_null(-(2**40)).to_numpy() - self._first
        numbers = self._number_of.take(position, mode="clip")
        unknown = (position < 0) | (position >= self._number_of.size)
        if isinstance(times.dtype, pl.Datetime):
            unknown |= (days.cast(times.dtype) != times).fill_null(True).to_numpy()
        numbers[unknown] = -1
        return numbers


class AnyOf(DailyCalendar):
    """Days that are a session of at least one of several calendars; a session closes when the last of them does.

    Parameters
    ----------
    name : str
        Names of the calendars, joined by "|".
    parts : sequence of DailyCalendar
    """

    def __init__(self, name: str, parts: Sequence[DailyCalendar]) -> None:
        days = all_days()
        open_days = reduce(np.logical_or, (np.isin(days, part.dates) for part in parts))
        super().__init__(name, open_days, parts[0].time_zone if len(parts) == 1 else "UTC")
        self._parts = parts

    def closes(self, times: pl.Series) -> pl.Series:
        self.numbers(times)
        return pl.select(pl.max_horizontal(self._of_parts(times, lambda part, at: part.closes(at)))).to_series()

    def is_half_day(self, times: pl.Series) -> np.ndarray:
        self.numbers(times)
        half = self._of_parts(times, lambda part, at: pl.Series(part.is_half_day(at), dtype=pl.Boolean))
        return pl.select(pl.all_horizontal(half)).to_series().fill_null(True).to_numpy()

    def _of_parts(self, times: pl.Series, ask: Callable[[DailyCalendar, pl.Series], pl.Series]) -> list[pl.Series]:
        """The answer of each part, null where a time is not a session of it."""
        answers = []
        for part in self._parts:
            is_open = part.is_session(times)
            answer = ask(part, times.filter(pl.Series(is_open)))
            index = np.where(is_open, np.cumsum(is_open) - 1, len(answer))
            answers.append(answer.extend_constant(None, 1).gather(index))
        return answers


def all_days() -> np.ndarray:
    """Return the days from `FIRST_DAY` to `LAST_DAY`, datetime64[D]."""
    return np.arange(np.datetime64(FIRST_DAY, "D"), np.datetime64(LAST_DAY, "D") + 1)


def weekdays() -> DailyCalendar:
    """Return the calendar "weekdays": Monday to Friday, without holidays."""
    return DailyCalendar("weekdays", np.is_busday(all_days()))


def every_day() -> DailyCalendar:
    """Return the calendar "24/7": every day."""
    return DailyCalendar("24/7", np.ones(all_days().size, dtype=bool))
