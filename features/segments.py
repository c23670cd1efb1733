"""Segments of a sorted panel: where series begin and pause; and positions of series among others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

MAX_PAUSE = timedelta(days=100)
"""A longer gap breaks a series: no return, volatility or network state crosses it (the ECB's ISK paused nine years)."""

BLOCK = 1 << 16
"""Rows of whole series that are looked at, or computed for, at a time."""

LONG_PERIODS = {"monthly": 31, "quarterly": 92, "halfyearly": 184, "yearly": 366}
"""Days of a session in calendars of long periods, by the first word of their names."""

LONGEST_IN_SESSIONS = 4
"""A gap of more sessions of a long period is a pause."""


def longest_gap(calendar: str) -> timedelta:
    """Return the longest gap that is not a pause: `MAX_PAUSE`, or a few sessions of a long period.

    Parameters
    ----------
    calendar : str
        Name of the calendar.
    """
    days = LONG_PERIODS.get(re.split("[ -]", calendar)[0], 0) if "|" not in calendar else 0
    return max(MAX_PAUSE, timedelta(days=days * LONGEST_IN_SESSIONS))


def longest_gaps(panel: pl.DataFrame) -> pl.Series | None:
    """Return the `longest_gap` of each row, of Duration, by its column `calendar`; None if all are `MAX_PAUSE`.

    Parameters
    ----------
    panel : polars.DataFrame
    """
    if "calendar" not in panel.columns:
        return None
    names = panel["calendar"].cast(pl.String)
    gaps = {name: longest_gap(name) for name in names.unique().drop_nulls()}
    if all(gap == MAX_PAUSE for gap in gaps.values()):
        return None
    return names.replace_strict(gaps, default=MAX_PAUSE, return_dtype=pl.Duration("us"))


def series_starts(panel: pl.DataFrame) -> np.ndarray:
    """Positions at which the series of a sorted panel begin, int64 of shape (n_series,).

    Parameters
    ----------
    panel : polars.DataFrame
        `series_id` and `time`. If polars knows the names as sorted, those between two equal ones are not read.
    """
    return _starts(panel["series_id"], _falls(panel))


def starts_if_sorted(panel: pl.DataFrame) -> np.ndarray | None:
    """Positions at which the series begin if rows are sorted by ``series_id`` and ``time`` and unique, else None.

    Checking is far cheaper than sorting again.

    Parameters
    ----------
    panel : polars.DataFrame
        `series_id` and `time`.
    """
    falls = _falls(panel)
    starts = _starts(panel["series_id"], falls)
    in_order = panel["series_id"].gather(starts).is_sorted()  # and unique, because no two neighbours are equal
    in_order &= len(falls) < max(len(starts), 1) and bool(np.isin(falls, starts).all())  # from series to series only
    return starts if in_order else None


def in_series_order(panel: pl.DataFrame) -> pl.DataFrame:
    """Return the rows sorted by ``series_id`` and ``time``; the panel itself, not a copy, if they are.

    Parameters
    ----------
    panel : polars.DataFrame
    """
    return panel if starts_if_sorted(panel) is not None else panel.sort("series_id", "time")


def blocks_of(series: NDArray[np.int64], size: int = BLOCK) -> Iterator[slice]:
    """Rows of whole series, about `size` at a time.

    Parameters
    ----------
    series : ndarray of shape (n_series + 1,)
        First row of each series, then the number of rows.
    size : int, default=BLOCK

    Yields
    ------
    slice
    """
    begin = 0
    while begin < series[-1]:
        end = int(series[np.searchsorted(series, begin + size, side="right") - 1])
        if end <= begin:  # a series longer than a block
            end = int(series[np.searchsorted(series, begin, side="right")])
        yield slice(begin, end)
        begin = end


def _starts(names: pl.Series, falls: np.ndarray) -> np.ndarray:
    """Positions at which other names begin, see `series_starts`; `falls` are the rows at which time falls."""
    if names.flags["SORTED_ASC"] and len(names):
        runs = np.append(0, falls)
        first, last = names.gather(runs), names.gather(np.append(runs[1:], len(names)) - 1)
        if first.equals(last):
            return runs[np.append(True, first[1:].ne_missing(first[:-1]).to_numpy())]
    changes = names[1:].ne_missing(names[:-1]).arg_true().to_numpy()
    return np.append(0, changes.astype(np.int64) + 1)[: len(names)]


def _falls(panel: pl.DataFrame) -> np.ndarray:
    """Positions of rows that are not later than the row before, whichever series that is of, int64."""
    time = panel["time"].to_physical().to_numpy()  # NumPy compares in a fraction of the time
    return np.flatnonzero(time[1:] <= time[:-1]) + 1


def pauses(panel: pl.DataFrame) -> np.ndarray:
    """Positions of rows that come after a pause since the row before, whichever series that is of, int64.

    A pause is longer than `MAX_PAUSE`, or than `longest_gap` if the column `calendar` names one of long periods.

    Parameters
    ----------
    panel : polars.DataFrame
        `time` and, optionally, `calendar`.
    """
    time, longest = panel["time"], longest_gaps(panel)
    usual = pl.Series([MAX_PAUSE]) if longest is None else longest[1:]
    if isinstance(time.dtype, pl.Datetime):
        limit = usual.cast(pl.Duration(time.dtype.time_unit)).to_physical().to_numpy()
    else:
        limit = usual.dt.total_days().to_numpy()
    return np.flatnonzero(np.diff(time.to_physical().to_numpy()) > limit) + 1


def segment_starts(panel: pl.DataFrame, starts: np.ndarray) -> np.ndarray:
    """Positions at which the segments of a sorted panel begin, int64: starts of series, and ends of pauses.

    Parameters
    ----------
    panel : polars.DataFrame
    starts : ndarray of int64
        Positions at which the series begin.
    """
    after = pauses(panel)
    return np.union1d(starts, after) if len(after) else starts


def places_of(series_id: pl.Series, known: pl.Series) -> np.ndarray:
    """Position of each name among known names, int64; −1 for an unknown one.

    Parameters
    ----------
    series_id : Series
    known : Series
        Distinct names.
    """
    if series_id.equals(known):  # a whole day of all series, the usual case, needs no join
        return np.arange(len(known))
    positions = pl.DataFrame({"series_id": known}).with_row_index("position")
    asked = pl.DataFrame({"series_id": series_id}).join(positions, on="series_id", how="left", maintain_order="left")
    return asked["position"].cast(pl.Int64).fill_null(-1).to_numpy(writable=True)


def at_places(values: pl.Series, places: np.ndarray) -> pl.Series:
    """Return the values at these positions, null at −1.

    Parameters
    ----------
    values : Series
    places : ndarray of int64
    """
    missing = places < 0
    if not missing.any():
        return values.gather(places)
    return values.extend_constant(None, 1).gather(np.where(missing, len(values), places))


def breaks(panel: pl.DataFrame | None = None) -> pl.Expr:
    """Number of pauses of a series up to each row (0, 1, …), as an expression: ``breaks(panel).over("series_id")``.

    Parameters
    ----------
    panel : polars.DataFrame, optional
        Sorted; its column `calendar` says which gaps are pauses, see `pauses`. None: gaps longer than `MAX_PAUSE`.

    Returns
    -------
    polars.Expr
    """
    limit = pl.lit(MAX_PAUSE)
    if panel is not None and longest_gaps(panel) is not None:
        name = pl.col("calendar").cast(pl.String)
        gaps = {name: longest_gap(name) for name in panel["calendar"].cast(pl.String).unique().drop_nulls()}
        limit = name.replace_strict(gaps, default=MAX_PAUSE, return_dtype=pl.Duration("us"))
    return (pl.col("time").diff() > limit).fill_null(False).cast(pl.Int32).cum_sum()
