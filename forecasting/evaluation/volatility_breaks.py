"""Where the volatility of a series broke: it rose to 1.5 times its usual value."""

from __future__ import annotations

import polars as pl

from tidecast.features.segments import breaks
from tidecast.features.volatility import with_volatility

BREAK = 1.5
"""A series' volatility breaks when it is this many times its median over the sessions before."""

AROUND = 60
"""Sessions before a break that show the usual volatility, and sessions after it that are counted apart."""


def volatility_breaks(prices: pl.DataFrame, positive: bool) -> pl.DataFrame:
    """Mark the rows of a panel that come soon after a break of their series' volatility.

    Parameters
    ----------
    prices : polars.DataFrame
        Sorted by series_id and time, with ``close``.
    positive : bool
        Whether prices move by log returns rather than differences.

    Returns
    -------
    polars.DataFrame
        series_id, time, volatility; ``broken``: the volatility is 1.5 times its median of the 60 rows before;
        ``after_break``: it was so in one of the last 60 rows.
    """
    known = with_volatility(prices, positive=positive)
    usual = pl.col("volatility").shift(1).rolling_median(AROUND)
    segment = breaks(prices).over("series_id")
    return known.select(
        "series_id", "time", "volatility",
        broken=(pl.col("volatility") >= BREAK * usual.over("series_id", segment)).fill_null(False),
    ).with_columns(
        after_break=pl.col("broken").cast(pl.Int32).rolling_max(AROUND, min_samples=1).over("series_id") > 0
    )  # fmt: skip
