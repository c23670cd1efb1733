"""Infer the calendar of each series of a panel from its times: one rule, for forecasters and the daily flow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from tidecast.features.calendars.base import Calendar
from tidecast.features.calendars.fit import Inference, fit_of
from tidecast.features.calendars.infer_bars import infer_bars
from tidecast.features.calendars.infer_periods import SPARSE, infer_period
from tidecast.features.calendars.infer_weekdays import FEW, of_week
from tidecast.features.error_text import shorten
from tidecast.features.segments import series_starts

_CLASSES = (10, 20, 45, 75, 135, 270)
"""Days between two rows that part weeks, fortnights, months, quarters, half-years and years."""

MOST_MISSES, LEAST_FOUND = 0.25, 0.4
"""A series has its class's calendar unless more of its rows, or fewer of its sessions, than these shares fit it."""


@dataclass(frozen=True)
class SeriesInference:
    """Series that share an inferred calendar.

    Attributes
    ----------
    series : tuple
        Their names.
    found : Inference
    """

    series: tuple[Any, ...]
    found: Inference

    def describe(self) -> str:
        """Return the calendar, how well it fits, and the series."""
        names = shorten(list(self.series), 3)
        return f"{self.found.calendar.name} for {len(self.series)} series ({names}), {self.found.fit}"

    def doubt(self) -> str:
        """Return why another calendar may be right, and what to do; empty where nothing speaks for another one."""
        if not self.found.doubt:
            return ""
        return (
            f"The calendar {self.found.calendar.name!r} was inferred for {shorten(list(self.series), 3)}, but "
            f"{self.found.doubt}. Name the calendar: PanelSchema(calendar=...), or a column 'calendar'."
        )


def infer_panel(panel: pl.DataFrame) -> list[SeriesInference]:
    """Return the calendars of a panel's series, that of most series first.

    Parameters
    ----------
    panel : polars.DataFrame
        `series_id` and `time`, of type Date or Datetime.

    Raises
    ------
    ValueError
        For no rows, and for bars within the day that show no calendar.
    """
    keys = panel.select("series_id", "time").drop_nulls().unique().sort("series_id", "time")
    if keys.is_empty():
        raise ValueError("A calendar can be inferred from two times or more, found 0. Name a calendar.")
    if keys.schema["time"] != pl.Date:
        return _in_order(_merged(_bars(keys)))
    return _days(keys)


def infer_times(times: pl.Series) -> Inference:
    """Return the calendar that the times of one series suggest, see `infer_panel`."""
    return infer_panel(pl.DataFrame({"series_id": pl.repeat(0, len(times), eager=True), "time": times}))[0].found


def _bars(keys: pl.DataFrame) -> Iterator[SeriesInference]:
    """Bars within the day, series by series; equal times are looked at once."""
    known: dict[bytes, Inference] = {}
    for (series_id,), rows in keys.group_by("series_id", maintain_order=True):
        pattern = rows["time"].to_physical().to_numpy().tobytes()
        if pattern not in known:
            try:
                known[pattern] = infer_bars(rows["time"])
            except ValueError as error:
                raise ValueError(f"{error} The series is {series_id!r}.") from None
        yield SeriesInference((series_id,), known[pattern])


def _days(keys: pl.DataFrame) -> list[SeriesInference]:
    """Days: those of a week where rows are close together, else one of a longer period."""
    starts = series_starts(keys)
    ends = np.append(starts[1:], len(keys))
    day = keys["time"].to_physical().to_numpy().astype(np.int64)
    names = keys["series_id"].gather(starts).to_list()
    near = np.diff(day, prepend=day[0]) < SPARSE
    near[starts] = False
    count = ends - starts
    close = np.add.reduceat(near, starts, dtype=np.int64)
    sparse = (count >= 3) & (2 * close < count - 1)
    short = ~sparse & ((count < FEW) | (day[ends - 1] - day[starts] < 7))
    found: list[SeriesInference] = []
    irregular = np.zeros(len(names), dtype=bool)
    for members, one in _periods(day, starts, ends, np.flatnonzero(sparse)):
        if one is None:
            irregular[members] = True
        else:
            found.append(SeriesInference(tuple(names[at] for at in members), one))
    weekly = ~sparse | irregular
    groups = of_week(day, starts, ends, np.flatnonzero(weekly & ~short), irregular)
    found += [SeriesInference(tuple(names[at] for at in members), one) for members, one in groups]
    found = _in_order(_merged(found))
    for members, one in of_week(day, starts, ends, np.flatnonzero(short), irregular):
        for at in members:
            times = keys["time"][int(starts[at]) : int(ends[at])]
            usual = found[0].found.calendar if found else None
            fits = usual is not None and usual.is_session(times).all()
            found.append(SeriesInference((names[at],), fit_of(usual, times) if usual and fits else one))
    return _in_order(_merged(found))


def _periods(
    day: np.ndarray, starts: np.ndarray, ends: np.ndarray, members: np.ndarray
) -> Iterator[tuple[list[int], Inference | None]]:
    """Series of one row a week or less: of the same distance together, and alone where that does not fit."""
    gaps = np.array([np.median(np.diff(day[starts[at] : ends[at]])) for at in members])
    classes = np.searchsorted(_CLASSES, gaps, side="right")
    alone: dict[bytes, Inference | None] = {}
    for number in np.unique(classes):
        same = members[classes == number]
        dates, weights = np.unique(np.concatenate([day[starts[at] : ends[at]] for at in same]), return_counts=True)
        pooled = infer_period(_as_dates(dates), weights)
        if len(same) > 1 and pooled is not None:
            fitting = [at for at in same if _fits(pooled.calendar, _as_dates(day[starts[at] : ends[at]]))]
            if fitting:
                yield fitting, pooled
            same = np.setdiff1d(same, fitting)
        for at in same:
            dates = day[starts[at] : ends[at]]
            if dates.tobytes() not in alone:
                alone[dates.tobytes()] = infer_period(_as_dates(dates))
            yield [int(at)], alone[dates.tobytes()]


def _fits(calendar: Calendar, dates: pl.Series) -> bool:
    fit = fit_of(calendar, dates)
    return fit.n_stray <= MOST_MISSES * fit.n_rows and fit.share >= LEAST_FOUND


def _as_dates(days: np.ndarray) -> pl.Series:
    return pl.Series("time", days.astype(np.int32)).cast(pl.Date)


def _merged(found: Sequence[SeriesInference] | Iterator[SeriesInference]) -> list[SeriesInference]:
    """One for each calendar."""
    by_calendar: dict[Calendar, list[SeriesInference]] = {}
    for one in found:
        by_calendar.setdefault(one.found.calendar, []).append(one)
    merged = []
    for calendar, parts in by_calendar.items():
        counts = {
            name: sum(getattr(part.found, name) for part in parts)
            for name in ("n_rows", "n_stray", "n_sessions", "n_found")
        }
        doubt = next((part.found.doubt for part in parts if part.found.doubt), "")
        series = tuple(series_id for part in parts for series_id in part.series)
        merged.append(SeriesInference(series, Inference(calendar, **counts, doubt=doubt)))
    return merged


def _in_order(found: list[SeriesInference]) -> list[SeriesInference]:
    return sorted(found, key=lambda one: (-len(one.series), -one.found.n_rows))
