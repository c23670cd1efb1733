"""Average forecasters, and see what the average gains.

`Average` averages quantiles level by level. A backtest of an average beside its members fits no member twice. Prints
the skill against the random walk of members and average, as a share of its CRPS.
"""

from __future__ import annotations

import polars as pl

from examples.prices import prices_of_command
from tidecast import Average, GRUForecaster, LSTMForecaster, RollingOrigin, VolatilityRegression, backtest, comparison
from tidecast.features.frames import to_polars


def main(prices: pl.DataFrame) -> pl.DataFrame:
    """Return the comparison of the average with its members: a row for each model, skill as a share.

    Parameters
    ----------
    prices : polars.DataFrame
        Panel with `series_id`, `time` and `close`.

    Returns
    -------
    polars.DataFrame
    """
    members = {
        "gru": GRUForecaster(horizon=5, lookback=32, max_epochs=2, random_state=0),
        "lstm": LSTMForecaster(horizon=5, lookback=32, max_epochs=2, random_state=0),
        "regression": VolatilityRegression(horizon=5, lookback=32),
    }
    models = {**members, "average": Average(list(members.values()))}
    table = backtest(models, prices, RollingOrigin(n_splits=2, horizon=5, stride=20))
    return to_polars(comparison(table, prices)).select("model", "n_origins", "crps", "skill")


if __name__ == "__main__":
    result = main(prices_of_command(__doc__))
    print(result)
