"""Missing prices: series that end before their panel, and a feed that ends before today."""

from datetime import date

import polars as pl

from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.flows.rules.measures import KEY, LASTING, sessions_in

STALE = 3
"""Sessions behind at which a series, or the feed, is stale. Two behind are a holiday and a late delivery."""

FLAGS = {"row": pl.Int64, "series_id": pl.String, "time": pl.Date, "rule": pl.String}
"""Columns of flags."""


def stale(rows: pl.DataFrame, history: pl.DataFrame, calendar: PanelCalendar, today: date | None) -> pl.DataFrame:
    """Flags of the panel: series that had a price every session and stopped, and the feed as a whole.

    A series is flagged while it is `STALE` to 63 sessions behind the newest price; after that it has ended. The feed is
    stale if its newest price is `STALE` sessions before `today`.

    Parameters
    ----------
    rows, history : polars.DataFrame
        series_id and time of good rows, and of rows known before.
    calendar : PanelCalendar
        The sessions of each series.
    today : date or None
        None: the feed is not checked.

    Returns
    -------
    polars.DataFrame
        row (always null), series_id (null for the feed), time (of the last price), rule.
    """
    prices = pl.concat([frame.select(KEY) for frame in (history, rows) if not frame.is_empty()] or [rows.select(KEY)])
    ends = prices.group_by("series_id").agg(pl.col("time").max())
    ends = ends.with_columns(sessions_in(ends, calendar)).drop_nulls()
    if ends.is_empty():
        return pl.DataFrame(schema=FLAGS)
    newest = ends.sort("time", "series_id", descending=[True, False]).head(1)
    behind = pl.Series(calendar.through(ends["series_id"], newest["time"][0])) - ends["session"]
    late = ends.filter(behind.is_between(STALE, LASTING))
    late = late.join(_daily(prices.join(late, on="series_id", how="semi"), calendar), on="series_id", how="semi")
    flags = [late.with_columns(rule=pl.lit("stale_series"))]
    days = calendar.days
    if today is not None and days.number_at(today) - days.number_at(newest["time"][0]) >= STALE:
        flags.append(newest.with_columns(series_id=pl.lit(None, pl.String), rule=pl.lit("stale_feed")))
    found = pl.concat(flags).with_columns(row=pl.lit(None, pl.Int64))
    return found.select(pl.col(name).cast(kind) for name, kind in FLAGS.items())


def _daily(prices: pl.DataFrame, calendar: PanelCalendar) -> pl.DataFrame:
    """Series with a price every session, judged by their last 63 prices; with 10 or fewer, none is."""
    counted = prices.with_columns(sessions_in(prices, calendar)).drop_nulls().unique(["series_id", "session"])
    steps = pl.col("session").tail(LASTING).diff()
    usual = counted.sort("series_id", "session").group_by("series_id").agg((steps.median() == 1) & (pl.len() > 10))
    return usual.filter("session").select("series_id")
