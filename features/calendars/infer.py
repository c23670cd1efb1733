"""Infer the calendar of each series of a panel from its times: one rule, for forecasters and the daily flow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from tidecast.features.calendars.base import Calendar
from tidecast.features.calendars.infer_bars import infer_bars
from tidecast.features.calendars.infer_periods import SPARSE, infer_period
from tidecast.features.calendars.infer_weekdays import infer_weekdays
from tidecast.features.calendars.inference import (
    LEAST_FOUND,
    MOST_MISSES,
    SHOWN,
    Inference,
    SeriesDays,
    as_dates,
    fit_of,
)
from tidecast.features.error_text import shorten
from tidecast.features.segments import starts_if_sorted

FEW = 8
"""A series with fewer rows, or of less than a week, has the calendar of most others where its rows fit that."""

_DISTANCES = (10, 20, 45, 75, 135, 270)
"""Days between two rows that separate weeks, fortnights, months, quarters, half-years and years."""


@dataclass(frozen=True)
class SeriesInference:
    """Series that share an inferred calendar.

    Attributes
    ----------
    series : tuple
        Their `series_id`.
    found : Inference
    """

    series: tuple[Any, ...]
    found: Inference

    def describe(self) -> str:
        """Return the calendar, how well it fits, and the series."""
        names = shorten(list(self.series), SHOWN)
        return f"{self.found.calendar.name} for {len(self.series)} series ({names}), {self.found.fit}"

    def doubt(self) -> str:
        """Return why another calendar may be right, and what to do; empty without a reason."""
        if not self.found.doubt:
            return ""
        return (
            f"The calendar {self.found.calendar.name!r} was inferred for {shorten(list(self.series), SHOWN)}, but "
            f"{self.found.doubt}. Name the calendar: PanelSchema(calendar=...), or a column 'calendar'."
        )


def infer_calendar(times: pl.Series) -> Calendar:
    """Return the calendar that the times of one series suggest.

    Dates: the days of the week that usually have a row, or one day of each week, month, quarter or year. Datetimes:
    equal steps, on the days and between the times of the day that usually have a row. A few odd rows change nothing.

    Parameters
    ----------
    times : Series of Date or Datetime
        In any order. Missing times are left out.

    Raises
    ------
    ValueError
        For no dates, fewer than two distinct datetimes, and bars that show no calendar.
    """
    return infer_times(times.drop_nulls()).calendar


def infer_times(times: pl.Series) -> Inference:
    """Return the calendar that the times of one series suggest, and how well it fits; see `infer_panel`.

    Parameters
    ----------
    times : Series of Date or Datetime
        Without missing values.
    """
    return infer_panel(pl.DataFrame({"series_id": pl.repeat(0, len(times), eager=True), "time": times}))[0].found


def infer_panel(panel: pl.DataFrame) -> list[SeriesInference]:
    """Return the calendars of a panel's series, the one that most series have first.

    Parameters
    ----------
    panel : polars.DataFrame
        `series_id` and `time`, of type Date or Datetime.

    Raises
    ------
    ValueError
        For no rows, and for bars within the day that show no calendar.
    """
    keys = panel.select("series_id", "time")
    if keys["series_id"].null_count() + keys["time"].null_count() > 0 or starts_if_sorted(keys) is None:
        keys = keys.drop_nulls().unique().sort("series_id", "time")
    if keys.is_empty():
        raise ValueError("A calendar can be inferred from two times or more, found 0. Name a calendar.")
    return _merged(_days(keys) if keys.schema["time"] == pl.Date else _bars(keys))


def _bars(keys: pl.DataFrame) -> Iterator[SeriesInference]:
    """Yield the calendar of bars of each series. Series with equal times are inferred once."""
    inferred: dict[bytes, Inference] = {}
    for (series_id,), rows in keys.group_by("series_id", maintain_order=True):
        key = rows["time"].to_physical().to_numpy().tobytes()
        if key not in inferred:
            try:
                inferred[key] = infer_bars(rows["time"])
            except ValueError as error:
                raise ValueError(f"{error} The series is {series_id!r}.") from None
        yield SeriesInference((series_id,), inferred[key])


def _days(keys: pl.DataFrame) -> list[SeriesInference]:
    """Return the calendars of series of dates: sparse ones have periods, the others days of the week."""
    days = SeriesDays.of(keys)
    names = keys["series_id"].gather(days.starts).to_list()
    sparse = _is_sparse(days)
    short = ~sparse & ((days.n_rows < FEW) | (days.last - days.first < 7))
    irregular = np.zeros(len(names), dtype=bool)
    groups: list[tuple[list[int], Inference]] = []
    for members, found in _periods(days, np.flatnonzero(sparse)):
        if found is None:
            irregular[members] = True
        else:
            groups.append((members, found))
    weekly = np.flatnonzero((~sparse | irregular) & ~short)
    groups += infer_weekdays(days, weekly, irregular)
    inferred = _merged(SeriesInference(tuple(names[at] for at in members), found) for members, found in groups)
    usual = inferred[0].found.calendar if inferred else None
    for members, found in infer_weekdays(days, np.flatnonzero(short), irregular):
        for at in members:
            dates = as_dates(days.days_of(at))
            fits = usual is not None and usual.is_session(dates).all()
            inferred.append(SeriesInference((names[at],), fit_of(usual, dates) if usual and fits else found))
    return inferred


def _is_sparse(days: SeriesDays) -> np.ndarray:
    """Whether most rows of each series are far from the row before, bool of shape (n_series,)."""
    n_close = np.empty(len(days.starts), np.int64)
    for series, rows in days.blocks():
        close = np.diff(days.day[rows], prepend=0) < SPARSE
        begins = days.starts[series] - rows.start
        close[begins] = False
        n_close[series] = np.add.reduceat(close, begins, dtype=np.int64)
    return (days.n_rows >= 3) & (2 * n_close < days.n_rows - 1)


def _periods(days: SeriesDays, members: np.ndarray) -> Iterator[tuple[list[int], Inference | None]]:
    """Yield sparse series and their calendar of periods, None where there is none.

    Series of about the same distance between rows are inferred together; those that do not fit the result, alone.
    """
    distances = np.array([np.median(np.diff(days.days_of(at))) for at in members])
    classes = np.searchsorted(_DISTANCES, distances, side="right")
    alone: dict[bytes, Inference | None] = {}
    for number in np.unique(classes):
        same = members[classes == number]
        day, weights = np.unique(days.subset(same).day, return_counts=True)
        pooled = infer_period(as_dates(day), weights)
        if len(same) > 1 and pooled is not None:
            fitting = [int(at) for at in same if _fits(pooled.calendar, as_dates(days.days_of(at)))]
            if fitting:
                yield fitting, pooled
            same = np.setdiff1d(same, fitting)
        for at in same:
            own = days.days_of(at)
            if own.tobytes() not in alone:
                alone[own.tobytes()] = infer_period(as_dates(own))
            yield [int(at)], alone[own.tobytes()]


def _fits(calendar: Calendar, dates: pl.Series) -> bool:
    fit = fit_of(calendar, dates)
    return fit.n_stray <= MOST_MISSES * fit.n_rows and fit.share >= LEAST_FOUND


def _merged(inferred: Iterable[SeriesInference]) -> list[SeriesInference]:
    """Return one for each calendar, that of most series first."""
    by_calendar: dict[Calendar, list[SeriesInference]] = {}
    for one in inferred:
        by_calendar.setdefault(one.found.calendar, []).append(one)
    merged = []
    for calendar, group in by_calendar.items():
        counts = {
            name: sum(getattr(one.found, name) for one in group)
            for name in ("n_rows", "n_stray", "n_sessions", "n_found")
        }
        doubt = next((one.found.doubt for one in group if one.found.doubt), "")
        series = tuple(series_id for one in group for series_id in one.series)
        merged.append(SeriesInference(series, Inference(calendar, **counts, doubt=doubt)))
    return sorted(merged, key=lambda one: (-len(one.series), -one.found.n_rows))
