"""Compare a statsforecast model with a network and the random walk in one backtest (pip install statsforecast).

The model is fitted at each origin on the rows up to it, inside `predict` (docs/backtest.md). Its intervals become
quantiles, so it is judged by CRPS, too. Prints CRPS and skill of each model.
"""

from __future__ import annotations

from typing import Any, Self

import polars as pl
from statsforecast import StatsForecast
from statsforecast.models import AutoETS

from examples.prices import prices_of_command
from tidecast import GRUForecaster, RandomWalk, RollingOrigin, backtest, comparison
from tidecast.features.frames import to_polars

WIDTHS = list(range(10, 100, 10))
QUANTILES = {f"q{0.5 - width / 200:g}": f"ets-lo-{width}" for width in WIDTHS}
QUANTILES |= {f"q{0.5 + width / 200:g}": f"ets-hi-{width}" for width in WIDTHS}


class DampedTrend:
    """Exponential smoothing with a damped trend, for each series by itself, on the last rows before the origin."""

    horizon = 5
    rows = 100

    def fit(self, X: pl.DataFrame) -> Self:
        """Fit a random walk, which knows the coming sessions. The smoothing is fitted in `predict`."""
        self.walk_ = RandomWalk(horizon=self.horizon, lookback=32).fit(X)
        return self

    def predict(self, X: pl.DataFrame, origins: list[Any] | str = "last") -> pl.DataFrame:
        """Return the forecast table. `X` ends at the origin."""
        sessions = self.walk_.predict(X, origins=origins).select("series_id", "origin", "step", "time")
        alive = X.join(sessions, on="series_id", how="semi").sort("series_id", "time")
        recent = alive.group_by("series_id", maintain_order=True).tail(self.rows)
        row = pl.int_range(pl.len()).over("series_id")
        smoothing = StatsForecast([AutoETS(model="AAN", damped=True, alias="ets")], freq=1)
        found = smoothing.forecast(h=self.horizon, df=recent.select("series_id", "close", row=row), level=WIDTHS,
                                   id_col="series_id", time_col="row", target_col="close")  # fmt: skip
        step = (pl.int_range(pl.len()).over("series_id") + 1).cast(sessions.schema["step"])
        table = found.select("series_id", step=step, forecast="ets", **QUANTILES)
        return sessions.join(table, on=["series_id", "step"])


def main(prices: pl.DataFrame) -> pl.DataFrame:
    """Return CRPS and skill of the smoothing, a network and the random walk.

    Parameters
    ----------
    prices : polars.DataFrame
        Panel with `series_id`, `time` and `close`.

    Returns
    -------
    polars.DataFrame
    """
    models = {"ets": DampedTrend(), "gru": GRUForecaster(horizon=5, lookback=32, max_epochs=2, random_state=0)}
    table = backtest(models, prices, RollingOrigin(n_splits=2, horizon=5, stride=20))
    return to_polars(comparison(table, prices)).select("model", "n_origins", "crps", "skill")


if __name__ == "__main__":
    result = main(prices_of_command(__doc__))
    print(result)
