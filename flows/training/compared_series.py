"""The series that models are compared on: all of them, or of many a sample."""

from __future__ import annotations

import hashlib
from datetime import date

import polars as pl

MOST_FORECASTS = 600_000
"""Of a model in a comparison, about: origins × series × steps. What more series add to a test on daily means is small,
because series of a session share its surprises; docs/decisions.md has the numbers."""

FEWEST_SERIES = 30
"""In a sample, at least: a gate looks at the 10th percentile over series."""


def compared_series(panel: pl.DataFrame, origins: int, horizon: int, through: date | None = None) -> pl.DataFrame:
    """Return the rows of the series that models are compared on.

    Of more series than a comparison of about `MOST_FORECASTS` needs, a sample of those that have a row among the newest
    `origins` sessions. The sample depends on the names of series only, so that a later training takes the same ones.

    Parameters
    ----------
    panel : polars.DataFrame
        ``series_id``, ``time``, and any other columns.
    origins : int
        Sessions that each model forecasts from.
    horizon : int
    through : date, optional
        As if the panel ended on this session.

    Returns
    -------
    polars.DataFrame
        Rows of `panel`, in its order.
    """
    drawn = _sample(panel, origins, horizon, through)
    chosen = [] if drawn is None else [pl.col("series_id").is_in(drawn.implode())]
    chosen += [] if through is None else [pl.col("time") <= through]
    return panel.filter(*chosen) if chosen else panel


def newest_rows(panel: pl.DataFrame, through: date | None = None) -> pl.DataFrame:
    """Return the ``series_id`` of each series and the newest ``time`` of its rows.

    Parameters
    ----------
    panel, through
        As of `compared_series`.
    """
    rows = panel.lazy().select("series_id", "time")
    rows = rows if through is None else rows.filter(pl.col("time") <= through)
    return rows.group_by("series_id").agg(pl.col("time").max()).collect(engine="streaming")


def sample_text(panel: pl.DataFrame, origins: int, horizon: int) -> str:
    """Return a sentence on the sample that models are compared on; empty if they are compared on all series.

    Parameters
    ----------
    panel, origins, horizon
        As of `compared_series`.
    """
    drawn = _sample(panel, origins, horizon, None)
    if drawn is None:
        return ""
    return f"Compared on {len(drawn):,} of {panel['series_id'].n_unique():,} series, a sample drawn by name."


def _sample(panel: pl.DataFrame, origins: int, horizon: int, through: date | None) -> pl.Series | None:
    """The names of the sample; None if it is all series."""
    most = max(FEWEST_SERIES, MOST_FORECASTS // max(origins * horizon, 1))
    newest = newest_rows(panel, through)
    if len(newest) <= most:
        return None
    sessions = panel["time"].unique().sort()
    since = sessions.filter(sessions <= (through or sessions[-1])).tail(origins).min()
    alive = newest.filter(pl.col("time") >= since)["series_id"]
    return drawn_series(alive, most)


def drawn_series(series_id: pl.Series, most: int) -> pl.Series:
    """Return at most `most` names, the first in the order of their digests: few change when series come or go.

    Parameters
    ----------
    series_id : polars.Series
        Each name once.
    most : int
    """
    digests = [hashlib.sha256(str(name).encode()).digest() for name in series_id]
    order = sorted(range(len(digests)), key=digests.__getitem__)
    return series_id.gather(order[:most])
