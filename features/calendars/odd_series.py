"""Series whose rows contradict the calendar of the others, and what is said about inferred calendars."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
import polars as pl

from tidecast.features.calendars.base import Calendar
from tidecast.features.calendars.infer import SeriesInference, infer_panel
from tidecast.features.error_text import shorten

logger = logging.getLogger(__name__)

LEAST_ROWS, MOST_STRAY, LEAST_FOUND = 8, 0.1, 0.8
"""A series that is met later has the calendar of the others unless, in so many rows or more, more than the first share
are not a session, or fewer sessions than the second share have a row: then its own is inferred."""


def tell(found: list[SeriesInference]) -> None:
    """Log what was inferred, and warn where another calendar may be right."""
    for one in found:
        logger.info("Inferred the calendar %s.", one.describe())
        if one.found.doubt:
            warnings.warn(one.doubt(), UserWarning, stacklevel=4)


def standing_out(rows: pl.DataFrame, usual: Calendar) -> list[SeriesInference]:
    """Return the calendars of those series whose rows contradict the usual calendar and show another one.

    Parameters
    ----------
    rows : polars.DataFrame
        `series_id` and `time`.
    usual : Calendar
    """
    odd = _contradicting(rows, usual)
    if not odd:
        return []
    found = infer_panel(rows.filter(pl.col("series_id").is_in(odd)))
    return [one for one in found if one.found.calendar != usual and one.found.share >= LEAST_FOUND / 2]


def _contradicting(rows: pl.DataFrame, calendar: Calendar) -> list[Any]:
    """Series whose rows do not look like those of a calendar."""
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


def warn_of_named(found: list[SeriesInference], named: Calendar) -> None:
    for one in found:
        warnings.warn(
            f"The rows of a series should fit its calendar {named.name!r}, but those of {shorten(list(one.series), 3)} "
            f"look like {one.found.calendar.name!r}: their steps would have the wrong dates and widths. Name their "
            "calendar in a column 'calendar', or make them a panel of their own.",
            UserWarning,
            stacklevel=4,
        )
