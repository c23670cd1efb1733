"""Take in new rows as they come: `update` costs the same for each row, however long the history is.

A model is fitted once, on all but the last ten times. Each of these is then taken in and forecast from. Prints the
largest relative difference to a forecast from the whole history, and the last forecast.
"""

from __future__ import annotations

import polars as pl

from examples.prices import prices_of_command
from tidecast import GRUForecaster


def main(prices: pl.DataFrame) -> tuple[float, pl.DataFrame]:
    """Return the largest relative difference of the 95 % quantiles, and the last forecast.

    Parameters
    ----------
    prices : polars.DataFrame
        Panel with `series_id`, `time` and `close`.

    Returns
    -------
    tuple of float and polars.DataFrame
    """
    times = prices["time"].unique().sort()
    model = GRUForecaster(horizon=5, lookback=32, max_epochs=2, random_state=0)
    model.fit(prices.filter(pl.col("time") < times[-10]))
    for time in times[-10:]:
        model.update(prices.filter(pl.col("time") == time))
        forecast = model.predict()
    key = ["series_id", "origin", "step"]
    both = forecast.join(model.predict(prices), on=key, suffix="_whole")
    assert len(both) == len(forecast)
    return both.select((pl.col("q0.95") / pl.col("q0.95_whole") - 1).abs().max()).item(), forecast


if __name__ == "__main__":
    result = main(prices_of_command(__doc__))
    print(f"Largest relative difference: {result[0]:.1e}", result[1], sep="\n")
