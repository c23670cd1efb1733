"""Infer calendars of weeks, months, quarters and years from dates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from tidecast.features.calendars.by_name import get_calendar
from tidecast.features.calendars.daily import DailyCalendar
from tidecast.features.calendars.inference import LEAST_FOUND, MOST_MISSES, Inference, fit_of
from tidecast.features.calendars.periodic import MONTHS_OF, ORDINALS, period_name
from tidecast.features.calendars.spelling import WEEKDAYS, weekday_of

SPARSE = 5
"""A series has one row a week, a month or a longer period when most of its dates are at least so many days apart."""

EXCHANGES = ("XNYS", "TARGET", "XLON", "XTKS")
"""Exchanges that are tried where holidays may have moved a session."""

ENOUGH_WEEKDAYS = 9
"""So many dates without a weekend among them are weekdays: other days would have one with a probability of 95 %."""

COMPARED = 12
"""Calendars differ when they differ in one of so many sessions to come."""

_DISTANCES = {"monthly": (20, 45), "quarterly": (75, 135), "halfyearly": (135, 270), "yearly": (270, 550)}
"""Median distances of dates in days, at least and below, for which a period is tried."""


def infer_period(dates: pl.Series, weights: np.ndarray | None = None) -> Inference | None:
    """Return the calendar of periods that dates suggest; None where no calendar fits.

    Parameters
    ----------
    dates : Series of Date
        Distinct and sorted.
    weights : ndarray of shape (n_dates,), optional
        How many series have a row on each date. None: one each.
    """
    day = dates.to_physical().to_numpy().astype(np.int64)
    weight = np.ones(day.size) if weights is None else np.asarray(weights, dtype=float)
    if day.size < 3 or (distance := float(np.median(np.diff(day)))) < SPARSE:
        return None
    best = _best(_plain_names(day, weight, distance), dates, weight)
    if day.size >= ENOUGH_WEEKDAYS - 1 and (best is None or best.misses > 0):
        with_holidays = _best(_exchange_names(day, weight, distance), dates, weight)
        if with_holidays is not None and (best is None or with_holidays.misses < best.misses):
            best = with_holidays
    if best is None or best.misses > MOST_MISSES * weight.sum() or (day.size < 4 and best.misses > 0):
        return None
    return fit_of(best.calendars[0], dates, _doubt(best.calendars, dates))


@dataclass(frozen=True)
class _Best:
    """Calendars that fit dates equally well, the likeliest first, and the weight of the dates outside them."""

    calendars: list[DailyCalendar]
    misses: float


def _best(names: Iterator[str], dates: pl.Series, weight: np.ndarray) -> _Best | None:
    """Return the calendars with most of the dates; None where too few of any calendar's sessions have a date."""
    best: _Best | None = None
    for name in dict.fromkeys(names):
        calendar = get_calendar(name)
        assert isinstance(calendar, DailyCalendar)
        on = calendar.is_session(dates)
        if not on.any():
            continue
        number = calendar.numbers(dates.filter(pl.Series(on)))
        misses = float(weight[~on].sum())
        if on.sum() < LEAST_FOUND * (number[-1] - number[0] + 1):
            continue
        if best is None or misses < best.misses:
            best = _Best([calendar], misses)
        elif misses == best.misses:
            best.calendars.append(calendar)
    return best


def _plain_names(day: np.ndarray, weight: np.ndarray, distance: float) -> Iterator[str]:
    """Yield names of calendars without an exchange, the likeliest first."""
    weekday, month = weekday_of(day), day.astype("datetime64[D]").astype("datetime64[M]")
    if distance < 10:
        yield from (f"weekly {WEEKDAYS[at]}" for at in _most_common(weekday, weight))
    elif distance < 20:
        yield from (f"biweekly {np.datetime64(at, 'D')}" for at in _most_common(day % 14, weight))
    only_weekdays = day.size >= ENOUGH_WEEKDAYS and bool((weekday < 5).all())
    counted: tuple[str | None, ...] = ("weekday", None) if only_weekdays else (None, "weekday")
    for period in _periods(distance):
        for ending in _endings(day, weight, period):
            yield from (period_name(period, ordinal, of, ending) for of in counted for ordinal in ("first", "last"))
        if period == "monthly":
            day_of_month = (day.astype("datetime64[D]") - month).astype(np.int64) + 1
            for at in _most_common(day_of_month, weight):
                if 1 < at <= 28:
                    yield from (period_name(period, str(at), of) for of in counted)
            for at in _most_common(weekday, weight):
                yield from (period_name(period, ordinal, WEEKDAYS[at]) for ordinal in ORDINALS)


def _exchange_names(day: np.ndarray, weight: np.ndarray, distance: float) -> Iterator[str]:
    """Yield names of the last and first sessions of exchanges."""
    for exchange in EXCHANGES:
        if distance < 10:
            yield from (f"weekly {ordinal} {exchange}" for ordinal in ("last", "first"))
        for period in _periods(distance):
            for ending in _endings(day, weight, period):
                yield from (period_name(period, ordinal, exchange, ending) for ordinal in ("last", "first"))


def _periods(distance: float) -> list[str]:
    return [period for period, (least, below) in _DISTANCES.items() if least <= distance < below]


def _endings(day: np.ndarray, weight: np.ndarray, period: str) -> list[int]:
    """Return the last months of periods that begin or end in the commonest months, the calendar year's first."""
    length = MONTHS_OF[period]
    month = day.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    common = {last for at in _most_common(month % length, weight) for last in (at, (at - 1) % length)}
    return sorted((last + 1 for last in common), key=lambda ending: (ending != length, ending))


def _most_common(values: np.ndarray, weight: np.ndarray) -> list[int]:
    """Return the two most common values, the most common first."""
    found, at = np.unique(values, return_inverse=True)
    counts = np.bincount(at, weights=weight)
    return found[np.argsort(-counts, kind="stable")[:2]].tolist()


def _doubt(calendars: list[DailyCalendar], dates: pl.Series) -> str:
    """Name the calendars that fit as well as the first one but have other sessions to come."""
    chosen, *others = calendars
    if len(dates) >= ENOUGH_WEEKDAYS and chosen.name.endswith("weekday"):
        others = [other for other in others if other.name.endswith(("weekday", *WEEKDAYS, *EXCHANGES))]
    coming = _coming(chosen, dates)
    names = [repr(other.name) for other in others if not coming.equals(_coming(other, dates))]
    return f"the dates fit {' and '.join(names[:2])} as well" if names else ""


def _coming(calendar: DailyCalendar, dates: pl.Series) -> pl.Series:
    """Return the next sessions of a calendar after the last date."""
    return calendar.times(calendar.number_at(dates[-1]) + np.arange(1, COMPARED + 1))
