"""Compare a LightGBM model with a network and the random walk in one backtest (pip install lightgbm).

A model needs `horizon`, `fit(panel)` and `predict(panel)` (docs/backtest.md). This one learns the mean return ahead
from the last five returns. It gives a median only, so it is judged by its errors. Prints the mean absolute scaled error
of each model.
"""

from __future__ import annotations

from typing import Any, Self

import polars as pl
from lightgbm import LGBMRegressor

from examples.prices import prices_of_command
from tidecast import GRUForecaster, RandomWalk, RollingOrigin, backtest, evaluate
from tidecast.features.frames import to_polars

LAGS = [f"return_{lag}" for lag in range(5)]
LOG_RETURN = pl.col("close").log().diff()


class GradientBoosting:
    """One LightGBM regressor for all series and steps."""

    horizon = 5

    def fit(self, X: pl.DataFrame) -> Self:
        """Fit the regressor, and a random walk, which knows the coming sessions."""
        self.walk_ = RandomWalk(horizon=self.horizon, lookback=32).fit(X)
        ahead = LOG_RETURN.rolling_mean(self.horizon).shift(-self.horizon).over("series_id")
        rows = self._with_lags(X).with_columns(target=ahead).drop_nulls([*LAGS, "target"])
        model = LGBMRegressor(n_estimators=20, num_leaves=7, n_jobs=1, verbose=-1)
        self.model_ = model.fit(rows.select(LAGS).to_numpy(), rows["target"].to_numpy())
        return self

    def predict(self, X: pl.DataFrame, origins: list[Any] | str = "last") -> pl.DataFrame:
        """Return medians: the last price, moved by the expected return of each step. `X` ends at the origin."""
        newest = self._with_lags(X).group_by("series_id").last().drop_nulls(LAGS)
        drift = pl.Series("drift", self.model_.predict(newest.select(LAGS).to_numpy()))
        newest = newest.select("series_id", "close", drift)
        table = self.walk_.predict(X, origins=origins).join(newest, on="series_id")
        median = pl.col("close") * (pl.col("drift") * pl.col("step")).exp()
        return table.select("series_id", "origin", "step", "time", forecast=median)

    def _with_lags(self, X: pl.DataFrame) -> pl.DataFrame:
        lags = [LOG_RETURN.shift(lag).over("series_id").alias(name) for lag, name in enumerate(LAGS)]
        return X.sort("series_id", "time").with_columns(lags)


def main(prices: pl.DataFrame) -> pl.DataFrame:
    """Return the errors of LightGBM, a network and the random walk.

    Parameters
    ----------
    prices : polars.DataFrame
        Panel with `series_id`, `time` and `close`.

    Returns
    -------
    polars.DataFrame
        Columns `model`, `n_origins` and `mase`.
    """
    models = {
        "lightgbm": GradientBoosting(),
        "gru": GRUForecaster(horizon=5, lookback=32, max_epochs=2, random_state=0),
    }
    table = backtest(models, prices, RollingOrigin(n_splits=2, horizon=5, stride=20))
    pooled = to_polars(evaluate(table, prices).summary).filter(pl.col("group") == "pooled")
    return pooled.select("model", "n_origins", "mase")


if __name__ == "__main__":
    result = main(prices_of_command(__doc__))
    print(result)
