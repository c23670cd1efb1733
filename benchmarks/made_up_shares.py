"""Made-up shares that differ from each other: closes with a market's volatility and their own, drawn from a seed.

A day's log volatility is the sum of a share's level, the market's and its own part, both AR(1); both rise after falls.
Shares differ in level, persistence, size, leverage, weight of the market and of the tails. The median of the next
change is always zero: only the distribution can be learned.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl

SESSIONS = 2500
MARKET_PERSISTENCE, MARKET_SIZE, MARKET_LEVERAGE = 0.98, 0.4, 0.5


def made_up_shares(n_series: int, n_sessions: int = SESSIONS, seed: int = 0) -> pl.DataFrame:
    """Closes of weekdays.

    Parameters
    ----------
    n_series : int
    n_sessions : int, default=2500
    seed : int, default=0

    Returns
    -------
    polars.DataFrame
        ``series_id``, ``time``, ``close``, sorted by series and time.
    """
    generator = np.random.default_rng(seed)
    level = np.log(generator.uniform(0.008, 0.03, n_series))
    beta, freedom = generator.uniform(0.3, 0.8, n_series), generator.uniform(4, 10, n_series)
    persistence, size = generator.uniform(0.85, 0.99, n_series), generator.uniform(0.15, 0.5, n_series)
    leverage = generator.uniform(0.0, 0.7, n_series)
    market, own = 0.0, np.zeros(n_series)
    changes = np.empty((n_sessions, n_series))
    for day in range(n_sessions):
        common = generator.standard_normal()
        surprise = generator.standard_t(freedom) * np.sqrt((freedom - 2) / freedom)
        surprise = beta * common + np.sqrt(1 - beta**2) * surprise
        changes[day] = np.exp(level + market + own) * surprise
        market = _next(generator, market, common, MARKET_PERSISTENCE, MARKET_SIZE, MARKET_LEVERAGE)
        own = _next(generator, own, surprise, persistence, size, leverage)
    days = pl.date_range(date(2010, 1, 4), date(2010, 1, 4) + timedelta(days=n_sessions * 7 // 5 + 7), eager=True)
    days = days.filter(days.dt.weekday() <= 5).head(n_sessions)
    return pl.DataFrame(
        {
            "series_id": np.repeat([f"S{number:04d}" for number in range(n_series)], n_sessions),
            "time": pl.concat([days] * n_series),
            "close": (100 * np.exp(changes.cumsum(axis=0))).T.ravel(),
        }
    )


def _next(
    generator: np.random.Generator, log_volatility: Any, surprise: Any, persistence: Any, size: Any, leverage: Any
) -> Any:
    """One step of AR(1) with a standard deviation of `size`, whose shocks correlate with the surprise by −leverage."""
    shock = np.sqrt(1 - leverage**2) * generator.standard_normal(np.shape(log_volatility)) - leverage * surprise
    return persistence * log_volatility + size * np.sqrt(1 - persistence**2) * shock
