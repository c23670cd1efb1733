"""Rows that are not a session of an inferred calendar: moved to the session they belong to, or left out."""

from __future__ import annotations

import warnings

import numpy as np
import polars as pl

from tidecast.features.calendars.daily import FIRST_DAY, LAST_DAY, DailyCalendar
from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.features.error_text import counted
from tidecast.features.segments import BLOCK

SHOWN = 3
"""Rows that a warning names."""

NEAR = 0.4
"""A row moves to the next session of a week, month, … when that is at most this share of the period away."""


def settle(panel: pl.DataFrame, calendar: PanelCalendar) -> tuple[pl.DataFrame, np.ndarray]:
    """Return the panel without rows that are not a session of their series' inferred calendar.

    A row a few days before the session of its week, month, quarter or year moves to that session if its series has no
    row there. Other rows that are not a session are left out. A warning names the rows. Rows of series whose calendar
    was named stay as they are, because there such a row is an error.

    Parameters
    ----------
    panel : polars.DataFrame
        Checked and sorted.
    calendar : PanelCalendar

    Returns
    -------
    panel : polars.DataFrame
    kept : ndarray of int64
        Positions of its rows in the given panel.
    """
    kept = np.arange(len(panel))
    keys = panel.select("series_id", "time")
    stray = np.array(calendar.was_inferred(keys["series_id"]))
    for begin in range(0, len(keys), BLOCK):
        block = slice(begin, begin + BLOCK)
        stray[block] &= ~calendar.is_session(keys[block])
    if stray.any():  # a year that no calendar knows is an error, not an odd day
        stray &= keys["time"].dt.date().is_between(FIRST_DAY, LAST_DAY).to_numpy()
    if not stray.any():
        return panel, kept
    rows = keys.with_row_index("row").filter(pl.Series(stray))
    moved = _moves(rows, calendar).join(keys, on=["series_id", "time"], how="anti")
    moved = moved.unique(["series_id", "time"], keep="last", maintain_order=True)
    _warn(rows, moved, calendar)
    time = panel["time"].clone()
    if len(moved):
        time = time.scatter(moved["row"].to_numpy(), moved["time"])
    stray[moved["row"].to_numpy()] = False
    kept = kept[~stray]
    return panel.with_columns(time)[kept], kept


def _moves(rows: pl.DataFrame, calendar: PanelCalendar) -> pl.DataFrame:
    """Return `row`, `series_id` and the session to which each row may move."""
    parts = [rows.clear().select("row", "series_id", "time")]
    for one, at in calendar.groups(rows):
        if isinstance(one, DailyCalendar) and (step := _step(one)) >= 5:
            own = rows[at]
            before = np.array([one.number_at(day) for day in own["time"]])
            following = one.times(before + 1)
            near = (following - own["time"]).dt.total_days() <= NEAR * step
            parts.append(own.select("row", "series_id", time=following).filter(near))
    return pl.concat(parts).sort("row")


def _step(calendar: DailyCalendar) -> float:
    """Mean days from a session to the next."""
    dates = calendar.dates.astype(np.int64)
    return float(dates[-1] - dates[0]) / (len(dates) - 1)


def _warn(rows: pl.DataFrame, moved: pl.DataFrame, calendar: PanelCalendar) -> None:
    to = dict(moved.select("row", "time").iter_rows())
    first = [
        f"{series_id!r} at {time}" + (f" (moved to {to[row]})" if row in to else "")
        for row, series_id, time in rows.head(SHOWN).iter_rows()
    ]
    more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    names = list(dict.fromkeys(one.name for one, _ in calendar.groups(rows)))
    left_out = len(rows) - len(moved)
    fate = f"{left_out} left out" + (f", {len(moved)} moved to the next session" if len(moved) else "")
    warnings.warn(
        f"Every time should be a session of the inferred calendar {', '.join(map(repr, names))}, found "
        f"{counted(len(rows), 'row that is', 'rows that are')} not: {', '.join(first)}{more}; {fate}. If they are "
        "sessions, name the calendar: PanelSchema(calendar=...), or a column 'calendar'; else drop or correct them.",
        UserWarning,
        stacklevel=3,
    )
