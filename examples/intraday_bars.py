"""Forecast bars within the day: the forecasters take datetimes in UTC, and recognise the bar's length.

Without a file the bars are simulated: 60 days of hours, restless in the afternoon. Prints the calendar that was
recognised and the forecast of the next six bars.
"""

from __future__ import annotations

import sys
from datetime import datetime

import numpy as np
import polars as pl

from examples.prices import prices_of_command
from tidecast import GRUForecaster


def simulated_bars() -> pl.DataFrame:
    """Return hourly closes of two series.

    Returns
    -------
    polars.DataFrame
        Columns `series_id`, `time` (UTC) and `close`.
    """
    times = pl.datetime_range(datetime(2026, 1, 1), datetime(2026, 3, 1), "1h", eager=True, time_zone="UTC")
    noise = np.random.default_rng(0).normal(size=(2, len(times)))
    volatility = 0.001 * (1 + 2 * times.dt.hour().is_between(12, 17).to_numpy())
    closes = 100 * np.exp((volatility * noise).cumsum(axis=1))
    bars = [pl.DataFrame({"series_id": f"bars {each}", "time": times, "close": closes[each]}) for each in range(2)]
    return pl.concat(bars)


def main(bars: pl.DataFrame) -> tuple[str, pl.DataFrame]:
    """Return the recognised calendar, and the forecast.

    Parameters
    ----------
    bars : polars.DataFrame
        Panel with `series_id`, `time` (datetimes) and `close`.

    Returns
    -------
    tuple of str and polars.DataFrame
    """
    model = GRUForecaster(horizon=6, lookback=48, max_epochs=2, random_state=0).fit(bars)
    return str(model.calendar_), model.predict()


if __name__ == "__main__":
    result = main(simulated_bars() if len(sys.argv) == 1 else prices_of_command(__doc__))
    print(*result, sep="\n")
