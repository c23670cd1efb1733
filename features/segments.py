"""Where the series of a sorted panel begin and pause, and where a series stands among others."""

from __future__ import annotations

import re
from datetime import timedelta

import numpy as np
import polars as pl

MAX_PAUSE = timedelta(days=100)
"""A longer gap breaks a series: no return, volatility or network state crosses it (the ECB's ISK paused nine years)."""


LONG_PERIODS = {"monthly": 31, "quarterly": 92, "halfyearly": 184, "yearly": 366}
"""Days of a session, by how the names of calendars of long periods begin."""

LONGEST_IN_SESSIONS = 4
"""Sessions of a long period after which a gap is a pause."""


def longest_gap(calendar: str) -> timedelta:
    """Return the longest gap that is not a pause, in a calendar of that name: `MAX_PAUSE`, or a few long sessions."""
    days = LONG_PERIODS.get(re.split("[ -]", calendar)[0], 0) if "|" not in calendar else 0
    return max(MAX_PAUSE, timedelta(days=days * LONGEST_IN_SESSIONS))


def longest_gaps(panel: pl.DataFrame) -> pl.Series | None:
    """Return `longest_gap` of each row by its column `calendar`; None where it is `MAX_PAUSE` for all."""
    if "calendar" not in panel.columns:
        return None
    names = panel["calendar"].cast(pl.String)
    gaps = {name: longest_gap(name) for name in names.unique().drop_nulls()}
    if all(gap == MAX_PAUSE for gap in gaps.values()):
        return None
    return names.replace_strict(gaps, default=MAX_PAUSE, return_dtype=pl.Duration("us"))


def series_starts(panel: pl.DataFrame) -> np.ndarray:
    """Positions at which the series of a sorted panel begin, int64.

    Where polars knows the names as sorted, those between two equal ones are not looked at.
    """
    return _starts(panel["series_id"], _falls(panel))


def starts_if_sorted(panel: pl.DataFrame) -> np.ndarray | None:
    """What `series_starts` gives where rows are sorted by ``series_id`` and ``time``, none twice; else None.

    Far cheaper to ask than to sort again.
    """
    falls = _falls(panel)
    starts = _starts(panel["series_id"], falls)
    in_order = panel["series_id"].gather(starts).is_sorted()  # and unique, for no two neighbours are equal
    in_order &= len(falls) < max(len(starts), 1) and bool(np.isin(falls, starts).all())  # from series to series only
    return starts if in_order else None


def _starts(names: pl.Series, falls: np.ndarray) -> np.ndarray:
    """Positions at which other names begin; rows at which time falls are looked at first, see `series_starts`."""
    if names.flags["SORTED_ASC"] and len(names):
        runs = np.append(0, falls)
        first, last = names.gather(runs), names.gather(np.append(runs[1:], len(names)) - 1)
        if first.equals(last):
            return runs[np.append(True, first[1:].ne_missing(first[:-1]).to_numpy())]
    changes = names[1:].ne_missing(names[:-1]).arg_true().to_numpy()
    return np.append(0, changes.astype(np.int64) + 1)[: len(names)]


def _falls(panel: pl.DataFrame) -> np.ndarray:
    """Positions of rows that are not later than the row before, whichever series that is of, int64."""
    time = panel["time"].to_physical().to_numpy()  # in a fraction of the time that polars takes to compare
    return np.flatnonzero(time[1:] <= time[:-1]) + 1


def pauses(panel: pl.DataFrame) -> np.ndarray:
    """Positions of rows that come after a pause since the row before, whichever series that is of, int64.

    A pause is longer than `MAX_PAUSE`; where the column `calendar` names one of long periods, than `longest_gap`.
    """
    time, longest = panel["time"], longest_gaps(panel)
    usual = pl.Series([MAX_PAUSE]) if longest is None else longest[1:]
    if isinstance(time.dtype, pl.Datetime):
        limit = usual.cast(pl.Duration(time.dtype.time_unit)).to_physical().to_numpy()
    else:
        limit = usual.dt.total_days().to_numpy()
    return np.flatnonzero(np.diff(time.to_physical().to_numpy()) > limit) + 1


def segment_starts(panel: pl.DataFrame, starts: np.ndarray) -> np.ndarray:
    """Positions at which series of a sorted panel begin, given as `starts`, or go on after a pause."""
    after = pauses(panel)
    return np.union1d(starts, after) if len(after) else starts


def places_of(series_id: pl.Series, known: pl.Series) -> np.ndarray:
    """Where each of `series_id` stands in `known`, whose values are distinct; int64, −1 for those that do not."""
    if series_id.equals(known):  # a whole day of all series, the usual case, needs no join
        return np.arange(len(known))
    places = pl.DataFrame({"series_id": known}).with_row_index("place")
    asked = pl.DataFrame({"series_id": series_id}).join(places, on="series_id", how="left", maintain_order="left")
    return asked["place"].cast(pl.Int64).fill_null(-1).to_numpy(writable=True)


def at_places(values: pl.Series, places: np.ndarray) -> pl.Series:
    """The values at these places, null at −1."""
    missing = places < 0
    if not missing.any():
        return values.gather(places)
    return values.extend_constant(None, 1).gather(np.where(missing, len(values), places))


def breaks(panel: pl.DataFrame | None = None) -> pl.Expr:
    """Per row of a sorted panel: how often its series has paused so far (0, 1, …), see `pauses`.

    Use it per series: ``breaks(panel).over("series_id")``. Without the panel, a pause is longer than `MAX_PAUSE`.
    """
    limit = pl.lit(MAX_PAUSE)
    if panel is not None and longest_gaps(panel) is not None:
        name = pl.col("calendar").cast(pl.String)
        gaps = {name: longest_gap(name) for name in panel["calendar"].cast(pl.String).unique().drop_nulls()}
        limit = name.replace_strict(gaps, default=MAX_PAUSE, return_dtype=pl.Duration("us"))
    return (pl.col("time").diff() > limit).fill_null(False).cast(pl.Int32).cum_sum()
