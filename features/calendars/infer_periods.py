"""Infer calendars of weeks, months, quarters and years from dates."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from tidecast.features.calendars.base import get_calendar
from tidecast.features.calendars.daily import DailyCalendar
from tidecast.features.calendars.fit import Inference, fit_of
from tidecast.features.calendars.periodic import MONTHS_OF, PLACES, period_name
from tidecast.features.calendars.weekdays import WEEKDAYS, weekday_of

SPARSE = 5
"""Dates of which most are at least so many days apart are one of a week, a month or a longer period."""

EXCHANGES = ("XNYS", "TARGET", "XLON", "XTKS")
"""Exchanges that are tried where holidays may have moved a session."""

MOST_MISSES = 0.25
"""Share of dates that may lie on other days than the calendar's."""

LEAST_FOUND = 0.4
"""Share of the sessions from the first to the last date that must have one."""

TELLING = 9
"""So many dates without a weekend among them are weekdays: other days would have one with a probability of 95 %."""

AHEAD = 12
"""Sessions ahead that two calendars are compared on."""

_LONGEST = {"monthly": 45, "quarterly": 135, "halfyearly": 270, "yearly": 550}
_SHORTEST = {"monthly": 20, "quarterly": 75, "halfyearly": 135, "yearly": 270}


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
    if day.size < 3 or (gap := float(np.median(np.diff(day)))) < SPARSE:
        return None
    found = _best(list(_plain(day, weight, gap)), dates, weight)
    if day.size >= TELLING - 1 and (found is None or found[1] > 0):
        closer = _best(list(_of_exchanges(day, weight, gap)), dates, weight)
        if closer is not None and (found is None or closer[1] < found[1]):
            found = closer
    if found is None:
        return None
    best, misses = found
    if misses > MOST_MISSES * weight.sum() or (day.size < 4 and misses > 0):
        return None
    return fit_of(best[0], dates, _rivals(best, dates))


def _best(names: list[str], dates: pl.Series, weight: np.ndarray) -> tuple[list[DailyCalendar], float] | None:
    """The calendars on whose sessions most dates lie, the first one first, and the weight of those that do not."""
    best: list[DailyCalendar] = []
    fewest = np.inf
    for name in dict.fromkeys(names):
        calendar = get_calendar(name)
        assert isinstance(calendar, DailyCalendar)
        on = calendar.is_session(dates)
        if not on.any():
            continue
        number = calendar.numbers(dates.filter(pl.Series(on)))
        misses = float(weight[~on].sum())
        if on.sum() < LEAST_FOUND * (number[-1] - number[0] + 1) or misses > fewest:
            continue
        best = [*best, calendar] if misses == fewest else [calendar]
        fewest = misses
    return (best, fewest) if best else None


def _plain(day: np.ndarray, weight: np.ndarray, gap: float) -> Iterator[str]:
    """Names that need no exchange, the likelier first among equals."""
    weekday, month = weekday_of(day), day.astype("datetime64[D]").astype("datetime64[M]")
    if gap < 10:
        yield from (f"weekly {WEEKDAYS[at]}" for at in _most_common(weekday, weight))
    elif gap < 20:
        yield from (f"biweekly {np.datetime64(int(at), 'D')}" for at in _most_common(day % 14, weight))
    working = day.size >= TELLING and bool((weekday < 5).all())
    of_days: tuple[str | None, ...] = ("weekday", None) if working else (None, "weekday")
    month_day = (day.astype("datetime64[D]") - month).astype(np.int64) + 1
    for period in _periods(gap):
        for ending in _endings(day, weight, period):
            yield from (period_name(period, place, of, ending) for of in of_days for place in ("first", "last"))
        if period == "monthly":
            for at in _most_common(month_day, weight):
                if 1 < at <= 28:
                    yield from (period_name(period, str(at), of) for of in of_days)
            for at in _most_common(weekday, weight):
                yield from (period_name(period, place, WEEKDAYS[at]) for place in PLACES)


def _of_exchanges(day: np.ndarray, weight: np.ndarray, gap: float) -> Iterator[str]:
    """Names of the first and last sessions of exchanges."""
    for exchange in EXCHANGES:
        if gap < 10:
            yield from (f"weekly {place} {exchange}" for place in ("last", "first"))
        for period in _periods(gap):
            for ending in _endings(day, weight, period):
                yield from (period_name(period, place, exchange, ending) for place in ("last", "first"))


def _periods(gap: float) -> Iterator[str]:
    return (period for period in MONTHS_OF if _SHORTEST[period] <= gap < _LONGEST[period])


def _endings(day: np.ndarray, weight: np.ndarray, period: str) -> list[int]:
    """The last months of periods that begin or end in the months of most dates, that of the calendar year first."""
    length = MONTHS_OF[period]
    month = day.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    common = [at for one in _most_common(month % length, weight) for at in (one, (one - 1) % length)]
    return sorted({at + 1 for at in common}, key=lambda ending: (ending != length, ending))


def _most_common(values: np.ndarray, weight: np.ndarray) -> list[int]:
    """The two most common values, the most common first."""
    found, at = np.unique(values, return_inverse=True)
    counts = np.bincount(at, weights=weight)
    return [int(value) for value in found[np.argsort(-counts, kind="stable")[:2]]]


def _rivals(best: list[DailyCalendar], dates: pl.Series) -> str:
    """Which other calendars fit as well and go on otherwise."""
    chosen = best[0]
    if len(dates) >= TELLING and chosen.name.endswith("weekday"):
        best = [one for one in best if one.name.endswith(("weekday", *WEEKDAYS, *EXCHANGES))]
    number = chosen.number_at(dates[-1])
    coming = chosen.times(number + np.arange(1, AHEAD + 1))
    others = [
        repr(other.name)
        for other in best[1:]
        if not coming.equals(other.times(other.number_at(dates[-1]) + np.arange(1, AHEAD + 1)))
    ]
    return f"the dates fit {' and '.join(others[:2])} as well" if others else ""
