"""Coverage of forecasts by month and by volatility. Pure functions."""

from __future__ import annotations

import polars as pl


def coverage_over_time(losses: pl.DataFrame) -> pl.DataFrame:
    """Share of truths inside the outermost interval, by month of the origin.

    Parameters
    ----------
    losses : polars.DataFrame
        ``evaluate(...).losses``; every forecast has the same weight.

    Returns
    -------
    polars.DataFrame
        ``model``, ``time`` (the first of the month), ``coverage``.
    """
    month = pl.col("origin").dt.truncate("1mo").alias("time")
    return losses.group_by("model", month).agg(coverage=pl.col("covered").mean()).sort("model", "time")


def coverage_by_volatility(losses: pl.DataFrame, prices: pl.DataFrame, positive: bool) -> pl.DataFrame:
    """Share of truths inside the outermost interval, by volatility at the origin.

    Parameters
    ----------
    losses : polars.DataFrame
        ``evaluate(...).losses``.
    prices : polars.DataFrame
        Panel with ``close`` at every origin.
    positive : bool
        Whether prices move by log returns, as passed to `evaluate`.

    Returns
    -------
    polars.DataFrame
        ``model``, ``third``, ``coverage``. ``third`` is 0 for the third of a series' own origins with the lowest
        volatility, 2 for the highest.
    """
    at_origin = losses.select("series_id", "origin", "scale").unique(["series_id", "origin"])
    sampled = at_origin["series_id"].unique()  # of a large panel, few
    judged = prices.filter(pl.col("series_id").is_in(sampled.implode()))
    judged = judged.select("series_id", origin="time", price="close")
    at_origin = at_origin.join(judged, on=["series_id", "origin"], how="left")
    volatility = pl.col("scale") / pl.col("price") if positive else pl.col("scale")
    rank = volatility.rank("ordinal").over("series_id").cast(pl.Int64) - 1
    thirds = at_origin.select("series_id", "origin", third=rank * 3 // pl.len().over("series_id"))
    known = losses.join(thirds, on=["series_id", "origin"])
    return known.group_by("model", "third").agg(coverage=pl.col("covered").mean()).sort("model", "third")
