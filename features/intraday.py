"""Calendars of bars within the day, named by the instant at which a bar ends: what it holds is known then."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta

import numpy as np
import polars as pl

from features.calendar import CLOSING, Calendar

_UNITS = {"d": 86_400_000_000, "h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "us": 1}


class RegularCalendar(Calendar):
    """A calendar of equal steps in UTC, around the clock: session *n* is the instant phase + *n* steps after 1970."""

    intraday = True

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

    def closes(self, times: pl.Series) -> pl.Series:
        self.numbers(times)
        return pl.Series("closes", _microseconds(times)).cast(CLOSING)


def regular(name: str) -> RegularCalendar:
    """The calendar of equal steps of that name, see `get_calendar`."""
    match = re.fullmatch(r"every (\d+)(d|h|m|s|us)(?: \+ (\d+)(d|h|m|s|us))?", name)
    step = int(match[1]) * _UNITS[match[2]] if match else 0
    if match is None or step == 0:
        raise ValueError(f"A calendar of equal steps is spelled like 'every 1h' or 'every 30m + 15m', got {name!r}.")
    return RegularCalendar(step, int(match[3]) * _UNITS[match[4]] % step if match[3] else 0)


def most_common(distinct: pl.Series) -> RegularCalendar:
    """The calendar of the most common step between sorted distinct times."""
    instants = _microseconds(distinct)
    step = _mode(np.diff(instants))
    return RegularCalendar(step, _mode(instants % step))


def _spell(microseconds: int) -> str:
    unit, size = next((unit, size) for unit, size in _UNITS.items() if microseconds % size == 0)
    return f"{microseconds // size}{unit}"


def _microseconds(times: pl.Series) -> np.ndarray:
    return times.cast(pl.Datetime("us")).to_physical().fill_null(0).to_numpy()


def _mode(values: np.ndarray) -> int:
    found, counts = np.unique(values, return_counts=True)
    return int(found[counts.argmax()])
