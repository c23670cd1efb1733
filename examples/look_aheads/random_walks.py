"""Panels of pure random walks: no method can forecast the direction of their prices."""

from __future__ import annotations

import numpy as np
import polars as pl

N_SERIES = 100
N_ROWS = 250
VOLATILITY = 0.01
"""Standard deviation of a daily log return, as a decimal."""


def random_walks(seed: int, n_series: int = N_SERIES, n_rows: int = N_ROWS) -> pl.DataFrame:
    """Return a panel of independent random walks of log prices, with a row on each day.

    Parameters
    ----------
    seed : int
        The same seed gives the same panel.
    n_series, n_rows : int
        Series, and rows of each.

    Returns
    -------
    polars.DataFrame
        `series_id`, `time`, `close`.

    Examples
    --------
    >>> random_walks(0, n_series=2, n_rows=3).shape
    (6, 3)
    """
    returns = VOLATILITY * np.random.default_rng(seed).normal(size=(n_series, n_rows))
    days = pl.date_range(pl.date(2020, 1, 1), pl.date(2020, 1, 1) + pl.duration(days=n_rows - 1), eager=True)
    return pl.concat(
        pl.DataFrame({"series_id": f"walk {number}", "time": days, "close": 100.0 * np.exp(path)})
        for number, path in enumerate(returns.cumsum(axis=1))
    )
