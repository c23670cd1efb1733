"""A made-up market: daily bars of many shares that share a market's moves and its volatility, drawn from a seed.

Returns are a market's factor and a share's own, both with GARCH(1,1) volatility and Student-t surprises; the range and
the volume of a day follow the volatility. Shares begin on different days, as listings do.
"""

from __future__ import annotations

import argparse

import numpy as np
import polars as pl

DAYS_OF_YEAR = 252
ALPHA, BETA, FREEDOM = 0.06, 0.92, 6


def market(
    n_series: int, n_sessions: int, seed: int = 0, ragged: bool = False, every_day: bool = False
) -> pl.DataFrame:
    """Bars of days up to 2026-06-30, sorted by series and time.

    Parameters
    ----------
    n_series, n_sessions : int
    seed : int, default=0
    ragged : bool, default=False
        Whether each share begins on a day of its own.
    every_day : bool, default=False
        Seven days a week, as coins trade; else weekdays.

    Returns
    -------
    polars.DataFrame
        ``series_id``, ``time``, ``open``, ``high``, ``low``, ``close``, ``volume``.
    """
    generator = np.random.default_rng(seed)
    days = pl.date_range(pl.date(1990, 1, 1), pl.date(2026, 6, 30), eager=True)
    days = days.filter((days.dt.weekday() <= 5) | every_day).tail(n_sessions)
    factor, _ = _garch(generator, 1, n_sessions, 0.01)
    frames = []
    for begin in range(0, n_series, 250):
        some = min(250, n_series - begin)
        own, volatility = _garch(generator, some, n_sessions, 0.015)
        returns = generator.uniform(0.5, 1.5, (some, 1)) * factor + own
        close = generator.uniform(5, 500, (some, 1)) * np.exp(np.cumsum(returns, axis=1))
        opened = close * np.exp(0.3 * volatility * generator.standard_normal(close.shape))
        reach = np.abs(generator.standard_normal((2, *close.shape))) * volatility * 0.6
        volume = np.exp(13 + 20 * volatility + 0.4 * generator.standard_normal(close.shape)).round()
        firsts = generator.integers(0, n_sessions // 2, some) if ragged else np.zeros(some, dtype=np.int64)
        kept = (np.arange(n_sessions) >= firsts[:, None]).ravel()
        table = {
            "series_id": np.repeat([f"S{begin + number:05d}" for number in range(some)], n_sessions),
            "time": pl.Series(np.tile(days.to_numpy(), some)).cast(pl.Date),
            "open": opened.ravel(),
            "high": (np.maximum(opened, close) * np.exp(reach[0])).ravel(),
            "low": (np.minimum(opened, close) * np.exp(-reach[1])).ravel(),
            "close": close.ravel(),
            "volume": volume.ravel(),
        }
        frames.append(pl.DataFrame(table, orient="col").filter(pl.Series(kept)))
    return pl.concat(frames)


def _garch(generator: np.random.Generator, n: int, length: int, daily: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns and their volatilities, shape (n, length) each, with a mean variance of `daily` squared."""
    variance, found, scale = np.full(n, daily**2), np.empty((n, length)), np.empty((n, length))
    surprise = generator.standard_t(FREEDOM, (n, length)) * np.sqrt((FREEDOM - 2) / FREEDOM)
    for day in range(length):
        scale[:, day] = np.sqrt(variance)
        found[:, day] = scale[:, day] * surprise[:, day]
        variance = (1 - ALPHA - BETA) * daily**2 + ALPHA * found[:, day] ** 2 + BETA * variance
    return found, scale


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("series", type=int)
    parser.add_argument("sessions", type=int)
    parser.add_argument("file", help="Parquet file to write")
    parser.add_argument("--ragged", action="store_true", help="shares begin on different days")
    arguments = parser.parse_args()
    market(arguments.series, arguments.sessions, ragged=arguments.ragged).write_parquet(arguments.file)


if __name__ == "__main__":
    main()
