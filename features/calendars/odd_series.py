"""Series whose rows contradict the calendar of the others; log entries and warnings about inferred calendars."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
import polars as pl

from tidecast.features.calendars.base import Calendar
from tidecast.features.calendars.infer import SeriesInference, infer_panel
from tidecast.features.calendars.inference import SHOWN
from tidecast.features.error_text import shorten
from tidecast.features.segments import BLOCK, blocks_of, series_starts

logger = logging.getLogger(__name__)

LEAST_ROWS, MOST_STRAY, LEAST_FOUND = 8, 0.1, 0.8
"""The calendar of a new series is inferred when, in at least so many rows, more than the first share are not a session
of the usual calendar, or fewer of its sessions than the second share have a row."""


def report_inferred(inferred: list[SeriesInference]) -> None:
    """Log inferred calendars, and warn where another calendar may be right.

    Parameters
    ----------
    inferred : list of SeriesInference
    """
    for one in inferred:
        logger.info("Inferred the calendar %s.", one.describe())
        if one.found.doubt:
            warnings.warn(one.doubt(), UserWarning, stacklevel=4)


def infer_contradicting(rows: pl.DataFrame, usual: Calendar) -> list[SeriesInference]:
    """Return the calendars of those series whose rows contradict the usual calendar and show another one.

    Parameters
    ----------
    rows : polars.DataFrame
        `series_id` and `time`.
    usual : Calendar
        The calendar of the other series.
    """
    odd = _contradicting(rows, usual)
    if not odd:
        return []
    inferred = infer_panel(rows.filter(pl.col("series_id").is_in(odd)))
    return [one for one in inferred if one.found.calendar != usual and one.found.share >= LEAST_FOUND / 2]


def _contradicting(rows: pl.DataFrame, calendar: Calendar) -> list[Any]:
    """Return the series whose rows do not fit a calendar; those of a sorted panel are looked at block by block."""
    if len(rows) > BLOCK and rows["series_id"].flags["SORTED_ASC"]:
        blocks = blocks_of(np.append(series_starts(rows), len(rows)), BLOCK)
        return [name for block in blocks for name in _contradicting_in(rows[block], calendar)]
    return _contradicting_in(rows, calendar)


def _contradicting_in(rows: pl.DataFrame, calendar: Calendar) -> list[Any]:
    """As `_contradicting`, of rows that are looked at together."""
    on = calendar.is_session(rows["time"])
    number = np.zeros(len(rows), dtype=np.int64)
    number[on] = calendar.numbers(rows["time"].filter(pl.Series(on)) if not on.all() else rows["time"])
    table = rows.select("series_id", number=pl.Series(number), on=pl.Series(on, dtype=pl.Boolean))
    inside = pl.col("number").filter(pl.col("on"))
    fits = table.group_by("series_id").agg(
        rows=pl.len(), stray=(~pl.col("on")).sum(), found=inside.n_unique(), sessions=inside.max() - inside.min() + 1
    )
    share = pl.col("found") / pl.col("sessions").fill_null(1)
    odd = (pl.col("rows") >= LEAST_ROWS) & (
        (pl.col("stray") > MOST_STRAY * pl.col("rows")) | (share < LEAST_FOUND) | (pl.col("found") == 0)
    )
    return fits.filter(odd)["series_id"].sort().to_list()


def warn_of_named(contradicting: list[SeriesInference], named: Calendar) -> None:
    """Warn that series do not fit the calendar that was named for them.

    Parameters
    ----------
    contradicting : list of SeriesInference
        The series, and the calendars that their rows suggest.
    named : Calendar
    """
    for one in contradicting:
        names = shorten(list(one.series), SHOWN)
        warnings.warn(
            f"The rows of a series should fit its calendar {named.name!r}, but those of {names} look like "
            f"{one.found.calendar.name!r}: their steps would have the wrong dates and widths. Name their calendar in a "
            "column 'calendar', or make them a panel of their own.",
            UserWarning,
            stacklevel=4,
        )
